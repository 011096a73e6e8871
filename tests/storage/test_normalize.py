from __future__ import annotations

import base64
import gzip
import json
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bookreel.storage.normalize import KEYFRAME_NS, Normalizer
from bookreel.storage.record import Direction, Kind, Record, encode_event
from bookreel.storage.schema import TABLES
from bookreel.storage.segment import Damage
from bookreel.venues.huobi import Huobi

SHARED = Path(__file__).resolve().parents[3] / "shared" / "data"
VENUE = Huobi()
ABSENT = ("klines", "tickers", "quotes", "broker_queue", "timeshare")
"""Tables of which the story tells nothing."""
SECOND = 1_000_000_000
START = 1_700_000_000 * SECOND


class Tape:
    """Records as a recorder would write them, 10 ms apart."""

    def __init__(self) -> None:
        self.items: list[Record | Damage] = []
        self.pos = 0
        self.ts = START
        self.mbp_seq = 100

    def add(self, direction: Direction, kind: Kind, payload: bytes, conn: str, epoch: int) -> int:
        self.pos += 1
        self.ts += 10_000_000
        self.items.append(Record(self.pos, self.ts, self.ts, conn, epoch, direction, kind, payload))
        return self.pos

    def got(self, frame: Any, conn: str = "ws-0", epoch: int = 1, *, text: bool = False) -> int:
        raw = frame if isinstance(frame, bytes) else json.dumps(frame, separators=(",", ":")).encode()
        if text:
            return self.add(Direction.IN, Kind.TEXT, raw, conn, epoch)
        return self.add(Direction.IN, Kind.COMPRESSED, gzip.compress(raw, mtime=0), conn, epoch)

    def sent(self, frame: Any, conn: str = "ws-0", epoch: int = 1) -> int:
        return self.add(Direction.OUT, Kind.TEXT, json.dumps(frame).encode(), conn, epoch)

    def event(self, name: str, conn: str = "", epoch: int = 1, **facts: Any) -> int:
        return self.add(Direction.INTERNAL, Kind.EVENT, encode_event(name, **facts), conn, epoch)

    def reference(self, *symbols: str, state: str = "online") -> int:
        rows = [
            {"base-currency": s[:-4], "quote-currency": "usdt", "price-precision": 2, "amount-precision": 6}
            | {"symbol": s, "state": state}
            for s in symbols
        ]
        body = json.dumps({"status": "ok", "data": rows}).encode()
        return self.add(Direction.IN, Kind.REFERENCE, body, "", 0)

    def damage(self, skip: int = 3, *, torn: bool = False) -> None:
        self.items.append(Damage("s", 0, 9, "checksum", self.pos, None if torn else self.pos + skip + 1))
        self.pos += skip

    def ack(self, topic: str, conn: str = "ws-0", epoch: int = 1, kind: str = "subbed") -> int:
        return self.got({"id": topic, "status": "ok", kind: topic, "ts": 1}, conn, epoch)

    def bbo(self, seq: int, epoch: int = 1, symbol: str = "btcusdt", conn: str = "ws-0") -> int:
        tick = {"seqId": seq, "ask": 2.5, "askSize": 1.0, "bid": 2.25, "bidSize": 3.0, "quoteTime": 5}
        return self.got(
            {"ch": f"market.{symbol}.bbo", "ts": 6, "tick": tick | {"symbol": symbol}}, conn, epoch
        )

    def depth(self, version: int) -> int:
        tick = {"bids": [[1.0, 2.0]], "asks": [[1.5, 3.0], [1.6, 1.0]], "version": version, "ts": 7}
        return self.got({"ch": "market.btcusdt.depth.step0", "ts": 8, "tick": tick})

    def trades(self, *numbers: int, symbol: str = "btcusdt") -> int:
        return self.got({"ch": f"market.{symbol}.trade.detail", "ts": 9, "tick": trade_tick(*numbers)})

    def delta(self, step: int = 3, *, conn: str = "feed-0", epoch: int = 1, **change: Any) -> int:
        """The next delta of btcusdt mbp.150."""
        prev, self.mbp_seq = self.mbp_seq, self.mbp_seq + step
        tick = {
            "seqNum": self.mbp_seq,
            "prevSeqNum": prev,
            "bids": [[10.0 + prev % 7, 1.5]],
            "asks": [],
        } | change
        return self.got({"ch": "market.btcusdt.mbp.150", "ts": prev, "tick": tick}, conn, epoch)

    def snapshot(self, seq: int | None, epoch: int = 1, conn: str = "feed-0") -> int:
        book = {"seqNum": seq, "bids": [[9.0, 1.0], [8.0, 2.0]], "asks": [[20.0, 1.0]]}
        frame = {"id": "r", "status": "ok", "ts": 4, "rep": "market.btcusdt.mbp.150"}
        return self.got(frame | {"data": None if seq is None else book}, conn, epoch)

    def live_book(self, epoch: int = 1) -> int:
        """Subscribe, buffer three deltas, join a snapshot to the last two."""
        self.ack("market.btcusdt.mbp.150", "feed-0", epoch)
        self.delta(epoch=epoch)
        joint = self.mbp_seq
        self.delta(epoch=epoch)
        self.delta(epoch=epoch)
        return self.snapshot(joint, epoch)


