from __future__ import annotations

import gzip
import itertools
import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bookreel.book.sync import State
from bookreel.ingest.errors import LineDown
from bookreel.storage.record import Direction
from bookreel.storage.shedding import Victim

MS = 1_000_000
BTC = ("btcusdt", "mbp.150")
ETH = ("ethusdt", "mbp.150")
TRADES = ("btcusdt", "trade.detail")
BBO = ("btcusdt", "bbo")
REFRESH = ("btcusdt", "mbp.refresh.20")

Make = Callable[..., Any]


def delta(symbol: str, prev: int, seq: int, bids: list[list[float]] | None = None) -> dict[str, Any]:
    tick = {"seqNum": seq, "prevSeqNum": prev, "bids": bids or [], "asks": []}
    return {"ch": f"market.{symbol}.mbp.150", "ts": 1790001000000, "tick": tick}


def image(said: dict[str, Any], seq: int, bids: list[list[float]] | None = None) -> dict[str, Any]:
    data = {"seqNum": seq, "bids": bids or [[9.0, 1.0]], "asks": [[10.0, 1.0]]}
    return {"id": said["id"], "status": "ok", "ts": 1790001000000, "rep": said["req"], "data": data}


def bbo(seq: int, bid: float) -> dict[str, Any]:
    tick = {
        "seqId": seq,
        "ask": 10.0,
        "askSize": 1.0,
        "bid": bid,
        "bidSize": 1.0,
        "quoteTime": 1,
        "symbol": "btcusdt",
    }
    return {"ch": "market.btcusdt.bbo", "ts": 1790001000000, "tick": tick}


def trades(*seqs: int) -> dict[str, Any]:
    items = [
        {
            "id": 10**26 + seq,
            "ts": 1790001000000,
            "tradeId": seq,
            "amount": 1.0,
            "price": 9.5,
            "direction": "buy",
        }
        for seq in seqs
    ]
    return {
        "ch": "market.btcusdt.trade.detail",
        "ts": 1790001000000,
        "tick": {"id": 1, "ts": 1, "data": items},
    }


def error(said: dict[str, Any], text: str) -> dict[str, Any]:
    return {
        "status": "error",
        "ts": 1790001000000,
        "id": said["id"],
        "err-code": "bad-request",
        "err-msg": text,
    }


def go_live(talk: Any, seq: int = 100) -> None:
    """Every book of the line is live at ``seq``."""
    talk.hear({"ping": 1})
    asked = talk.subscribe()
    for _ in range(300):
        for said in asked:
            if "req" in said:
                talk.hear(image(said, seq))
        asked = talk.pass_time(0.01, 0.01)
    assert talk.books.live == talk.books.total


def sync(talk: Any, key: tuple[str, str]) -> Any:
    return talk.books.get(*key)


def test_every_frame_is_journaled_in_and_out_before_anything_else(talk: Make) -> None:
    it = talk(BTC)
    broken = b"not gzip at all"
    it.hear(broken)
    it.hear({"ping": 5})
    assert next(record.payload for record in it.journal.records if record.direction is Direction.IN) == broken
    it.dialogue.open()
    said = it.say()
    assert said == it.journal.sent()
    assert (said[0].keys(), said[1]["sub"]) == ({"ping"}, "market.btcusdt.mbp.150")


def test_a_ping_is_answered_at_once_and_a_pong_remembered(talk: Make) -> None:
    it = talk(BTC)
    assert it.hear({"ping": 77}) == b'{"pong":77}'
    assert it.journal.sent() == []
    assert it.dialogue.answer(b'{"pong":77}') == b'{"pong":77}'
    assert it.journal.sent() == [{"pong": 77}]
    assert not it.stats.pongs
    it.hear({"pong": 1})
    assert it.stats.pongs


def test_a_book_comes_up_by_ack_request_and_snapshot(talk: Make) -> None:
    it = talk(BTC)
    asked = it.subscribe()
    assert [said.get("req") for said in asked] == ["market.btcusdt.mbp.150"]
    it.hear(delta("btcusdt", 100, 104))
    it.hear(image(asked[0], 100))
    assert sync(it, BTC).valid
    assert sync(it, BTC).last_seq == 104
    assert it.stats.acked == {"market.btcusdt.mbp.150"}


def test_one_lost_delta_costs_one_book(talk: Make) -> None:
    it = talk(BTC, ETH)
    go_live(it)
    it.hear(delta("btcusdt", 100, 101))
    it.hear(delta("ethusdt", 100, 103))
    it.hear(delta("btcusdt", 105, 106))
    assert not sync(it, BTC).valid
    assert sync(it, ETH).valid
    assert sync(it, ETH).last_seq == 103
    (event,) = it.journal.events("resync")
    assert event["topic"] == "market.btcusdt.mbp.150"
    assert (event["cause"], event["last_seq"], event["next_seq"]) == ("seq_gap", 101, 106)
    (said,) = it.pass_time(0.3)
    assert said["req"] == "market.btcusdt.mbp.150"
    it.hear(image(said, 106))
    assert sync(it, BTC).valid
    assert it.books.gaps == {"seq_gap": 1}


