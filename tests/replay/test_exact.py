from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

from bookreel.replay import Archive, RecordedBbo, RecordedDelta, RecordedSnapshot, RecordedTrade
from bookreel.replay.exact import FrameNumbers

ALIKE = ("0.30000000000000004000", "0.30000000000000004001")
"""Two numbers that are one double."""


def test_numbers_that_are_one_double(record: Callable[[], Any]) -> None:
    """Each trade gets the price of its own object, and each level the size beside its own price."""
    recording = record()
    recording.connect(1, "market.btcusdt.trade.detail", conn="ws-0")
    trades = ",".join(
        f'{{"id":{number},"ts":1,"tradeId":{number},"amount":1.0,"price":{price},"direction":"buy"}}'
        for number, price in enumerate(ALIKE, 1)
    )
    recording.frame(
        2, f'{{"ch":"market.btcusdt.trade.detail","ts":1,"tick":{{"id":1,"ts":1,"data":[{trades}]}}}}', "ws-0"
    )
    recording.connect(3, "market.btcusdt.mbp.150")
    levels = f"[[99,{ALIKE[0]}],[98,{ALIKE[1]}]]"
    data = f'{{"seqNum":10,"bids":{levels},"asks":[]}}'
    recording.frame(4, f'{{"id":"2","status":"ok","rep":"market.btcusdt.mbp.150","ts":1,"data":{data}}}')
    recording.flush()
    with Archive(recording.path) as archive:
        prices = [event.price for event in archive.events(tables="trades", numbers="decimal")]
        assert list(map(str, prices)) == list(ALIKE)
        refresh, keyframe = archive.events(tables="book_snapshots", numbers="decimal")
        assert [str(size) for _, size in refresh.bids] == list(ALIKE)
        shortest = Decimal("0.30000000000000004")
        assert keyframe.bids == [(Decimal(99), shortest), (Decimal(98), shortest)]


def test_digits_that_the_frame_does_not_have() -> None:
    assert FrameNumbers(None).number(0.1) == Decimal("0.1")
    assert FrameNumbers('{"a":[1.5,2]}').pair((1.5, 3.0)) == (Decimal("1.5"), Decimal("3.0"))


def test_real_frames(captured: Path) -> None:
    """Every number of an event is one of its frame's text, digit by digit, but for those of keyframes."""
    with Archive(captured) as archive:
        texts = dict(archive.sql("SELECT pos, payload FROM frames WHERE pos < 6000").fetchall())
        checked = 0
        for event in archive.events(numbers="decimal"):
            if event.pos is None or event.pos >= 6000:
                break
            if isinstance(event, RecordedTrade):
                numbers = [event.price, event.size]
            elif isinstance(event, RecordedBbo):
                numbers = [event.bid, event.bid_size, event.ask, event.ask_size]  # type: ignore[list-item]
            elif isinstance(event, RecordedDelta) or (
                isinstance(event, RecordedSnapshot) and event.source != "keyframe"
            ):
                numbers = [number for level in (*event.bids, *event.asks) for number in level]
            else:
                continue
            text = texts[event.pos]
            assert all(type(number) is Decimal and str(number) in text for number in numbers), event
            checked += len(numbers)
    assert checked > 10_000