def trade_tick(*numbers: int) -> dict[str, Any]:
    data = [
        {"id": 10**26 + n, "ts": 5, "tradeId": n, "amount": 0.5, "price": 9.377e-11, "direction": "buy"}
        for n in numbers
    ]
    return {"id": 1, "ts": 5, "data": data}


def normalize(tape: Tape, **limits: Any) -> Normalizer:
    normalizer = Normalizer(VENUE, **limits)
    play(normalizer, tape.items)
    return normalizer


def play(normalizer: Normalizer, items: list[Record | Damage]) -> None:
    for item in items:
        if isinstance(item, Damage):
            normalizer.damage(item)
        else:
            normalizer.feed(item)


def rows(table: pa.Table, *columns: str) -> list[tuple[Any, ...]]:
    """Rows as tuples; times as integers, since ns do not fit Python's own type."""
    values = []
    for name in columns:
        column = table.column(name)
        values.append((column.cast(pa.int64()) if pa.types.is_timestamp(column.type) else column).to_pylist())
    return list(zip(*values, strict=True))


def ts_of(tape: Tape, pos: int) -> int:
    return next(item.ts_recv for item in tape.items if isinstance(item, Record) and item.pos == pos)


def gap_rows(normalizer: Normalizer) -> list[tuple[Any, ...]]:
    return rows(normalizer.take()["gaps"], "feed", "cause", "start", "end", "repaired_by")


# Frames


