from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from bookreel import venues
from bookreel.exchange.feeds import parse_topic
from bookreel.exchange.prelude import derive_listing, listed_at, recall
from bookreel.exchange.recorded import RecordedBook, RecordedFeed, make_recorded
from bookreel.replay import Archive
from tests.exchange.tape import MINUTE, T0, bar, delta, image, ns, push, trade, write
from tests.exchange.test_recorded import answer


def recalled(path: Path, at: int, *feeds: str) -> list[RecordedFeed]:
    made = []
    for feed in feeds:
        topic = parse_topic(f"market.btcusdt.{feed}")
        assert topic is not None
        made.append(make_recorded(topic, venues.get("huobi")))
    with Archive(path) as archive:
        recall(archive, made, at)
    return made


def reply(feed: RecordedFeed) -> Any:
    text = feed.reply(0, 2**40)
    return None if text is None else json.loads(text)


def numbers(feed: RecordedFeed) -> list[int]:
    return [trade["tradeId"] for trade in reply(feed)]


# Reference data


def test_reference_data_is_as_of_an_instant_and_what_came_first_before_that(recorded: Path) -> None:
    with Archive(recorded) as archive:
        [(first, last)] = archive.sql(
            "SELECT epoch_ns(min(ts_recv)), epoch_ns(max(ts_recv)) FROM instruments"
        ).fetchall()
        before, after = listed_at(archive, first - 1), listed_at(archive, last)
        raw = dict(archive.sql("SELECT symbol, raw FROM instruments").fetchall())
        names = archive.sql("SELECT symbol FROM instruments ORDER BY pos, symbol").fetchall()
    assert before == after, "nothing of it changed"
    assert {symbol: listed.raw for symbol, listed in after.items()} == raw
    assert (after["btcusdt"].base, after["btcusdt"].quote) == ("btc", "usdt")
    assert list(after) == list(dict.fromkeys(name for (name,) in names))


def test_without_it_precisions_are_those_of_what_was_recorded(tmp_path: Path) -> None:
    frames = [
        push(
            "zeneth",
            "trade.detail",
            1.0,
            {"id": 1, "ts": 1}
            | {
                "data": [{"id": 5, "ts": 1, "tradeId": 1, "amount": 0.125, "price": 0.05, "direction": "buy"}]
            },
        ),
        push(
            "zeneth",
            "bbo",
            2.0,
            {"seqId": 1, "ask": 0.0501, "askSize": 1.0, "bid": 0.05, "bidSize": 2.0}
            | {"quoteTime": T0 * 1000, "symbol": "zeneth"},
        ),
        push(
            "odd", "trade.detail", 3.0, json.loads(trade(3.0, 1)[1])["tick"]
        ),  # a name that no currency ends
    ]
    with Archive(write(tmp_path, frames)) as archive:
        zen, odd = derive_listing(archive, "zeneth"), derive_listing(archive, "odd")
    entry = json.loads(zen.raw)
    assert (zen.base, zen.quote, entry["symbol"], entry["state"]) == ("zen", "eth", "zeneth", "online")
    assert (entry["price-precision"], entry["amount-precision"]) == (4, 3)
    assert (odd.base, odd.quote) == ("odd", "")


# Books

BIDS, ASKS = [[99.5, 1.0], [99.0, 2.0]], [[101.5, 1.0]]
BOOK = [
    delta(0.0, 99, 100, [[98.5, 1.0]]),
    image(0.1, 100, BIDS, ASKS),
    delta(1.0, 100, 105, [[99.5, 0.0]]),
    delta(10.0, 109, 110, [[98.0, 4.0]]),
    image(10.2, 110, BIDS, ASKS),
    delta(11.0, 110, 111, []),
]