@pytest.mark.parametrize("kind", ["null", "too old", "straddling"])
def test_a_useless_snapshot_is_asked_for_again_ever_more_slowly(talk: Make, kind: str) -> None:
    it = talk(BTC)
    (said,) = it.subscribe()
    it.hear(delta("btcusdt", 100, 110))
    begun = it.clock.mono
    times = []
    for _ in range(12):
        reply = image(said, {"null": 1, "too old": 90, "straddling": 105}[kind])
        if kind == "null":
            reply["data"] = None
        it.hear(reply)
        assert not sync(it, BTC).valid
        again: list[dict[str, Any]] = []
        while not again:
            again = it.pass_time(0.05)
        (said,) = again
        times.append((it.clock.mono - begun) / 1e9)
        begun = it.clock.mono
    assert times[0] < 0.3
    assert max(times) < 6, "and never gives up"
    assert times[-1] > 4
    it.hear(image(said, 110))
    assert sync(it, BTC).valid


def test_an_answer_that_does_not_come_is_asked_for_again(talk: Make) -> None:
    it = talk(BTC)
    (first,) = it.subscribe()
    again = it.pass_time(6)
    assert [said["req"] for said in again] == [first["req"]]
    assert again[0]["id"] != first["id"]
    assert it.stats.timeouts == 1
    # The first answer comes late and is good; the second is not needed any more.
    it.hear(image(first, 100))
    assert sync(it, BTC).valid
    it.hear(image(again[0], 100))
    assert it.pass_time(2) == []


def test_a_book_without_data_and_answers_is_subscribed_anew(talk: Make) -> None:
    it = talk(BTC, ETH)
    go_live(it)
    it.hear(delta("btcusdt", 101, 102))
    seq = 100
    said: list[dict[str, Any]] = []
    seq = pump(it, 9, seq, answer=said.append)
    assert {next(iter(each)) for each in said} == {"req"}, "late answers are good ones too"
    pump(it, 3, seq, answer=said.append)
    assert [next(iter(each)) for each in said if "req" not in each] == ["unsub", "sub"]
    assert not sync(it, BTC).valid and it.journal.events("silence")[0]["topics"] == ["market.btcusdt.mbp.150"]


def test_requests_of_many_books_keep_their_distance(talk: Make) -> None:
    it = talk(*((f"s{number}usdt", "mbp.150") for number in range(20)))
    begun = it.clock.mono
    go_live(it)
    sent = [
        record.mono
        for record in it.journal.records
        if record.direction is Direction.OUT and b'"req"' in record.payload
    ]
    assert len(sent) >= 20
    assert all(later - sooner >= 100 * MS for sooner, later in itertools.pairwise(sent))
    assert sent[-1] - begun < 4_000 * MS


def test_too_many_requests_is_waited_out(talk: Make) -> None:
    it = talk(BTC)
    (said,) = it.subscribe()
    it.hear(error(said, "429 too many request topic is market.btcusdt.mbp.150"))
    assert it.pass_time(1.4) == []
    (again,) = [said for said in it.pass_time(2) if "req" in said]
    it.hear(image(again, 100))
    assert sync(it, BTC).valid
    assert it.stats.refusals == {"busy": 1}


def test_a_suspended_symbol_is_tried_slowly(talk: Make) -> None:
    it = talk(BTC)
    it.dialogue.open()
    said = it.say()[-1]
    it.hear(error(said, "symbol:btcusdt trade not open now "))
    assert it.pass_time(20) == []
    said = it.pass_time(20)[0]
    assert said["sub"] == "market.btcusdt.mbp.150"
    assert it.journal.events("refused")[0]["reason"] == "not_open"


def test_a_wrong_topic_is_given_up_until_reference_data_changes(talk: Make) -> None:
    it = talk(BTC)
    it.dialogue.open()
    said = it.say()[-1]
    it.hear(error(said, "invalid symbol btcusdt"))
    assert it.pass_time(700, 1.0) == []
    assert it.stats.refused == {"market.btcusdt.mbp.150"}
    it.dialogue.reconsider()
    assert [said["sub"] for said in it.say()] == ["market.btcusdt.mbp.150"]


def test_trouble_of_the_server_is_tried_again(talk: Make) -> None:
    it = talk(BBO)
    it.dialogue.open()
    said = it.say()[-1]
    it.hear(error(said, "request timeout"))
    assert [said["sub"] for said in it.pass_time(2)] == ["market.btcusdt.bbo"]


def test_an_error_of_nothing_known_is_only_counted(talk: Make) -> None:
    it = talk(BBO)
    it.hear(
        {"status": "error", "ts": 1, "err-code": "bad-request", "err-msg": "not json, is not json string"}
    )
    assert it.stats.refusals == {"permanent": 1}