def test_every_frame_has_a_row_that_says_what_it_is() -> None:
    tape = Tape()
    tape.sent({"sub": "market.btcusdt.bbo", "id": "s1"})
    tape.ack("market.btcusdt.bbo")
    tape.got({"ping": 1700000000000})
    tape.sent({"pong": 1700000000000})
    tape.bbo(1)
    tape.sent({"req": "market.btcusdt.mbp.150", "id": "q1"})
    tape.snapshot(None)
    tape.sent({"sub": "market.nopeusdt.bbo", "id": "s2"})
    tape.got(
        {
            "status": "error",
            "ts": 5,
            "id": "s2",
            "err-code": "bad-request",
            "err-msg": "invalid symbol nopeusdt",
        }
    )
    tape.got({"what": "is this"})
    tape.got(b'{"ch":"market.ethusdt.bbo","ts":')
    tape.add(Direction.IN, Kind.COMPRESSED, b"\x1f\x8bgarbage", "ws-0", 1)
    tape.reference("btcusdt")
    tape.sent({"unsub": "market.btcusdt.bbo", "id": "u"})
    normalizer = normalize(tape)
    table = normalizer.take()["frames"]
    assert [tuple(row) for row in rows(table, "direction", "kind", "symbol", "topic")] == [
        ("out", "sub", "btcusdt", "market.btcusdt.bbo"),
        ("in", "ack", "btcusdt", "market.btcusdt.bbo"),
        ("in", "ping", "", None),
        ("out", "pong", "", None),
        ("in", "data", "btcusdt", "market.btcusdt.bbo"),
        ("out", "req", "btcusdt", "market.btcusdt.mbp.150"),
        ("in", "reply", "btcusdt", "market.btcusdt.mbp.150"),
        ("out", "sub", "nopeusdt", "market.nopeusdt.bbo"),
        ("in", "error", "nopeusdt", "market.nopeusdt.bbo"),
        ("in", "unknown", "", None),
        ("in", "undecodable", "ethusdt", "market.ethusdt.bbo"),
        ("in", "undecodable", "", None),
        ("in", "reference", "", None),
        ("out", "unsub", "btcusdt", "market.btcusdt.bbo"),
    ]
    payloads = rows(table, "payload", "payload_bytes")
    assert payloads[10] == ('{"ch":"market.ethusdt.bbo","ts":', None)
    assert payloads[11] == (None, b"\x1f\x8bgarbage")
    assert all(text is not None for index, (text, _) in enumerate(payloads) if index != 11)
    assert normalizer.counts["decode_errors"] == 2


def test_a_payload_is_kept_byte_for_byte() -> None:
    odd = '{"ping": 17 ,"ä\u2028":"\\u00e4"}'.encode()
    latin = b'{"ping":17,"\xe4":1}'
    tape = Tape()
    tape.got(odd)
    tape.got(odd, text=True)
    tape.got(latin)
    table = normalize(tape).take()["frames"]
    assert table.column("payload").to_pylist() == [odd.decode(), odd.decode(), None]
    assert table.column("payload_bytes").to_pylist() == [None, None, gzip.compress(latin, mtime=0)]


# Plain tables


def test_trades_are_stored_once_and_in_the_order_of_their_numbers() -> None:
    tape = Tape()
    tape.trades(212, 211)
    tape.trades(212)
    tape.trades(211, symbol="ethusdt")
    data = trade_tick(209, 212)["data"]
    tape.got({"id": "b", "status": "ok", "ts": 1, "rep": "market.btcusdt.trade.detail", "data": data})
    normalizer = normalize(tape)
    table = normalizer.take()["trades"]
    assert rows(table, "symbol", "trade_seq", "pos") == [
        ("btcusdt", 211, 1),
        ("btcusdt", 212, 1),
        ("ethusdt", 211, 3),
        ("btcusdt", 209, 4),
    ]
    assert rows(table, "trade_id", "price")[0] == (str(10**26 + 211), 9.377e-11)
    assert normalizer.counts["duplicates"] == 2


def test_bbo_klines_tickers_and_pushed_books_become_rows() -> None:
    tape = Tape()
    tape.bbo(41)
    bar = {
        "id": 1700000040,
        "open": 1.0,
        "close": 2.0,
        "low": 0.5,
        "high": 3.0,
        "amount": 4.0,
        "vol": 5.0,
        "count": 6,
    }
    tape.got({"ch": "market.btcusdt.kline.1min", "ts": 1, "tick": bar})
    tape.got({"id": "k", "status": "ok", "rep": "market.btcusdt.kline.1min", "ts": 2, "data": [bar, bar]})
    tape.got({"ch": "market.btcusdt.detail", "ts": 3, "tick": bar | {"version": 9}})
    first = tape.depth(77)
    tape.depth(78)
    taken = normalize(tape).take()
    assert rows(taken["bbo"], "seq", "bid", "bid_size", "ask", "ask_size") == [(41, 2.25, 3.0, 2.5, 1.0)]
    assert rows(taken["klines"], "pos", "period", "open_time", "volume", "turnover", "count") == [
        (pos, "1min", 1700000040 * SECOND, 4.0, 5.0, 6) for pos in (2, 3, 3)
    ]
    assert rows(taken["tickers"], "feed", "open", "close", "count", "last") == [("detail", 1.0, 2.0, 6, None)]
    books = taken["book_snapshots"]
    assert rows(books, "pos", "feed", "epoch", "seq", "source") == [
        (first, "depth.step0", first, 77, "push"),
        (first + 1, "depth.step0", first, 78, "push"),
    ]
    assert books.column("asks").to_pylist()[0] == [{"price": 1.5, "size": 3.0}, {"price": 1.6, "size": 1.0}]


