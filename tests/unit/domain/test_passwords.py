from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.passwords import MAX_LENGTH, MIN_LENGTH, weakness


@pytest.mark.parametrize(
    ("password", "words"),
    [
        ("", "Too short"),
        ("nine chars", None),
        ("ninechars", "Too short"),
        ("a" * (MAX_LENGTH + 1), "Too long"),
        ("aaaaaaaaaaaa", "Too few different"),
        ("abababababab", "Too few different"),
        ("abcdefghijkl", "A run"),
        ("9876543210", "A run"),
        ("qwertyuiop", "most common"),
        ("Password2026", "most common"),
        ("P@ssw0rd!!!!", "most common"),
        ("!!iloveyou!!", "most common"),
        ("1q2w3e4r5t", "most common"),
        ("mkeller2026", "your own name"),
        ("m.keller@example.com", "your own name"),
        ("nine purple anvils", None),
        ("correct horse battery staple", None),
        ("Zx81-spectrum-48k", None),
        ("Пароль-на-русском", None),
    ],
)
def test_weak_passwords_are_told_from_good_ones(password: str, words: str | None) -> None:
    reason = weakness(password, "mkeller", "m.keller@example.com")

    assert (reason is None) if words is None else (reason is not None and words in reason)


def test_a_short_name_inside_a_password_does_no_harm() -> None:
    assert weakness("al went to the market", "al", "al@example.com") is None


@given(st.text(), st.text(), st.text())
def test_whatever_is_typed_gets_a_verdict(password: str, name: str, email: str) -> None:
    reason = weakness(password, name, email)

    assert reason is None or reason.endswith(".")
    if len(password) < MIN_LENGTH:
        assert reason is not None