def test_missed_trades_are_asked_for_after_a_reconnect_only(talk: Make) -> None:
    it = talk(TRADES)
    assert it.subscribe() == []
    it.dialogue = it.make(recover=True)
    assert [said["req"] for said in it.subscribe() if "req" in said] == ["market.btcusdt.trade.detail"]
    it = talk(TRADES, backfill_trades=False)
    it.dialogue = it.make(recover=True)
    assert [said for said in it.subscribe() if "req" in said] == []


def test_a_dead_book_is_noticed_told_and_subscribed_anew(talk: Make) -> None:
    it = talk(BTC, ETH)
    go_live(it)
    seq = 100
    for _ in range(100):
        it.pass_time(0.1)
        it.hear(delta("btcusdt", seq, seq + 1))
        it.hear(delta("ethusdt", seq, seq + 1))
        seq += 1
    last = it.clock.wall_ns()
    asked: list[dict[str, Any]] = []
    eth = seq
    while not asked:
        asked = it.pass_time(0.1)
        it.hear(delta("ethusdt", eth, eth + 1))
        eth += 1
    assert asked[0]["req"] == "market.btcusdt.mbp.150"
    it.hear(image(asked[0], seq + 50, [[9.1, 1.0]]))
    said: list[dict[str, Any]] = []
    while not said:
        said = it.pass_time(0.1)
        it.hear(delta("ethusdt", eth, eth + 1))
        eth += 1
    said += it.pass_time(0.05)
    assert [next(iter(each)) for each in said] == ["unsub", "sub"]
    (event,) = it.journal.events("silence")
    assert event["topics"] == ["market.btcusdt.mbp.150"]
    assert event["since"] == last
    assert not sync(it, BTC).valid
    assert sync(it, ETH).valid
    it.ack(said[0], "unsub")
    it.ack(said[1])
    again = [each for each in it.pass_time(0.3) if "req" in each]
    it.hear(image(again[0], seq + 60))
    assert sync(it, BTC).valid
    assert it.books.gaps == {"silence": 1}


def test_a_quiet_book_is_left_in_peace(talk: Make) -> None:
    it = talk(BTC)
    go_live(it)
    for seq in range(100, 200):
        it.pass_time(0.1)
        it.hear(delta("btcusdt", seq, seq + 1))
    asked = []
    for _ in range(60):
        for said in it.pass_time(0.1):
            # A later number, but nothing within the feed's depth has changed.
            it.hear(image(said, 900 + len(asked)))
            asked.append(said)
    assert 2 <= len(asked) <= 5
    assert it.journal.events("silence") == []
    assert it.journal.events("quiet")[0]["topics"] == ["market.btcusdt.mbp.150"]
    assert sync(it, BTC).valid


def test_a_feed_without_requests_is_asked_by_a_second_subscription(talk: Make) -> None:
    it = talk(BBO, TRADES)
    it.subscribe()
    for seq in range(100):
        it.pass_time(0.1)
        it.hear(bbo(seq, 9.0 + seq / 1000))
        it.hear(trades(seq))
    last = it.clock.wall_ns()
    said: list[dict[str, Any]] = []
    seq = 100
    while not said:
        said = it.pass_time(0.1)
        it.hear(trades(seq))
        seq += 1
    assert [each["sub"] for each in said] == ["market.btcusdt.bbo"]
    it.ack(said[0])
    it.hear(bbo(99, 9.0 + 99 / 1000))
    said = []
    while not said:
        said = [each for each in it.pass_time(0.1) if "sub" in each]
        it.hear(trades(seq))
        seq += 1
    assert [event["topics"] for event in it.journal.events("quiet")] == [["market.btcusdt.bbo"]]
    quiet = it.clock.wall_ns()
    it.ack(said[0])
    it.hear(bbo(140, 9.5))
    said = []
    while not said:
        said = it.pass_time(0.1)
        it.hear(trades(seq))
        seq += 1
    (event,) = it.journal.events("silence")
    assert event["topics"] == ["market.btcusdt.bbo"]
    assert last < event["since"] < quiet, "what was proven quiet is not missing"
    assert [next(iter(each)) for each in said + it.pass_time(0.1)] == ["unsub", "sub"]


def test_heartbeats_without_any_data_end_the_line(talk: Make) -> None:
    it = talk(BBO, TRADES)
    it.subscribe()
    for seq in range(100):
        it.pass_time(0.1)
        it.hear(bbo(seq, 9.0 + seq / 1000))
        it.hear(trades(seq))
    with pytest.raises(LineDown) as caught:
        for _ in range(100):
            it.hear({"ping": 1})
            for said in it.pass_time(0.1):
                if said.get("sub") == "market.btcusdt.bbo":
                    it.ack(said)
                    it.hear(bbo(500, 9.9))
    assert caught.value.cause == "silence"


def test_nothing_at_all_is_half_open(talk: Make) -> None:
    it = talk(BBO)
    it.subscribe()
    with pytest.raises(LineDown) as caught:
        it.pass_time(20, heartbeats=False)
    assert caught.value.cause == "half_open"