def test_an_instrument_has_a_row_when_it_changed_and_once_a_day() -> None:
    tape = Tape()
    tape.reference("btcusdt", "ethusdt")
    tape.reference("btcusdt", "ethusdt")
    tape.reference("btcusdt", state="offline")
    tape.ts += 86_400 * SECOND
    tape.reference("btcusdt", "ethusdt", state="offline")
    table = normalize(tape).take()["instruments"]
    assert rows(table, "pos", "symbol", "state") == [
        (1, "btcusdt", "online"),
        (1, "ethusdt", "online"),
        (3, "btcusdt", "offline"),
        (4, "btcusdt", "offline"),
        (4, "ethusdt", "offline"),
    ]
    assert json.loads(table.column("raw").to_pylist()[0])["price-precision"] == 2


def test_events_become_sessions() -> None:
    tape = Tape()
    tape.event("start", run="r")
    tape.event("connect", "ws-0", url="wss://x")
    assert rows(normalize(tape).take()["sessions"], "conn", "event", "detail") == [
        ("", "start", '{"run":"r"}'),
        ("ws-0", "connect", '{"url":"wss://x"}'),
    ]


# Books


def test_a_book_begins_with_the_snapshot_the_buffered_deltas_and_a_keyframe() -> None:
    tape = Tape()
    joined = tape.live_book()
    last = tape.delta(bids=[[9.0, 0.0], [12.0, 2.0]], asks=[[19.0, 4.0]])
    taken = normalize(tape).take()
    books = taken["book_snapshots"]
    assert rows(books, "pos", "epoch", "seq", "source") == [
        (joined, joined, 103, "refresh"),
        (joined, joined, 109, "keyframe"),
    ]
    refresh, keyframe = books.column("bids").to_pylist()
    assert [level["price"] for level in refresh] == [9.0, 8.0]
    prices = [level["price"] for level in keyframe]
    assert prices == sorted(prices, reverse=True)
    assert rows(taken["book_deltas"], "pos", "epoch", "seq", "prev_seq", "side", "price", "size") == [
        (joined - 2, joined, 106, 103, "bid", 10.0 + 103 % 7, 1.5),
        (joined - 1, joined, 109, 106, "bid", 10.0 + 106 % 7, 1.5),
        (last, joined, 112, 109, "bid", 9.0, 0.0),
        (last, joined, 112, 109, "bid", 12.0, 2.0),
        (last, joined, 112, 109, "ask", 19.0, 4.0),
    ]


def test_a_keyframe_comes_again_after_a_minute_of_deltas() -> None:
    tape = Tape()
    tape.live_book()
    tape.delta()
    tape.ts += KEYFRAME_NS
    late = tape.delta()
    tape.delta()
    books = normalize(tape).take()["book_snapshots"]
    assert rows(books, "source", "pos")[2:] == [("keyframe", late)]


def test_a_snapshot_of_a_live_book_is_kept_for_comparing() -> None:
    tape = Tape()
    epoch = tape.live_book()
    audit = tape.snapshot(tape.mbp_seq)
    tape.snapshot(50)
    books = normalize(tape).take()["book_snapshots"]
    assert rows(books, "pos", "epoch", "source")[2:] == [(audit, epoch, "refresh")]


