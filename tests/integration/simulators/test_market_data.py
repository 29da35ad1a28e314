"""Quotes and charts on a socket."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest

from tests.integration.simulators.client import Client, Stream
from tests.simulators.tradovate.control import Simulator, running

BARS = 5


@pytest.fixture
def market(simulator: Simulator, client: Client) -> Iterator[Stream]:
    with Stream(simulator.md_url) as stream:
        stream.authorize(client.md_token)
        yield stream


def _quote(stream: Stream) -> dict[str, Any]:
    message = stream.message(lambda message: message.get("e") == "md")
    quote: dict[str, Any] = message["d"]["quotes"][0]
    return quote


def _depth(stream: Stream, kind: str) -> dict[str, Any]:
    """The first of the ``doms`` or ``histograms`` of the next message."""
    message = stream.message(lambda message: kind in message.get("d", {}))
    item: dict[str, Any] = message["d"][kind][0]
    return item


def _packet(stream: Stream, subscription_id: int) -> dict[str, Any]:
    message = stream.message(
        lambda message: (
            message.get("e") == "chart" and message["d"]["charts"][0]["id"] == subscription_id
        )
    )
    packet: dict[str, Any] = message["d"]["charts"][0]
    return packet


def _chart(stream: Stream, symbol: str, underlying: str = "MinuteBar") -> dict[str, Any]:
    answer: dict[str, Any] = stream.ask(
        "md/getChart",
        {
            "symbol": symbol,
            "chartDescription": {
                "underlyingType": underlying,
                "elementSize": 1,
                "elementSizeUnit": "UnderlyingUnits",
            },
            "timeRange": {"asMuchAsElements": BARS},
        },
    )
    return answer


@pytest.mark.parametrize("by", ["name", "id"])
def test_a_quote_comes_at_once_and_then_what_changes(
    simulator: Simulator, client: Client, market: Stream, by: str
) -> None:
    contract = client.contract()
    simulator.set_price(contract["name"], "6800", "6800.25", "6800")
    market.ask("md/subscribeQuote", {"symbol": contract[by]})
    first = _quote(market)

    simulator.set_price(contract["name"], "6800", "6800.50", "6800")
    second = _quote(market)

    assert first["contractId"] == contract["id"]
    assert first["entries"]["Bid"]["price"] == Decimal("6800")
    assert {"Offer", "Trade", "HighPrice", "TotalTradeVolume"} <= set(first["entries"])
    assert {name: entry["price"] for name, entry in second["entries"].items()} == {
        "Offer": Decimal("6800.50")
    }


def test_a_dom_is_sent_whole_whenever_the_quote_moves(
    simulator: Simulator, client: Client, market: Stream
) -> None:
    contract = client.contract()
    simulator.set_price(contract["name"], "6800", "6800.25")
    assert market.ask("md/subscribeDOM", {"symbol": contract["name"]})["s"] == 200
    first = _depth(market, "doms")

    simulator.set_price(contract["name"], "6800.25", "6800.50")
    second = _depth(market, "doms")

    assert first["contractId"] == contract["id"]
    assert [level["price"] for level in first["bids"][:2]] == [Decimal("6800"), Decimal("6799.75")]
    assert [level["price"] for level in first["offers"][:2]] == [
        Decimal("6800.25"),
        Decimal("6800.50"),
    ]
    assert second["bids"][0]["price"] == Decimal("6800.25")


def test_a_histogram_tells_the_volume_by_ticks_from_its_base(
    simulator: Simulator, client: Client, market: Stream
) -> None:
    contract = client.contract()
    simulator.set_price(contract["name"], "6800", "6800.25", "6800")
    market.ask("md/subscribeHistogram", {"symbol": contract["id"]})
    first = _depth(market, "histograms")

    simulator.set_price(contract["name"], "6800.50", "6800.75", "6800.50")
    second = _depth(market, "histograms")

    assert (first["base"], first["items"], first["refresh"]) == (Decimal("6800"), {"0": 1}, True)
    assert (second["items"], second["refresh"]) == ({"2": 1}, False)


@pytest.mark.parametrize("kind", ["DOM", "Histogram"])
def test_no_more_depth_after_leaving(
    simulator: Simulator, client: Client, market: Stream, kind: str
) -> None:
    name = client.contract()["name"]
    market.ask(f"md/subscribe{kind}", {"symbol": name})
    market.all_until_quiet()

    assert market.ask(f"md/unsubscribe{kind}", {"symbol": name})["s"] == 200

    simulator.set_price(name, "6700")
    assert market.all_until_quiet() == []


def test_no_more_quotes_after_leaving(simulator: Simulator, client: Client, market: Stream) -> None:
    name = client.contract()["name"]
    market.ask("md/subscribeQuote", {"symbol": name})
    _quote(market)
    market.ask("md/unsubscribeQuote", {"symbol": name})

    simulator.set_price(name, "6700")

    assert market.all_until_quiet() == []


def test_an_unknown_symbol_is_not_found(market: Stream) -> None:
    assert market.ask("md/subscribeQuote", {"symbol": "NOPEZ9"})["s"] == 404


def test_the_access_token_is_good_for_market_data(client: Client, stream: Stream) -> None:
    stream.ask("md/subscribeQuote", {"symbol": client.contract()["name"]})

    assert _quote(stream)


def test_a_chart_has_a_history_and_then_the_present(
    simulator: Simulator, client: Client, market: Stream
) -> None:
    name = client.contract()["name"]
    simulator.set_price(name, "6800", "6800.25", "6800")
    ids = _chart(market, name)["d"]

    history = _packet(market, ids["historicalId"])
    assert len(history["bars"]) == BARS
    assert history["bars"][-1]["close"] == Decimal("6800")
    assert _packet(market, ids["historicalId"])["eoh"] is True

    simulator.set_price(name, "6801", "6801.25", "6801")
    assert _packet(market, ids["realtimeId"])["bars"][0]["close"] == Decimal("6801")


def test_ticks_are_relative_to_a_base(client: Client, market: Stream) -> None:
    ids = _chart(market, client.contract()["name"], "Tick")["d"]

    packet = _packet(market, ids["historicalId"])

    assert len(packet["tks"]) == BARS
    assert packet["tks"][0]["p"] == 0


@pytest.mark.parametrize("which", ["historicalId", "realtimeId"])
def test_a_chart_ends_by_either_id(
    simulator: Simulator, client: Client, market: Stream, which: str
) -> None:
    name = client.contract()["name"]
    ids = _chart(market, name)["d"]

    assert market.ask("md/cancelChart", {"subscriptionId": ids[which]})["s"] == 200

    market.all_until_quiet()
    simulator.set_price(name, "6700")
    assert market.all_until_quiet() == []


def test_prices_walk_by_themselves() -> None:
    with running(walk=True) as simulator, Client(simulator.url) as client:
        client.log_in()
        with Stream(simulator.md_url) as stream:
            stream.authorize(client.md_token)
            stream.ask("md/subscribeQuote", {"symbol": client.contract()["name"]})
            _quote(stream)

            assert _quote(stream)["entries"]
