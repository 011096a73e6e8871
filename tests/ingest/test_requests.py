from __future__ import annotations

import itertools
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bookreel.book.sync import State
from bookreel.ingest.errors import LineDown
from bookreel.storage.record import Direction
from tests.ingest.messages import (
    BBO,
    BTC,
    ETH,
    MS,
    TRADES,
    Make,
    both_brisk,
    delta,
    error,
    go_live,
    image,
    pump,
    sync,
)


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
    while not it.dialogue.health.streams or it.dialogue.requests.pending:
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
        assert it.dialogue.requests.pending or not any(
            book.state is State.AWAITING_SNAPSHOT for book in books
        )