def test_a_missing_delta_is_one_gap_and_the_next_run_has_its_own_epoch() -> None:
    tape = Tape()
    epoch = tape.live_book()
    good = tape.delta()
    tape.mbp_seq += 5
    tape.delta()
    tape.delta()
    tape.snapshot(None)
    repaired = tape.snapshot(tape.mbp_seq)
    tape.delta()
    normalizer = normalize(tape)
    taken = normalizer.take()
    assert rows(
        taken["gaps"], "feed", "conn", "epoch", "cause", "last_seq", "next_seq", "start", "end", "repaired_by"
    ) == [
        ("mbp.150", "feed-0", epoch, "seq_gap", 112, 120, ts_of(tape, good), ts_of(tape, repaired), repaired)
    ]
    assert set(taken["book_deltas"].column("epoch").to_pylist()) == {epoch, repaired}
    (run,) = normalizer.coverage()
    assert (run.epoch, run.first, run.end) == (repaired, ts_of(tape, epoch), None)


def test_a_duplicate_delta_has_no_rows() -> None:
    tape = Tape()
    tape.live_book()
    pos = tape.delta()
    again = tape.items[-1]
    assert isinstance(again, Record)
    tape.add(Direction.IN, Kind.COMPRESSED, again.payload, "feed-0", 1)
    normalizer = normalize(tape)
    assert normalizer.counts["duplicates"] == 1
    assert max(normalizer.take()["book_deltas"].column("pos").to_pylist()) == pos


def test_the_answer_after_an_unsub_is_not_adopted() -> None:
    tape = Tape()
    tape.live_book()
    tape.ack("market.btcusdt.mbp.150", "feed-0", kind="unsubbed")
    tape.snapshot(tape.mbp_seq)
    normalizer = normalize(tape)
    assert normalizer.counts["foreign"] == 1
    assert normalizer.coverage()[0].end is not None
    assert not normalizer.open_gaps()


# Holes


def test_a_reconnect_is_one_gap_for_each_stream_of_the_line() -> None:
    tape = Tape()
    tape.live_book()
    tape.ack("market.btcusdt.bbo")
    tape.bbo(0)  # the venue's last message again: no sign of life
    good = tape.bbo(1)
    tape.delta()
    fed = tape.delta()
    tape.event("disconnect", "feed-0", cause="silence")
    tape.event("disconnect", "ws-0", cause="half_open")
    tape.event("connect", "feed-0", epoch=2)
    tape.event("connect", "ws-0", epoch=2)
    acked = tape.ack("market.btcusdt.bbo", epoch=2)
    joined = tape.live_book(epoch=2)
    assert gap_rows(normalize(tape)) == [
        ("bbo", "half_open", ts_of(tape, good), ts_of(tape, acked), acked),
        ("mbp.150", "silence", ts_of(tape, fed), ts_of(tape, joined), joined),
    ]


def test_what_the_venue_sends_again_when_asked_is_one_row_and_two_frames() -> None:
    tape = Tape()
    tape.ack("market.btcusdt.bbo")
    tape.bbo(0)
    first = tape.bbo(1)
    tape.ack("market.btcusdt.bbo")  # asked whether it lives
    tape.bbo(1)
    pushed = tape.bbo(1)  # pushed twice: that is not ours to judge
    tape.ack("market.btcusdt.bbo")
    withheld = tape.bbo(2)
    tape.event("disconnect", "ws-0", cause="disconnect")
    tape.ack("market.btcusdt.bbo", epoch=2)
    anew = tape.bbo(2, epoch=2)  # a new run begins with a row of its own
    normalizer = Normalizer(VENUE)
    for item in tape.items[:4]:
        assert isinstance(item, Record)
        normalizer.feed(item)
    taken = normalizer.take()
    normalizer = Normalizer.restore(VENUE, normalizer.state())
    for item in tape.items[4:]:
        assert isinstance(item, Record)
        normalizer.feed(item)
    rest = normalizer.take()
    positions = [taken["bbo"]["pos"].to_pylist(), rest["bbo"]["pos"].to_pylist()]
    assert positions == [[2, first], [pushed, withheld, anew]]
    assert rest["frames"].num_rows == 6  # events are none
    assert normalizer.counts["duplicates"] == 1


