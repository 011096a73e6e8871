"""Each fault does what it says, and the truth tells of it."""

from __future__ import annotations

import zlib
from base64 import b64decode
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from bookreel.exchange.errors import UnknownFault
from bookreel.exchange.faults import parse_faults
from bookreel.exchange.futu.config import GatewayConfig
from bookreel.exchange.futu.faults import FAULT_ABOUT, FAULT_KINDS
from bookreel.exchange.futu.truth import (
    TruthBook,
    TruthClose,
    TruthConnect,
    TruthFault,
    TruthKept,
    TruthLost,
    TruthPush,
    TruthStart,
    TruthStop,
    TruthTick,
)
from bookreel.venues.futu import decode
from bookreel.venues.futu.errors import PushError, Refused
from bookreel.venues.futu.model import Notice, OrderBook, Tick
from bookreel.venues.futu.requests import call, subscribe

Make = Callable[..., Any]


def told(pushes: list[Any]) -> list[Tick]:
    return [event for push in pushes for event in push.events if isinstance(event, Tick)]


def running(desk: Make, **settings: Any) -> tuple[Any, Any]:
    one = desk(**settings)
    client = one.join()
    one.subscribe(["orderbook", "ticker"], first_push=False)
    one.run(5)
    one.frames(client)
    return one, client


def test_kinds_are_data() -> None:
    assert set(FAULT_ABOUT) == set(FAULT_KINDS) and all(rate > 0 for rate in FAULT_KINDS.values())
    assert parse_faults("all", FAULT_KINDS) == FAULT_KINDS
    assert parse_faults("lag=3,restart", FAULT_KINDS) == {"lag": 3.0, "restart": FAULT_KINDS["restart"]}
    with pytest.raises(UnknownFault, match="login_loss"):
        parse_faults("login_los", FAULT_KINDS)
    with pytest.raises(UnknownFault):
        parse_faults("lost_delta", FAULT_KINDS)  # the other venue's


@pytest.mark.parametrize("kind", FAULT_KINDS)
def test_with_nobody_there_nothing_breaks(desk: Make, kind: str) -> None:
    one = desk()
    one.gateway.inflict(kind)
    one.run(10)
    one.gateway.inflict(kind)


def test_lag_loses_pushes_silently(desk: Make) -> None:
    one, client = running(desk, lag_pushes=(7, 7))
    assert one.gateway.inflict("lag")
    n = one.gateway.pusher.n
    one.run(5)
    got = one.frames(client)
    truth = one.truth()
    lost = [r.n for r in truth if isinstance(r, TruthLost)]
    assert lost == list(range(n + 1, n + 8))
    assert len(got) == one.gateway.pusher.n - n - 7
    assert [r.kind for r in truth if isinstance(r, TruthFault)] == ["lag"]


def test_a_lost_login_is_told_and_its_ticks_come_late(desk: Make) -> None:
    one, client = running(desk, login_s=(3.0, 3.0), rate=5.0)
    assert one.gateway.inflict("login_loss") and not one.gateway.inflict("login_loss")
    assert [p.events for p in one.pushes(client)] == [[Notice(3, qot_logined=False, trd_logined=False)]]
    before = len(one.gateway.market.stocks["HK.00700"].ticks)
    one.run(2.9)
    assert one.frames(client) == []
    missed = list(one.gateway.market.stocks["HK.00700"].ticks)[before:]
    one.run(0.15)
    back, *late = one.pushes(client)
    assert back.events == [Notice(3, qot_logined=True, trd_logined=False)]
    late_ticks = [t for t in told(late) if t.symbol == "HK.00700" and t.origin == "backfill"]
    assert [t.sequence for t in late_ticks][: len(missed)] == [t.sequence for t in missed] and missed
    one.run(2)
    assert {t.origin for t in told(one.pushes(client))} == {"live"}


def test_a_forgotten_subscription_is_pushed_no_more_until_it_is_begun_again(desk: Make) -> None:
    one, _ = running(desk, rate=5.0)
    before = {(s.symbol, s.sub_type) for s in one.gateway.subs.all()}
    assert one.gateway.inflict("forgotten")
    [gone] = before - {(s.symbol, s.sub_type) for s in one.gateway.subs.all()}
    one.run(5)
    began = one.gateway.now_ns()
    one.subscribe(["orderbook", "ticker"], first_push=False)
    one.run(5)
    truth = one.truth()
    [fault] = [r for r in truth if isinstance(r, TruthFault)]
    assert (fault.symbol, fault.sub_type) == gone
    kept = [r for r in truth if isinstance(r, TruthKept) and r.why == "forgotten"]
    assert kept and {(r.symbol, r.sub_type) for r in kept} == {gone} and max(r.t for r in kept) <= began
    pushes = [r.t for r in truth if isinstance(r, TruthPush) and (r.symbol, r.sub_type) == gone]
    assert max(pushes) > began and not [t for t in pushes if fault.t < t < began]