def test_live_books_are_audited_now_and_then(talk: Make) -> None:
    it = talk(BTC, audit_interval_s=10)
    go_live(it)
    asked = []
    for number in range(300):
        it.hear(delta("btcusdt", 100 + number, 101 + number))
        for said in it.pass_time(0.1):
            asked.append(said)
            book = sync(it, BTC)
            it.hear(image(said, book.last_seq, [[price, size] for price, size in book.book.bids.items()]))
    assert len(asked) in (2, 3)
    assert it.books.audits["equal"] >= len(asked)
    assert it.books.audits["different"] == 0


def test_unreadable_frames_are_counted_and_end_the_line_only_in_a_row(talk: Make) -> None:
    it = talk(BTC, decode_error_limit=5)
    go_live(it)
    for _ in range(10):
        for broken in (
            b"garbage",
            gzip.compress(b'{"ch":"market.btcusdt.mbp.150","ts":1,"ti'),
            gzip.compress(b"{}")[:-3],
        ):
            it.hear(broken)
        it.hear({"ping": 1})
    assert it.stats.decode_errors == 30
    it.hear(delta("btcusdt", 300, 301))
    assert it.journal.events("resync")[0]["cause"] == "decode_error"
    with pytest.raises(LineDown) as caught:
        for _ in range(5):
            it.hear(b"garbage")
    assert caught.value.cause == "decode_error"