def test_a_silent_stream_is_good_again_with_its_next_message() -> None:
    tape = Tape()
    tape.ack("market.btcusdt.bbo")
    tape.bbo(0)  # the venue's last message again: no sign of life
    good = tape.bbo(1)
    tape.got({"ping": 1})
    tape.event("silence", "ws-0", topics=["market.btcusdt.bbo"])
    heard = tape.bbo(2)
    assert gap_rows(normalize(tape)) == [("bbo", "silence", ts_of(tape, good), ts_of(tape, heard), heard)]


def test_a_start_without_a_stop_is_a_crash_tail_from_the_last_sign_of_life() -> None:
    tape = Tape()
    tape.ack("market.btcusdt.bbo")
    tape.bbo(0)  # the venue's last message again: no sign of life
    good = tape.bbo(1)
    last = tape.got({"ping": 1})
    tape.damage(1, torn=True)
    tape.event("recovery", segment="s", after=last)
    tape.event("start")
    acked = tape.ack("market.btcusdt.bbo")
    assert gap_rows(normalize(tape)) == [("bbo", "crash_tail", ts_of(tape, good), ts_of(tape, acked), acked)]


def test_after_a_stop_the_time_until_the_next_run_is_an_operator_gap() -> None:
    tape = Tape()
    tape.ack("market.btcusdt.bbo")
    last = tape.bbo(1)
    tape.event("stop")
    tape.event("start")
    tape.event("connect", "ws-0")
    normalizer = normalize(tape)
    assert not normalizer.open_gaps()
    assert normalizer.coverage()[0].end == ts_of(tape, last)
    acked = tape.ack("market.btcusdt.bbo")
    assert gap_rows(normalize(tape)) == [("bbo", "operator", ts_of(tape, last), ts_of(tape, acked), acked)]


@pytest.mark.parametrize("broken", [b'{"ch":"market.btcusdt.bbo","ts":', b'{"nothing', b""])
def test_an_unreadable_frame_is_a_gap_of_plain_streams_and_not_of_a_whole_chain(broken: bytes) -> None:
    tape = Tape()
    tape.live_book()
    tape.ack("market.btcusdt.bbo")
    good = tape.bbo(1)
    tape.got(broken)
    tape.got(broken)
    tape.delta()
    heard = tape.bbo(2)
    tape.bbo(3)
    assert gap_rows(normalize(tape)) == [
        ("bbo", "decode_error", ts_of(tape, good), ts_of(tape, heard), heard)
    ]


def test_a_chain_that_breaks_after_an_unreadable_frame_has_that_cause() -> None:
    tape = Tape()
    tape.live_book()
    tape.delta()
    tape.got(b'{"ch":"market.btcusdt.mbp.150","ti', "feed-0")
    tape.mbp_seq += 4
    tape.delta()
    (gap,) = normalize(tape).open_gaps()
    assert (gap.feed, gap.cause, gap.last_seq) == ("mbp.150", "decode_error", 112)


def test_damage_is_a_corrupt_gap_of_every_stream_that_cannot_prove_itself() -> None:
    tape = Tape()
    tape.live_book()
    tape.ack("market.btcusdt.bbo")
    tape.bbo(1)
    last = tape.delta()
    tape.damage(4)
    tape.delta()
    heard = tape.bbo(2)
    assert gap_rows(normalize(tape)) == [("bbo", "corrupt", ts_of(tape, last), ts_of(tape, heard), heard)]
    tape.damage(4)
    tape.mbp_seq += 9
    tape.delta()
    gaps = {gap.feed: gap.cause for gap in normalize(tape).open_gaps()}
    assert gaps == {"bbo": "corrupt", "mbp.150": "corrupt"}


