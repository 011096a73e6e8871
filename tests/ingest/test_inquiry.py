from __future__ import annotations

import gzip
import json
from typing import Any

import pytest

from bookreel.ingest.errors import LineDown
from tests.ingest.messages import (
    BBO,
    BTC,
    ETH,
    MS,
    REFRESH,
    TRADES,
    Make,
    bbo,
    both_brisk,
    delta,
    go_live,
    image,
    pump,
    refresh,
    sync,
    trades,
)


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