def test_no_more_than_fifty_ticks_come_back(desk: Make) -> None:
    one, client = running(desk, login_s=(10.0, 10.0), rate=60.0)
    one.gateway.inflict("backfill")
    one.run(12)
    ticks = told(one.pushes(client))
    late = [t for t in ticks if t.origin == "backfill"]
    (held,) = {t.symbol for t in late}
    assert len(late) == 50 and len({t.sequence for t in late}) == 50
    truth = one.truth()
    after = {t.sequence for t in ticks if t.symbol == held}
    happened = [r.sequence for r in truth if isinstance(r, TruthTick) and r.symbol == held]
    (fault,) = (r for r in truth if isinstance(r, TruthFault))
    gone = [s for s in happened if s not in after and happened.index(s) >= happened.index(min(after))]
    assert fault.kind == "backfill" and fault.symbol == held and fault.until is not None
    assert len(gone) == 0 or max(gone) < min(t.sequence for t in late)
    assert len([s for s in happened if s not in after]) > 50


def test_cached_ticks_are_known_by_their_sequence(desk: Make) -> None:
    one = desk()
    client = one.join()
    one.subscribe(["ticker"])
    one.run(5)
    known = {t.sequence for t in told(one.pushes(client))}
    assert one.gateway.inflict("cached")
    again = told(one.pushes(client))
    assert again and {t.origin for t in again} == {"cache"} and {t.sequence for t in again} <= known


def test_a_broken_dispatch_says_so_in_its_health_only(desk: Make) -> None:
    one, client = running(desk, login_s=(4.0, 4.0))
    assert one.gateway.inflict("breaker")
    one.run(3.9)
    assert one.frames(client) == []
    health = one.ask(call("push-subscriber-info"))
    assert not health.push_stream_healthy and health.circuit_breaker_trips == 1
    assert one.ask(call("global-state")).qot_logined
    one.run(3)
    assert {t.origin for t in told(one.pushes(client))} == {"live"}  # nothing comes late
    kept = {r.why for r in one.truth() if isinstance(r, TruthKept)}
    assert kept == {"breaker"}


def test_a_restart_cuts_everybody_and_forgets_everything(desk: Make) -> None:
    one, client = running(desk, restart_s=2.0)
    connection = one.ask(call("global-state")).conn_id
    assert one.gateway.inflict("restart") and client.note == "fault: restart"
    assert one.gateway.down and not one.gateway.inflict("restart")
    one.gateway.leave(client, "gone")
    one.run(2.05)
    assert not one.gateway.down and one.gateway.subs.used == 0
    assert one.ask(call("global-state")).conn_id == connection + 1
    again = one.join()
    one.run(3)
    assert one.frames(again) == []
    one.subscribe(["orderbook"], ["HK.00700"], first_push=False)
    one.run(5)
    books = [e for p in one.pushes(again) for e in p.events if isinstance(e, OrderBook)]
    assert books[0].ts_event is None and all(book.ts_event is not None for book in books[1:])


def test_a_disconnect_leaves_subscriptions(desk: Make) -> None:
    one, client = running(desk)
    assert one.gateway.inflict("disconnect") and client.note == "fault: disconnect"
    one.gateway.leave(client, "gone")
    again = one.join()
    one.run(2)
    assert one.frames(again)
    closes = [r for r in one.truth() if isinstance(r, TruthClose)]
    assert [r.note for r in closes] == ["fault: disconnect"]


def test_a_book_without_times(desk: Make) -> None:
    one, client = running(desk, symbols=("HK.00700",))
    assert one.gateway.inflict("zero_time")
    one.run(5)
    books = [e for p in one.pushes(client) for e in p.events if isinstance(e, OrderBook)]
    assert [book.ts_event is None for book in books] == [True] + [False] * (len(books) - 1)