def test_damage_between_neighbouring_positions_costs_nothing() -> None:
    tape = Tape()
    tape.ack("market.btcusdt.bbo")
    tape.bbo(1)
    tape.damage(0)
    tape.bbo(2)
    normalizer = normalize(tape)
    assert not normalizer.open_gaps()
    assert gap_rows(normalizer) == []


def test_shed_frames_are_a_gap() -> None:
    tape = Tape()
    tape.ack("market.btcusdt.bbo")
    last = tape.bbo(1)
    tape.event("shed", records=9)
    heard = tape.bbo(2)
    assert gap_rows(normalize(tape)) == [("bbo", "shed", ts_of(tape, last), ts_of(tape, heard), heard)]


# Limits and state


def test_a_second_copy_of_a_record_is_passed_over() -> None:
    tape = Tape()
    tape.trades(1)
    tape.items.append(tape.items[0])
    normalizer = normalize(tape)
    assert normalizer.counts["repeated"] == 1
    assert normalizer.take()["frames"].num_rows == 1


def test_tables_and_symbols_limit_rows_and_not_what_is_followed() -> None:
    tape = story()
    everything = normalize(tape).take()
    limited = normalize(tape, tables={"bbo", "gaps"}, symbols={"ethusdt"})
    assert limited.open_gaps() == [gap for gap in normalize(tape).open_gaps() if gap.symbol == "ethusdt"]
    taken = limited.take()
    assert set(taken) == {"bbo", "gaps"}
    for table, got in taken.items():
        wanted = everything[table].filter(pa.compute.equal(everything[table].column("symbol"), "ethusdt"))
        assert got.equals(wanted)
        assert table == "gaps" or got.num_rows


def story() -> Tape:
    """A bit of everything, a resync and a crash in its middle."""
    tape = Tape()
    tape.event("start", run="1")
    tape.reference("btcusdt", "ethusdt")
    tape.sent({"sub": "market.btcusdt.bbo", "id": "market.btcusdt.bbo"})
    tape.ack("market.btcusdt.bbo")
    tape.bbo(1)
    tape.bbo(1, symbol="ethusdt")
    tape.live_book()
    tape.trades(3, 2)
    tape.delta()
    tape.mbp_seq += 5
    for _ in range(3):
        tape.delta()
    tape.snapshot(50)
    tape.snapshot(tape.mbp_seq - 3)
    tape.delta()
    tape.got(b'{"ch":"market.btcusdt.mbp.150"', "feed-0")
    tape.delta()
    tape.sent({"req": "market.btcusdt.kline.1min", "id": "k"})
    tape.got(
        {"status": "error", "ts": 5, "id": "k", "err-code": "bad-request", "err-msg": "429 too many request"}
    )
    tape.damage(2)
    tape.bbo(2)
    tape.trades(3, 4)
    tape.event("disconnect", "ws-0", cause="half_open")
    tape.ts += KEYFRAME_NS
    tape.delta()
    tape.bbo(3, epoch=2, symbol="ethusdt")
    tape.damage(1, torn=True)
    tape.event("recovery", segment="s")
    tape.event("start", run="2")
    tape.reference("btcusdt", state="offline")
    tape.live_book(epoch=7)
    tape.delta(bids=[[30.0, 1.0]], epoch=7)
    tape.delta(epoch=7)
    tape.ack("market.btcusdt.bbo", epoch=7)
    tape.event("stop")
    return tape