@pytest.mark.parametrize(
    ("at", "seq"), [(0.05, None), (0.5, 100), (1.0, 100), (1.1, None), (10.1, None), (10.5, 110)]
)
def test_a_book_is_known_before_and_after_a_hole_and_not_inside(
    tmp_path: Path, at: float, seq: int | None
) -> None:
    [feed] = recalled(write(tmp_path, BOOK), ns(at), "mbp.150")
    assert isinstance(feed, RecordedBook)
    found = feed.book()
    assert (found and found[0]) == seq
    assert feed.seq == (seq or 0)


def test_a_book_that_was_not_recorded_is_not_known(small: Path) -> None:
    [feed] = recalled(small, ns(5.0), "mbp.20")
    assert isinstance(feed, RecordedBook) and feed.book() is None


# Bars, trades and last messages


def test_bars_are_their_last_push_before_the_instant(small: Path) -> None:
    assert [(b["id"], b["close"]) for b in reply(recalled(small, ns(3.0), "kline.1min")[0])] == [
        (MINUTE, 101.5)
    ]
    assert [(b["id"], b["close"]) for b in reply(recalled(small, ns(2.5), "kline.1min")[0])] == [
        (MINUTE, 100.5)
    ]
    whole = {"open": 100.0, "close": 101.75, "low": 99.0, "high": 102.0, "amount": 2.0, "vol": 200.0}
    assert reply(recalled(small, ns(4.0), "kline.1min")[0])[-1] == {"id": MINUTE + 60, **whole, "count": 3}


def ticks(numbers_of: Iterable[tuple[float, int]]) -> list[tuple[float, str]]:
    """Trades in ticks whose number is not a trade's, as the venue's are."""
    found = []
    for at, number in numbers_of:
        tick = json.loads(trade(at, number)[1])["tick"] | {"id": 10_000 + number}
        found.append(push("btcusdt", "trade.detail", at, tick))
    return found


def test_trades_are_those_before_the_instant_each_once(tmp_path: Path) -> None:
    path = write(tmp_path, ticks((n, n) for n in (1, 2, 3)))
    [feed] = recalled(path, ns(3.0), "trade.detail")
    assert numbers(feed) == [1, 2]
    assert reply(feed)[0] == json.loads(trade(1, 1)[1])["tick"]["data"][0], "word for word"
    assert feed.last is not None and json.loads(feed.last.text)["tick"]["id"] == 10_002


def test_trades_that_were_asked_for_later_are_in_their_place(tmp_path: Path) -> None:
    path = write(tmp_path, [*ticks([(1, 1), (6, 6)]), (6.5, answer(1, 2, 3, 6)[1])])
    [feed] = recalled(path, ns(7.0), "trade.detail")
    assert numbers(feed) == [1, 2, 3, 6]


def test_trades_of_a_day_before_are_forgotten(tmp_path: Path) -> None:
    path = write(tmp_path, ticks([(0, 1), (86_000, 2), (86_500, 3)]))
    [feed] = recalled(path, ns(86_500.5), "trade.detail")
    assert numbers(feed) == [2, 3]


def day(at: float, number: int) -> tuple[float, str]:
    values = {"open": 1.0, "high": 1.0, "low": 1.0, "close": 1.0, "amount": 1.0, "vol": 1.0, "count": 1}
    return push("btcusdt", "detail", at, {"id": number, **values, "version": number})


@pytest.mark.parametrize("ago", [1, 3_000, 80_000, 20 * 86_400])
def test_the_last_message_is_found_however_long_ago(tmp_path: Path, ago: int) -> None:
    frames = [day(0.0, 1), day(0.5, 2), trade(float(ago), 7)]
    detail, trades, nothing = recalled(
        write(tmp_path, frames), ns(ago + 1.0), "detail", "trade.detail", "ticker"
    )
    assert (reply(detail)["id"], numbers(trades), reply(nothing)) == (2, [7], None)


def test_what_comes_at_the_instant_is_not_known_yet(tmp_path: Path) -> None:
    frames = [bar(1.0, T0, 100.0), day(1.0, 1)]
    bars, detail = recalled(write(tmp_path, frames), ns(1.0), "kline.1min", "detail")
    assert reply(bars) == [] and reply(detail) is None
