"""What Tradovate refuses, for programs and for people."""

from __future__ import annotations

import re
from typing import Any

import pytest

from app.brokers.tradovate import errors
from app.brokers.tradovate.errors import quoted, reason_code, reason_words, refusal
from app.domain.errors import BrokerRefused

REASONS = """
AccountClosed, AdvancedTrailingStopUnsupported, AnotherCommandPending,
BackMonthProhibited, ExecutionProviderNotConfigured, ExecutionProviderUnavailable, InvalidContract,
InvalidPrice, KeyInformationDocumentRequired, LiquidationOnly, LiquidationOnlyBeforeExpiration,
MaxOrderQtyIsNotSpecified, MaxOrderQtyLimitReached, MaxPosLimitMisconfigured, MaxPosLimitReached,
MaxTotalPosLimitReached, MultipleAccountPlanRequired, NoQuote, NotEnoughLiquidity,
OtherExecutionRelated, ParentRejected, RiskCheckTimeout, SSFRiskDisclosureAcknowledgmentRequired,
SessionClosed, TooLate, TradingLocked, TrailingStopNonOrderQtyModify, Unauthorized,
UnknownReason, Unsupported
""".replace("\n", " ").split(",")


@pytest.mark.parametrize("reason", [reason.strip() for reason in REASONS])
def test_every_reason_has_a_code_and_words_for_people(reason: str) -> None:
    refused = refusal({"failureReason": reason})

    assert refused is not None
    assert re.fullmatch(r"[a-z]+(_[a-z]+)*", refused.code)
    assert reason not in refused.detail
    assert refused.code not in refused.detail


@pytest.mark.parametrize(
    ("reason", "code"),
    [
        ("InvalidPrice", "invalid_price"),
        ("MaxOrderQtyLimitReached", "max_order_qty_limit_reached"),
        (
            "SSFRiskDisclosureAcknowledgmentRequired",
            "ssf_risk_disclosure_acknowledgment_required",
        ),
        ("TrailingStopNonOrderQtyModify", "trailing_stop_non_order_qty_modify"),
        ("MoonPhase2Wrong", "moon_phase2_wrong"),
        ("No <b>Such</b>; Reason", "no_b_such_b_reason"),
        ("X" * 500, "x" * 64),
        ("", "unknown_reason"),
        (17, "unknown_reason"),
    ],
)
def test_codes_are_snake_case_of_any_reason(reason: object, code: str) -> None:
    assert reason_code(reason) == code


def test_the_brokers_own_words_follow_ours() -> None:
    refused = refusal({"failureReason": "InvalidPrice", "failureText": "Invalid price increment"})

    assert refused is not None
    assert refused.code == "invalid_price"
    assert "not a multiple of the contract's tick" in refused.detail
    assert refused.detail.endswith("(Invalid price increment)")


def test_a_new_reason_passes_through() -> None:
    assert reason_words("MoonPhase", "Mercury is retrograde") == (
        "Tradovate refused: moon_phase (Mercury is retrograde)"
    )


@pytest.mark.parametrize(
    "payload",
    [
        {"orderId": 12},
        {"commandId": 12, "failureReason": "Success"},
        {"failureReason": "Success"},
        {"failureReason": ""},
        {"errorText": ""},
        {"violations": []},
        {"ok": True},
        {},
        [],
        [{"failureReason": "InvalidPrice"}],
        None,
        "failureReason",
    ],
)
def test_other_answers_are_no_refusals(payload: Any) -> None:
    assert refusal(payload) is None


def test_an_order_that_exists_is_not_refused_whatever_the_answer_says() -> None:
    assert refusal({"orderId": 12, "failureReason": "UnknownReason", "errorText": "?"}) is None


def test_violations_name_what_is_wrong() -> None:
    violations = [
        {"constraint": "required", "value": None, "description": "accountId is required"},
        {"constraint": "positive"},
        "and more",
    ]
    refused = refusal({"violations": violations})

    assert refused is not None
    assert refused.code == "invalid_request"
    assert "(accountId is required; positive; and more)" in refused.detail


@pytest.mark.parametrize("payload", [{"errorText": "Access is denied"}, {"ok": False}])
def test_an_error_text_is_a_refusal(payload: dict[str, Any]) -> None:
    refused = refusal(payload)

    assert isinstance(refused, BrokerRefused)
    assert refused.code == "broker_refused"
    assert payload.get("errorText", "") in refused.detail


def test_long_words_are_cut_and_stay_on_one_line() -> None:
    text = quoted("first\r\nsecond\x00" + "x" * 5000)

    assert text.startswith("first second x")
    assert len(text) == errors.QUOTE_LENGTH


@pytest.mark.parametrize("text", ["<html><body>502</body></html>", " <!DOCTYPE html>", 5, None])
def test_pages_and_what_is_no_text_are_not_quoted(text: object) -> None:
    assert quoted(text) == ""


def test_secrets_are_not_quoted() -> None:
    text = quoted("password=hunter2 and the key s3cr3t-s3cr3t", ["s3cr3t", "s3cr3t-s3cr3t", ""])

    assert text == "password=*** and the key ***"


def test_prices_below_others_are_quoted() -> None:
    assert quoted("price 1 < 2") == "price 1 < 2"


def test_words_are_given_for_the_reasons_of_the_schema_and_no_others() -> None:
    assert {reason.strip() for reason in REASONS} == set(errors.WORDS)