@pytest.mark.parametrize(
    ("kind", "stages"), [("bad_base64", {"base64"}), ("truncated", {"protobuf", "missing"})]
)
def test_a_spoiled_push_is_refused_and_the_next_is_read(desk: Make, kind: str, stages: set[str]) -> None:
    one, client = running(desk)
    assert one.gateway.inflict(kind)
    one.run(3)
    first, *others = one.frames(client)
    with pytest.raises(PushError) as caught:
        decode(first.encode())
    assert caught.value.stage in stages
    assert len([decode(text.encode()) for text in others]) > 20
    (spoiled,) = (r for r in one.truth() if isinstance(r, TruthPush) and r.bad)
    assert spoiled.bad == kind


def test_a_listed_security_is_refused_for_a_while(desk: Make) -> None:
    one = desk(refused_s=3.0)
    assert one.gateway.inflict("bad_code")
    with pytest.raises(Refused, match="unknown stock"):
        one.ask(subscribe(one.config.symbols, ["quote"]))
    one.run(3.05)
    one.ask(subscribe(one.config.symbols, ["quote"]))


def test_all_faults_and_the_truth_adds_up(desk: Make) -> None:
    """A client that reconnects, resubscribes and remembers sequences has each tick that was sent to it once, and the
    true book at each push; whatever it did not get, the truth names."""
    feeds = ["orderbook", "ticker", "quote", "broker", "kline.1min"]
    one = desk(
        faults=",".join(f"{k}={10 * v}" for k, v in FAULT_KINDS.items()), rate=8.0, seed=5, restart_s=0.5
    )
    received: dict[int, list[str]] = {}
    client = None
    for _ in range(1200):
        if client is None or client.note is not None:
            if client is not None:
                one.gateway.leave(client, "?")
            client = None if one.gateway.down else one.join()
        if client is not None:
            if one.gateway.subs.used < len(feeds) * 2:
                for symbol in one.config.symbols:  # in small batches: one bad code fails a whole one
                    if one.gateway.logined:
                        one.post("/api/subscribe", **call_fields(symbol, feeds))
            received.setdefault(client.number, []).extend(one.frames(client))
        one.run(0.1)
    if client is not None:
        received[client.number] += one.frames(client)
        one.gateway.leave(client, "end")
    truth = one.truth()
    assert isinstance(truth[0], TruthStart) and isinstance(truth[-1], TruthStop)
    assert set(one.gateway.truth.inflicted) == set(FAULT_KINDS)
    pushes = {r.n: r for r in truth if isinstance(r, TruthPush)}
    books = {r.n: r for r in truth if isinstance(r, TruthBook)}
    ticks = {(r.symbol, r.sequence): r for r in truth if isinstance(r, TruthTick)}
    lost = {(r.conn, r.n) for r in truth if isinstance(r, TruthLost)}
    begun = {r.conn: r.n for r in truth if isinstance(r, TruthConnect)}
    ended = {r.conn: r.n for r in truth if isinstance(r, TruthClose)}
    assert len(received) > 5 and len(lost) > 50 and len(pushes) > 1000
    compared, seen, expected = 0, set(), set()
    for conn, frames in received.items():
        due = [n for n in range(begun[conn] + 1, ended[conn] + 1) if (conn, n) not in lost]
        for text, n in zip(frames, due, strict=False):  # the last ones went down with the socket
            push = pushes[n]
            expected |= {(push.symbol, s) for s in push.sequences if push.bad is None}
            if push.bad:
                with pytest.raises(PushError):
                    decode(text.encode())
                continue
            assert zlib.crc32(b64decode(msgspec.json.decode(text)["body_b64"])) == push.crc
            message: Any = decode(text.encode())
            for event in message.events:
                if isinstance(event, OrderBook):
                    true = books[n]
                    assert (event.bids, event.asks, event.ts_event) == (true.bids, true.asks, true.ts)
                    compared += 1
                elif isinstance(event, Tick):
                    seen.add((event.symbol, event.sequence))
                    assert ticks[event.symbol, event.sequence].price == event.price
    assert compared > 300 and seen == expected and seen < set(ticks)


def call_fields(symbol: str, feeds: list[str]) -> dict[str, Any]:
    return dict(subscribe([symbol], feeds).fields)


def test_settings_that_cannot_work_are_refused() -> None:
    for wrong in (
        {"rate": 0.0},
        {"login_s": (3.0, 1.0)},
        {"symbols": ()},
        {"symbols": ("A", "A")},
        {"capacity": 0},
    ):
        with pytest.raises(ValueError, match="cannot work"):
            GatewayConfig(**wrong)