def test_a_mistake_of_ours_in_one_frame_costs_that_frame(talk: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    it = talk(BTC)
    go_live(it)

    def fail(*args: object) -> None:
        raise KeyError("a bug")

    with monkeypatch.context() as patch:
        patch.setattr(type(it.books.add(it.topics["market.btcusdt.mbp.150"])), "delta", fail)
        it.hear(delta("btcusdt", 100, 101))
    assert it.stats.decode_errors == 1
    it.hear(delta("btcusdt", 101, 102))
    assert it.journal.events("resync")[0]["cause"] == "decode_error"


def test_a_shed_frame_is_not_applied(talk: Make) -> None:
    it = talk(BTC)
    go_live(it)
    it.journal.full = True
    it.hear(delta("btcusdt", 100, 101))
    it.journal.full = False
    assert it.stats.shed == 1
    assert sync(it, BTC).last_seq == 100
    it.hear(delta("btcusdt", 101, 102))
    assert it.journal.events("resync")[0]["cause"] == "shed"


def test_only_the_book_whose_frame_was_shed_is_lost(talk: Make) -> None:
    it = talk(BTC, ETH)
    go_live(it)
    it.journal.full = True
    it.journal.victim = Victim("market.btcusdt.mbp.150", "disk_full")
    it.hear(delta("btcusdt", 100, 101))
    it.journal.full = False
    assert (sync(it, BTC).valid, sync(it, ETH).valid) == (False, True), "at once, not with the next delta"
    it.hear(delta("ethusdt", 100, 101))
    it.hear(delta("btcusdt", 101, 102))
    gap = sync(it, BTC).gap
    assert gap is not None
    assert (gap.cause, gap.last_seq, gap.next_seq) == ("disk_full", 100, 102)
    assert it.books.gaps == {"disk_full": 1}
    assert it.journal.streams == ["market.btcusdt.mbp.150", "market.ethusdt.mbp.150"]


def test_a_ping_is_answered_even_if_the_journal_is_full(talk: Make) -> None:
    it = talk(BTC)
    it.journal.full = True
    assert it.hear({"ping": 5}) == b'{"pong":5}'
    assert it.dialogue.receive('{"ping":6}', 1, it.clock.mono_ns()) == b'{"pong":6}'
    assert it.hear(b"garbage") is None
    assert it.hear(trades(1)) is None
    assert it.stats.shed == 4


def test_what_comes_before_the_end_of_a_subscription_is_not_built_on(talk: Make) -> None:
    it = talk(BTC)
    go_live(it)
    it.hear({"id": "x", "unsubbed": "market.btcusdt.mbp.150", "status": "ok", "ts": 1})
    assert not sync(it, BTC).valid
    assert it.books.gaps == {"operator": 1}


def test_a_run_that_goes_on_with_an_archive_asks_for_a_second_snapshot_soon(talk: Make) -> None:
    it = talk(BTC)
    it.config = type(it.config)(audit_interval_s=300)
    it.dialogue = it.make(recover=True)
    go_live(it)
    asked = []
    for number in range(90):
        it.hear(delta("btcusdt", 100 + number, 101 + number))
        asked += it.pass_time(0.1)
    assert [said["req"] for said in asked] == ["market.btcusdt.mbp.150"]


def test_unknown_messages_and_foreign_topics_do_no_harm(talk: Make) -> None:
    it = talk(BTC)
    go_live(it)
    it.hear(
        {
            "ch": "market.xrpusdt.mbp.150",
            "ts": 1,
            "tick": {"seqNum": 2, "prevSeqNum": 1, "bids": [], "asks": []},
        }
    )
    it.hear({"hello": "world"})
    it.hear(trades(1, 2))
    it.hear({"id": "nobody", "rep": "market.btcusdt.kline.1min", "status": "ok", "ts": 1, "data": []})
    it.hear({"id": "nobody", "subbed": "market.xrpusdt.bbo", "status": "ok", "ts": 1})
    assert it.stats.unknown == 1
    assert it.stats.decode_errors == 0
    assert sync(it, BTC).valid


def test_text_frames_are_taken_too(talk: Make) -> None:
    it = talk(BTC)
    pong = it.dialogue.receive('{"ping":9}', it.clock.wall_ns(), it.clock.mono_ns())
    assert pong == b'{"pong":9}'
    it.dialogue.receive("{", it.clock.wall_ns(), it.clock.mono_ns())
    assert it.stats.decode_errors == 1


def test_a_snapshot_is_asked_for_again_before_the_first_answer_is_overdue(talk: Make) -> None:
    it = talk(BTC, snapshot_hedge_ms=100)
    go_live(it)
    it.hear(delta("btcusdt", 104, 105))
    asked = it.pass_time(2, 0.01)
    assert [said["req"] for said in asked] == ["market.btcusdt.mbp.150"] * 3
    assert len({said["id"] for said in asked}) == 3
    # The first answer is too old; the second is on its way already, and the third of no use.
    it.hear(image(asked[0], 90))
    assert not sync(it, BTC).valid
    it.hear(image(asked[1], 105))
    assert sync(it, BTC).valid
    it.hear(image(asked[2], 105))
    assert sync(it, BTC).last_seq == 105


def test_repetitions_wait_until_everybody_has_asked_once(talk: Make) -> None:
    it = talk(*((f"s{number}usdt", "mbp.150") for number in range(5)), snapshot_hedge_ms=100)
    it.dialogue.open()
    asked = []
    for _ in range(80):
        for said in it.pass_time(0.01, 0.01):
            if "sub" in said:
                it.ack(said)
            else:
                asked.append(said["req"])
    assert len(set(asked[:5])) == 5
    assert len(asked) > 5


def test_repetitions_of_books_that_are_right_keep_nobody_waiting(talk: Make) -> None:
    it = talk(*((f"s{number}usdt", "mbp.150") for number in range(5)), snapshot_hedge_ms=100)
    it.dialogue.open()
    while not it.dialogue.health.streams or it.dialogue.pending:
        for said in it.pass_time(0.01, 0.01):
            if "sub" in said:
                it.ack(said)
            else:
                it.hear(image(said, 100))
        if it.clock.mono_ns() - it.dialogue.opened_at > 2000 * MS:
            break
    assert it.clock.mono_ns() - it.dialogue.opened_at < 1000 * MS, "five requests of 105 ms, and no more"


def test_an_answer_to_another_question_is_not_used(talk: Make) -> None:
    it = talk(BTC, ETH)
    go_live(it)
    it.hear(delta("btcusdt", 104, 105))
    it.hear(delta("ethusdt", 104, 105))
    btc, eth = (said for said in it.pass_time(0.4) if "req" in said)
    it.hear(image(btc, 105) | {"rep": eth["req"]})
    it.hear(image(eth, 105) | {"rep": btc["req"]})
    assert it.books.live == 0
    assert it.stats.foreign == 2
    # Both are asked for again.
    again = {said["req"]: said for said in it.pass_time(0.7) if "req" in said}
    for said in again.values():
        it.hear(image(said, 105))
    assert it.books.live == 2


def test_answers_given_twice_or_half_a_minute_late_neither_harm_nor_loop(talk: Make) -> None:
    it = talk(BTC)
    go_live(it)
    it.hear(delta("btcusdt", 104, 105))
    (first,) = it.pass_time(0.3)
    it.hear(image(first, 105))
    asked = 0
    for seq in range(105, 405):
        it.hear(delta("btcusdt", seq, seq + 1))
        it.hear(image(first, 105))
        asked += len(it.pass_time(0.1))
    assert sync(it, BTC).valid
    assert sync(it, BTC).last_seq == 405
    it.hear(delta("btcusdt", 409, 410))
    it.hear(image(first, 105))
    assert not sync(it, BTC).valid, "half a minute old"
    asked += len(again := it.pass_time(0.3))
    assert 1 <= asked <= 4
    it.hear(image(again[-1], 410))
    assert sync(it, BTC).valid


def test_frames_that_wait_keep_their_order_and_no_ping_waits(talk: Make) -> None:
    it = talk(BTC)
    go_live(it)
    wall, mono = it.clock.wall_ns(), it.clock.mono_ns()
    for seq in range(100, 200):
        payload = gzip.compress(json.dumps(delta("btcusdt", seq, seq + 1)).encode())
        assert it.dialogue.receive(payload, wall, mono, later=True) is None
    assert it.hear({"ping": 9}) == b'{"pong":9}'
    assert sync(it, BTC).last_seq == 100
    it.clock.advance(3)
    it.dialogue.check(it.clock.mono_ns())
    assert it.journal.events("silence") == []
    it.dialogue.catch_up(30)
    assert sync(it, BTC).last_seq == 130
    it.dialogue.close()
    assert sync(it, BTC).last_seq == 200


def refresh(seq: int, bid: float, ts_ms: int) -> dict[str, Any]:
    tick = {"seqNum": seq, "bids": [[bid, 1.0]], "asks": [[10.0, 1.0]]}
    return {"ch": "market.btcusdt.mbp.refresh.20", "ts": ts_ms, "tick": tick}


def fall_silent(talk: Any) -> int:
    """The pushed book of the line stops, trades go on, and it was asked about: when it last came (ns)."""
    talk.subscribe()
    for seq in range(100):
        talk.pass_time(0.1)
        talk.hear(refresh(seq, 9.0 + seq % 2, talk.clock.wall_ns() // MS))
        talk.hear(trades(seq))
    last: int = talk.clock.wall_ns()
    said: list[dict[str, Any]] = []
    while not said:
        said = talk.pass_time(0.1)
        talk.hear(trades(seq := seq + 1))
    assert said[0]["sub"] == "market.btcusdt.mbp.refresh.20"
    talk.ack(said[0])
    return last


@pytest.mark.parametrize(
    ("early_ms", "again", "holes"),
    [
        (40, 120, 0),  # the push was only late
        (40, 121, 1),  # the next one, although it says the same
        (0, 121, 0),  # the answer may have been made for us, and this is the push of its content
    ],
)
def test_a_silence_that_the_question_itself_ended_is_a_hole(
    talk: Make, early_ms: int, again: int, holes: int
) -> None:
    it = talk(REFRESH, TRADES)
    last = fall_silent(it)
    it.hear(refresh(120, 9.5, it.clock.wall_ns() // MS - early_ms))
    it.pass_time(0.1)
    it.hear(refresh(again, 9.5, it.clock.wall_ns() // MS))
    found = it.journal.events("silence")
    assert [(event["since"], event["renewed"]) for event in found] == [(last, False)] * holes


def test_a_push_that_cannot_be_read_confirms_no_answer(talk: Make) -> None:
    it = talk(REFRESH, TRADES)
    last = fall_silent(it)
    now_ms = it.clock.wall_ns() // MS
    it.hear(refresh(120, 9.5, now_ms))
    it.pass_time(0.1)
    it.hear(gzip.compress(json.dumps(refresh(121, 9.5, now_ms), separators=(",", ":")).encode()[:-9]))
    assert [event["since"] for event in it.journal.events("silence")] == [last]


@pytest.mark.parametrize("kind", ["broken", "cut", "nameless"])
def test_a_frame_that_could_not_be_read_is_not_taken_for_silence(talk: Make, kind: str) -> None:
    it = talk(TRADES, BBO)
    it.subscribe()
    for seq in range(100):
        it.pass_time(0.1)
        it.hear(trades(seq))
        it.hear(bbo(seq, 9.0 + seq % 2))
    text = json.dumps(trades(100), separators=(",", ":")).encode()
    it.hear(
        {"broken": gzip.compress(text)[:-3], "cut": gzip.compress(text[:-40]), "nameless": b"garbage"}[kind]
    )
    answered = 0
    for seq in range(100, 160):
        for said in it.pass_time(0.1):
            if said.get("sub") != "market.btcusdt.trade.detail":
                continue
            it.ack(said)
            # The second time it is another one, and that was really withheld.
            answered += not it.journal.events("silence")
            it.hear(trades(100 if answered == 1 else 101))
        it.hear(bbo(seq, 9.0 + seq % 2))
        if it.journal.events("silence"):
            break
    (event,) = it.journal.events("silence")
    assert answered == 2
    assert event["topics"] == ["market.btcusdt.trade.detail"]


def test_a_first_snapshot_that_was_too_old_does_not_accuse_a_quiet_book(talk: Make) -> None:
    it = talk(BTC, ETH)
    go_live(it)
    seq = 100
    answers = 0
    for _ in range(80):
        for said in it.pass_time(0.1):
            if said.get("req") == "market.btcusdt.mbp.150":
                answers += 1
                it.hear(image(said, 120, [[9.1, 1.0]]))
        it.hear(delta("ethusdt", seq, seq + 1))
        seq += 1
    assert answers >= 2
    assert it.journal.events("silence") == []
    while not it.journal.events("silence"):
        for said in it.pass_time(0.1):
            if said.get("req") == "market.btcusdt.mbp.150":
                it.hear(image(said, 130, [[9.2, 1.0]]))
        it.hear(delta("ethusdt", seq, seq + 1))
        seq += 1


def test_a_stream_that_speaks_while_it_is_subscribed_anew_has_one_hole(talk: Make) -> None:
    it = talk(BTC, ETH)
    go_live(it)
    it.hear(delta("btcusdt", 100, 101))
    asked: list[dict[str, Any]] = []
    eth = 100
    while not any("unsub" in said for said in asked):
        asked = it.pass_time(0.1)
        it.hear(delta("ethusdt", eth, eth + 1))
        eth += 1
        for said in asked:
            if "req" in said:
                it.hear(image(said, 150, [[9.1, 1.0]]))
    asked += it.pass_time(0.05)
    it.hear(delta("btcusdt", 150, 151))
    it.hear({"id": "old", "subbed": "market.btcusdt.mbp.150", "status": "ok", "ts": 1})
    assert sync(it, BTC).state.value == "idle"
    unsub, sub = (said for said in asked if "unsub" in said or "sub" in said)
    it.ack(unsub, "unsub")
    it.ack(sub)
    again = [each for each in it.pass_time(0.3) if "req" in each]
    it.hear(image(again[0], 160))
    assert sync(it, BTC).valid
    assert it.books.gaps == {"silence": 1}
    assert [event["renewed"] for event in it.journal.events("silence")] == [True]


def test_the_end_of_a_dead_subscription_is_asked_for_once(talk: Make) -> None:
    it = talk(BTC, ETH)
    go_live(it)
    it.hear(delta("btcusdt", 100, 101))
    unsubs = 0
    eth = 100
    for _ in range(200):
        for said in it.pass_time(0.1):
            if "req" in said:
                it.hear(image(said, 150, [[9.1, 1.0]]))
            elif "sub" in said:
                it.ack(said)
                it.hear(delta("btcusdt", 150, 151))
            unsubs += "unsub" in said
        it.hear(delta("ethusdt", eth, eth + 1))
        eth += 1
    assert unsubs == 1, "a second one would end the subscription that follows"


def test_a_first_message_that_could_not_be_read_was_not_withheld(talk: Make) -> None:
    it = talk(REFRESH, TRADES)
    it.subscribe()
    it.pass_time(0.7)
    made = it.clock.wall_ns() // MS
    it.hear(gzip.compress(json.dumps(refresh(120, 9.5, made), separators=(",", ":")).encode())[:-3])
    for seq in range(1, 40):
        for said in it.pass_time(0.1):
            if said.get("sub", "").endswith("refresh.20"):
                it.ack(said)
                it.hear(refresh(120, 9.5, made))
        it.hear(trades(seq))
    assert it.journal.events("silence") == []


@pytest.mark.parametrize(("age_ms", "holes"), [(100, 0), (700, 1), (60_000, 0)])
def test_a_first_message_that_was_withheld_is_missed_if_it_is_told_from_one_that_is_late(
    talk: Make, age_ms: int, holes: int
) -> None:
    it = talk(REFRESH, TRADES)
    it.subscribe()
    said: list[dict[str, Any]] = []
    seq = 0
    while not said:
        said = [each for each in it.pass_time(0.1) if each.get("sub", "").endswith("refresh.20")]
        it.hear(trades(seq := seq + 1))
    it.ack(said[0])
    it.hear(refresh(120, 9.5, it.clock.wall_ns() // MS - age_ms))
    it.pass_time(0.1)
    it.hear(refresh(121, 9.6, it.clock.wall_ns() // MS))
    assert len(it.journal.events("silence")) == holes


def test_an_answer_that_is_given_twice_does_not_confirm_itself(talk: Make) -> None:
    it = talk(REFRESH, TRADES)
    it.subscribe()
    for seq in range(100):
        it.pass_time(0.1)
        it.hear(refresh(seq, 9.0 + seq % 2, it.clock.wall_ns() // MS))
        it.hear(trades(seq))
    said: list[dict[str, Any]] = []
    while len(said) < 2:
        said += it.pass_time(0.1)
        it.hear(trades(seq := seq + 1))
    made = it.clock.wall_ns() // MS - 900
    for question in said:
        it.ack(question)
        it.hear(refresh(120, 9.5, made))
    it.pass_time(0.1)
    it.hear(refresh(125, 9.6, it.clock.wall_ns() // MS))
    assert len(it.journal.events("silence")) == 1


def pump(it: Any, seconds: float, seq: int, *, answer: Callable[[dict[str, Any]], Any]) -> int:
    """ETH goes on and BTC is silent; ``answer`` gives what is said to what else is sent. Returns ETH's number."""
    for _ in range(round(seconds / 0.1)):
        for said in it.pass_time(0.1):
            if "ethusdt" in said.get("req", ""):
                it.hear(image(said, seq))
            elif (message := answer(said)) is not None:
                it.hear(message)
        it.hear(delta("ethusdt", seq, seq + 1))
        seq += 1
    return seq


def both_brisk(it: Any, steps: int = 50) -> int:
    go_live(it)
    for seq in range(100, 100 + steps):
        for said in it.pass_time(0.1):
            it.hear(image(said, seq))
        it.hear(delta("btcusdt", seq, seq + 1))
        it.hear(delta("ethusdt", seq, seq + 1))
    return 100 + steps


def test_a_question_waits_for_any_request_that_is_under_way_but_not_for_long(talk: Make) -> None:
    it = talk(BTC, ETH, audit_interval_s=20)
    seq = both_brisk(it)
    audits: list[dict[str, Any]] = []
    while not audits:
        it.hear(delta("btcusdt", seq, seq + 1))
        it.hear(delta("ethusdt", seq, seq + 1))
        seq += 1
        audits = [said for said in it.pass_time(0.1) if said.get("req") == "market.btcusdt.mbp.150"]
    pump(it, 2.6, seq, answer=lambda said: None)
    assert [event["topics"] for event in it.journal.events("silence")] == [["market.btcusdt.mbp.150"]]


def test_a_question_does_not_wait_for_a_request_that_has_time(talk: Make) -> None:
    it = talk(BTC, ETH, snapshot_hedge_ms=100)
    seq = both_brisk(it)
    it.hear(delta("btcusdt", seq + 1, seq + 2))
    first, second, *_ = (said for said in it.pass_time(0.3) if "req" in said)
    it.hear(error(first, "symbol is not open"))
    it.hear(image(second, seq + 2))
    assert sync(it, BTC).valid
    asked: list[dict[str, Any]] = []
    pump(it, 3, seq, answer=asked.append)
    assert [event["topics"] for event in it.journal.events("silence")] == [["market.btcusdt.mbp.150"]]
    assert len([said for said in asked if "req" in said]) >= 2


def test_an_answer_without_data_is_asked_for_once_more_and_is_no_death(talk: Make) -> None:
    it = talk(BTC, ETH)
    seq = both_brisk(it)
    asked: list[dict[str, Any]] = []

    def nothing(said: dict[str, Any]) -> dict[str, Any]:
        asked.append(said)
        return image(said, 0) | {"data": None}

    seq = pump(it, 6, seq, answer=nothing)
    assert it.journal.events("silence") == []
    assert 4 <= len(asked) <= 12
    asked.clear()
    pump(it, 3, seq, answer=lambda said: image(said, seq + 99, [[9.1, 1.0]]) if "req" in said else None)
    assert [event["topics"] for event in it.journal.events("silence")] == [["market.btcusdt.mbp.150"]]


def test_an_answer_to_another_question_leaves_none_open(talk: Make) -> None:
    it = talk(BTC, ETH)
    seq = both_brisk(it)

    def foreign(said: dict[str, Any]) -> dict[str, Any] | None:
        return image(said, 1) | {"rep": "market.ethusdt.mbp.150"} if "req" in said else None

    pump(it, 3, seq, answer=foreign)
    assert it.stats.foreign >= 2
    assert [event["topics"] for event in it.journal.events("silence")] == [["market.btcusdt.mbp.150"]]


def test_a_slow_line_is_given_its_round_trips(talk: Make) -> None:
    """Answers come, but later than a fast line would be given."""
    it = talk(BTC)
    go_live(it)
    it.hear({"pong": 1})
    late: list[tuple[int, dict[str, Any]]] = []
    for _ in range(600):
        it.clock.advance(0.05)
        now = it.clock.mono_ns()
        for said in it.say():
            if "ping" in said:
                late.append((now + 1300 * MS, {"pong": said["ping"]}))
            elif "req" in said:
                late.append((now + 1300 * MS, image(said, 100)))
        while late and late[0][0] <= now:
            it.hear(late.pop(0)[1])
        it.dialogue.check(now)
    assert it.journal.events("quiet")
    assert it.journal.events("silence") == []


_ANSWERS = [
    "image",
    "newer",
    "null",
    "lost",
    "foreign",
    "429 too many request",
    "unsub with not subbed",
    "server",
]


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.sampled_from(_ANSWERS), st.booleans()), min_size=1, max_size=40), st.booleans())
def test_whatever_the_venue_answers_nobody_waits_for_ever(
    talk: Make, script: list[tuple[str, bool]], hedged: bool
) -> None:
    """A stream that is asked about has a request queued or under way, or else it is told that there was no answer."""
    it = talk(BTC, ETH, audit_interval_s=3, snapshot_hedge_ms=100 if hedged else 0)
    it.hear({"ping": 1})
    it.dialogue.open()
    seq = 100
    answers = itertools.cycle(script)
    for _ in range(150):
        how, speaks = next(answers)
        it.clock.advance(0.1)
        it.hear({"ping": 1})
        for said in it.say():
            if "sub" in said:
                it.ack(said)
            if "req" not in said or how == "lost":
                continue
            message = image(said, seq, [[9.0 + seq / 1000, 1.0]] if how == "newer" else None)
            if how == "null":
                message["data"] = None
            elif how == "foreign":
                message["rep"] = "market.xrpusdt.mbp.150"
            elif how not in ("image", "newer"):
                message = error(said, how)
            it.hear(message)
        if speaks:
            it.hear(delta("btcusdt", seq, seq + 1))
        seq += 1
        now = it.clock.mono_ns()
        try:
            it.dialogue.check(now)
        except LineDown:
            return
        health = it.dialogue.health
        assert all(now - health.streams[name].asked_at < 4e9 for name in health.questioned())
        books = [it.books.get(*BTC), it.books.get(*ETH)]
        assert it.dialogue.pending or not any(book.state is State.AWAITING_SNAPSHOT for book in books)