@settings(deadline=None, max_examples=60)
@given(st.sets(st.integers(0, 60)), st.sets(st.integers(0, 60)))
def test_rows_do_not_depend_on_how_records_are_split(takes: set[int], restarts: set[int]) -> None:
    tape = story()
    whole = normalize(tape)
    expected = whole.take()
    assert all(expected[table].num_rows for table in TABLES if table not in ABSENT)
    normalizer = Normalizer(VENUE)
    taken: list[dict[str, pa.Table]] = []
    for index, item in enumerate(tape.items):
        if index in takes | restarts:
            taken.append(normalizer.take())
        if index in restarts:
            normalizer = Normalizer.restore(VENUE, normalizer.state())
        play(normalizer, [item])
    taken.append(normalizer.take())
    for table in TABLES:
        assert pa.concat_tables([part[table] for part in taken]).equals(expected[table]), table
    assert normalizer.state() == whole.state()
    assert normalizer.open_gaps() == whole.open_gaps()
    assert normalizer.coverage() == whole.coverage()


def test_memory_of_trades_is_bounded() -> None:
    tape = Tape()
    for number in range(0, 3000, 300):
        tape.trades(*range(number, number + 300))
    normalizer = normalize(tape)
    restored = Normalizer.restore(VENUE, normalizer.state())
    assert len(msgspec.msgpack.decode(normalizer.state())["trades"]["btcusdt"]) == 2048
    assert restored.state() == normalizer.state()


# Real frames


def captured(name: str) -> Tape:
    if not (SHARED / name).exists():
        pytest.skip(f"the shared captures are not there: {SHARED / name}")
    tape = Tape()
    with gzip.open(SHARED / name) as file:
        for line in file:
            frame = json.loads(line)
            tape.ts = int(frame["recv_ts"] * SECOND)
            if "gz_b64" in frame:
                tape.add(Direction.IN, Kind.COMPRESSED, base64.b64decode(frame["gz_b64"]), "ws-0", 1)
            else:
                tape.got(frame["raw"].encode(), text=True)
    return tape


def test_a_real_connection_is_kept_exactly() -> None:
    tape = captured("huobi_ws_20210417.ndjson.gz")
    taken = normalize(tape).take()
    assert taken["book_snapshots"].num_rows == 292
    assert taken["trades"].num_rows == 73
    assert taken["frames"].column("kind").to_pylist().count("ping") == 6
    with gzip.open(SHARED / "huobi_ws_20210417.ndjson.gz") as file:
        assert taken["frames"].column("payload").to_pylist() == [json.loads(line)["raw"] for line in file]


@pytest.mark.parametrize(
    ("name", "applied"),
    [("mbp150_btcusdt_20240808.ndjson.gz", 6546), ("mbp20_spot_20240808.ndjson.gz", 3232)],
)
def test_real_market_dynamics_have_no_gap(name: str, applied: int) -> None:
    tape = captured(name)
    normalizer = normalize(tape)
    taken = normalizer.take()
    assert taken["gaps"].num_rows == 0
    assert not normalizer.open_gaps()
    assert normalizer.counts["applied"] == applied
    sources = taken["book_snapshots"].column("source").to_pylist()
    assert sources.count("refresh") == 1
    assert sources.count("keyframe") == 6


def test_every_field_nobody_knows_is_counted() -> None:
    tape = Tape()
    for number in range(3):
        tape.got({"ch": "market.btcusdt.bbo", "ts": 6, "new": number, "tick": {"seqId": number, "newer": 1}})
    tape.bbo(9)
    assert normalize(tape).counts["unknown_fields"] == 6


def test_a_crossed_push_is_a_gap_and_no_row() -> None:
    tape = Tape()
    tape.ack("market.btcusdt.depth.step0")
    for bid in (9.0, 11.0, 9.5):
        tick = {"bids": [[bid, 1.0]], "asks": [[10.0, 1.0]], "version": 1, "ts": 1}
        tape.got({"ch": "market.btcusdt.depth.step0", "ts": 1, "tick": tick})
    normalizer = normalize(tape)
    tables = normalizer.take()
    assert [bids[0]["price"] for bids in tables["book_snapshots"]["bids"].to_pylist()] == [9.0, 9.5]
    assert tables["gaps"]["cause"].to_pylist() == ["crossed"]
