from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from bookreel.book.model import Bbo, Delta, Gap, Kline, Snapshot, Trade
from bookreel.replay import Archive, RecordedDelta, Session

Record = Callable[[], Any]


def standing(event: Any) -> int:
    """The position at which an event stands: a delta that had waited for its snapshot stands there."""
    if isinstance(event, RecordedDelta):
        return max(event.pos, event.epoch)
    assert event.pos is not None
    return int(event.pos)


@pytest.fixture(params=["tail", "sealed", "both"])
def archive(record: Record, request: pytest.FixtureRequest) -> Any:
    recording = record()
    recording.connect(1, "market.btcusdt.mbp.150")
    recording.connect(
        1, "market.btcusdt.bbo", "market.btcusdt.trade.detail", "market.btcusdt.kline.1min", conn="ws-0"
    )
    recording.delta(2, 10, 11, [[99, 1], [98.5, 2]], [[101, 1]])
    recording.bbo(2.5, 11, 99, 101)
    if request.param == "both":
        recording.rotate()
    recording.snapshot(3, 10, [[98, 5]], [[102, 5]])
    recording.trade(4, 1, 9.377e-11)
    recording.kline(5, 60, 3.0)
    recording.event("disconnect", 6, "ws-0", cause="disconnect", detail="")
    recording.connect(7, "market.btcusdt.trade.detail", conn="ws-0")
    recording.flush()
    if request.param != "tail":
        if request.param == "sealed":
            recording.rotate()
        recording.seal()
    with Archive(recording.path) as opened:
        opened.recording = recording
        yield opened


def test_journal_order_and_types(archive: Any) -> None:
    events = list(archive.events())
    positions = [standing(event) for event in events if event.pos is not None]
    assert positions == sorted(positions)
    of = {
        kind: [event for event in events if isinstance(event, kind)]
        for kind in (Delta, Snapshot, Bbo, Trade, Kline, Gap, Session)
    }
    (delta,) = of[Delta]
    assert (delta.bids, delta.asks, delta.seq, delta.prev_seq) == (
        [(99.0, 1.0), (98.5, 2.0)],
        [(101.0, 1.0)],
        11,
        10,
    )
    assert [snapshot.source for snapshot in of[Snapshot]] == ["refresh", "keyframe"]
    assert of[Snapshot][1].bids == [(99.0, 1.0), (98.5, 2.0), (98.0, 5.0)]
    (trade,) = of[Trade]
    assert (trade.feed, trade.trade_seq, trade.price, trade.ts_recv) == (
        "trade.detail",
        1,
        9.377e-11,
        archive.recording.at(4),
    )
    assert of[Kline][0].feed == "kline.1min"
    assert {gap.feed for gap in of[Gap]} == {"bbo", "trade.detail", "kline.1min"}
    assert [session.event for session in of[Session]][:3] == ["start", "connect", "connect"]


def test_open_gaps_come_last(archive: Any) -> None:
    events = list(archive.events())
    still_open = [isinstance(event, Gap) and event.end is None for event in events]
    assert still_open == sorted(still_open)
    assert sum(still_open) == 2


def test_bounds_and_filters(archive: Any) -> None:
    at = archive.recording.at
    assert [type(event).__name__ for event in archive.events(tables=["trades", "bbo"])] == [
        "RecordedBbo",
        "RecordedTrade",
    ]
    assert list(archive.events(tables="bbo", start=at(2.5), end=at(2.5))) == []
    assert len(list(archive.events(tables="bbo", start=at(2.5), end=at(2.6)))) == 1
    assert len(list(archive.events(symbols="btcusdt", tables=["trades"]))) == 1


def test_decimals_are_the_frames_own(archive: Any) -> None:
    (trade,) = archive.events(tables="trades", numbers="decimal")
    assert trade.price == Decimal("9.377E-11")
    (delta,) = archive.events(tables="book_deltas", numbers="decimal")
    assert delta.bids == [(Decimal(99), Decimal(1)), (Decimal("98.5"), Decimal(2))]


def test_digits_a_double_cannot_hold(record: Record) -> None:
    recording = record()
    recording.connect(1, "market.btcusdt.trade.detail", conn="ws-0")
    text = (
        '{"ch":"market.btcusdt.trade.detail","ts":1,"tick":{"id":1,"ts":1,"data":[{"id":1,"ts":1,"tradeId":1,'
        '"amount":1.0,"price":0.12345678901234567890123,"direction":"buy"}]}}'
    )
    recording.frame(2, text, "ws-0")
    recording.flush()
    with Archive(recording.path) as archive:
        (trade,) = archive.events(tables="trades", numbers="decimal")
        assert trade.price == Decimal("0.12345678901234567890123")


def test_real_frames_come_back_whole(captured: Path) -> None:
    last = 0
    counts: dict[str, int] = {}
    with Archive(captured) as archive:
        for event in archive.events():
            assert standing(event) >= last
            last = standing(event)
            counts[type(event).__name__] = counts.get(type(event).__name__, 0) + 1
    assert (counts["RecordedBbo"], counts["RecordedTrade"]) == (66_089, 21_313)
    assert counts["RecordedDelta"] > 6_400
