from __future__ import annotations

import asyncio
import json
import random
from typing import Any

import pytest

from bookreel.ingest.config import RecordConfig
from bookreel.ingest.errors import FetchFailed, ReferenceUnavailable, SymbolNotOnline
from bookreel.ingest.reference import choose_topics, load_reference
from bookreel.venues.errors import BadSymbol, UnknownFeed
from bookreel.venues.huobi import Huobi

VENUE = Huobi()
STATES = {"btcusdt": "online", "ethusdt": "online", "venusdt": "offline", "waitusdt": "suspend"}
BODY = json.dumps(
    {
        "status": "ok",
        "data": [
            {"symbol": symbol, "base-currency": symbol[:-4], "quote-currency": "usdt", "state": state}
            for symbol, state in STATES.items()
        ],
    }
).encode()


class Answers:
    """A network that only knows pages: each call takes the next answer."""

    def __init__(self, *answers: bytes | str) -> None:
        self.answers = list(answers)
        self.urls: list[str] = []

    async def get(self, url: str) -> bytes:
        self.urls.append(url)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, str):
            raise FetchFailed(url, answer)
        return answer

    async def connect(self, url: str) -> Any:
        raise NotImplementedError

    async def close(self) -> None: ...


def load(network: Answers, clock: Any, patience_s: float = 60.0) -> Any:
    config = RecordConfig(rest_url="https://venue.test/")
    return asyncio.run(load_reference(config, VENUE, network, clock, random.Random(1), patience_s=patience_s))


def test_it_is_loaded_with_the_time_it_came(clock: Any) -> None:
    network = Answers(BODY)
    reference = load(network, clock)
    assert network.urls == ["https://venue.test/v1/common/symbols"]
    assert (reference.body, reference.wall, reference.mono) == (BODY, clock.wall_ns(), clock.mono_ns())
    assert [each.symbol for each in reference.instruments] == list(STATES)


def test_it_is_tried_again_after_failures_of_any_kind(clock: Any) -> None:
    network = Answers("HTTP status 502", b"<html>maintenance</html>", b'{"status":"error"}', BODY)
    assert len(load(network, clock).instruments) == 4
    assert len(network.urls) == 4


def test_it_is_given_up_in_the_end(clock: Any) -> None:
    begun = clock.mono
    with pytest.raises(ReferenceUnavailable, match="HTTP status 502") as caught:
        load(Answers("HTTP status 502"), clock)
    assert caught.value.exit_code == 2
    assert clock.mono - begun <= 60 * 10**9


def choose(**settings: Any) -> list[str]:
    instruments = VENUE.decode_instruments(BODY)
    return [topic.text for topic in choose_topics(RecordConfig(**settings), VENUE, instruments)]


def test_topics_by_symbol_and_feed() -> None:
    assert choose(symbols=("ethusdt", "btcusdt", "ethusdt"), feeds=("trade", "bbo", "trade.detail")) == [
        "market.ethusdt.trade.detail",
        "market.ethusdt.bbo",
        "market.btcusdt.trade.detail",
        "market.btcusdt.bbo",
    ]


def test_all_is_what_is_online() -> None:
    assert choose(symbols="all", feeds=("bbo",)) == ["market.btcusdt.bbo", "market.ethusdt.bbo"]


def test_a_wrong_symbol_names_near_ones() -> None:
    with pytest.raises(BadSymbol) as caught:
        choose(symbols=("btcusd",))
    assert "btcusdt" in caught.value.near


@pytest.mark.parametrize("symbol", ["venusdt", "waitusdt"])
def test_a_symbol_that_is_not_traded_names_its_state(symbol: str) -> None:
    with pytest.raises(SymbolNotOnline) as caught:
        choose(symbols=(symbol,))
    assert caught.value.state == STATES[symbol]
    assert STATES[symbol] in str(caught.value)


def test_a_wrong_feed_names_near_ones() -> None:
    with pytest.raises(UnknownFeed) as caught:
        choose(symbols=("btcusdt",), feeds=("mbp.15",))
    assert "mbp.150" in caught.value.near
