from __future__ import annotations

import itertools
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from bookreel.ingest.pacing import IN_FLIGHT, Outgoing, Pacer, Purpose
from bookreel.venues.huobi import Huobi

MS = 1_000_000
S = 1_000_000_000
T0 = 50 * S
TOPICS = [Huobi().topic(f"s{number}usdt", "mbp.150") for number in range(30)]


def make() -> Pacer:
    return Pacer(
        "feed-0.1",
        req_interval_ns=110 * MS,
        sub_interval_ns=10 * MS,
        timeout_ns=5 * S,
        rng=Random(1),
    )


def drain(pacer: Pacer, start: int, until: int) -> list[tuple[int, Outgoing]]:
    """Everything sent from ``start`` on, sleeping exactly as long as the pacer says."""
    sent: list[tuple[int, Outgoing]] = []
    now = start
    while now < until:
        out = pacer.pull(now)
        if out is not None:
            sent.append((now, out))
            continue
        wait = pacer.wait(now)
        if wait is None or not pacer.queued:
            break
        assert wait > 0, "a wait of nothing would spin"
        now += wait
    return sent


def test_requests_keep_their_distance_and_subscriptions_their_own() -> None:
    pacer = make()
    for topic in TOPICS:
        pacer.put(Outgoing("req", topic, Purpose.SNAPSHOT, T0))
        pacer.put(Outgoing("sub", topic, Purpose.STREAM, T0))
    sent = drain(pacer, T0, T0 + 60 * S)
    reqs = [at for at, out in sent if out.verb == "req"]
    subs = [at for at, out in sent if out.verb == "sub"]
    assert len(reqs) == len(subs) == len(TOPICS)
    assert {later - sooner for sooner, later in itertools.pairwise(reqs)} == {110 * MS}
    assert {later - sooner for sooner, later in itertools.pairwise(subs)} == {10 * MS}


def test_what_a_book_waits_for_goes_first() -> None:
    pacer = make()
    for purpose, topic in zip(
        (Purpose.AUDIT, Purpose.BACKFILL, Purpose.ASK, Purpose.SNAPSHOT), TOPICS, strict=False
    ):
        pacer.put(Outgoing("req", topic, purpose, T0))
    order = [out.purpose for _, out in drain(pacer, T0, T0 + S)]
    assert order == [Purpose.SNAPSHOT, Purpose.ASK, Purpose.BACKFILL, Purpose.AUDIT]


def test_unsub_and_sub_of_a_topic_keep_their_order() -> None:
    pacer = make()
    pacer.put(Outgoing("unsub", TOPICS[0], Purpose.STREAM, T0))
    pacer.put(Outgoing("sub", TOPICS[0], Purpose.STREAM, T0))
    assert [out.verb for _, out in drain(pacer, T0, T0 + S)] == ["unsub", "sub"]


def test_the_same_is_not_queued_twice_but_may_become_more_urgent() -> None:
    pacer = make()
    assert pacer.put(Outgoing("req", TOPICS[0], Purpose.AUDIT, due=T0 + S))
    assert not pacer.put(Outgoing("req", TOPICS[0], Purpose.SNAPSHOT, due=T0))
    out = pacer.pull(T0)
    assert out is not None
    assert out.purpose is Purpose.SNAPSHOT
    assert not pacer.put(Outgoing("req", TOPICS[0], Purpose.AUDIT, T0)), "it is under way"
    assert pacer.under_way("req", TOPICS[0])


def test_a_snapshot_may_be_asked_for_again_before_it_is_answered_but_not_for_ever() -> None:
    pacer = make()
    topic = TOPICS[0]
    now = T0
    for number in range(IN_FLIGHT):
        assert pacer.under_way("req", topic) == number
        assert pacer.put(Outgoing("req", topic, Purpose.HEDGE if number else Purpose.SNAPSHOT, T0))
        assert pacer.pull(now) is not None
        now += 110 * MS
    assert not pacer.put(Outgoing("req", topic, Purpose.SNAPSHOT, T0))


def test_the_distance_is_kept_from_when_a_request_really_left() -> None:
    pacer = make()
    for topic in TOPICS[:3]:
        pacer.put(Outgoing("req", topic, Purpose.SNAPSHOT, T0))
    out = pacer.pull(T0)
    assert out is not None
    pacer.left(out, T0 + 70 * MS)
    assert pacer.pull(T0 + 179 * MS) is None
    assert pacer.pull(T0 + 180 * MS) is not None


def test_what_is_not_needed_any_more_takes_nobodys_turn() -> None:
    pacer = make()
    for topic in TOPICS[:2]:
        pacer.put(Outgoing("req", topic, Purpose.HEDGE, T0))
    first = pacer.pull(T0)
    assert first is not None
    pacer.withdraw(first, T0)
    assert pacer.pending == 0
    second = pacer.pull(T0)
    assert second is not None
    assert second.topic is not first.topic


def test_a_complaint_makes_the_distance_longer() -> None:
    pacer = make()
    for topic in TOPICS[:5]:
        pacer.put(Outgoing("req", topic, Purpose.SNAPSHOT, T0))
    pacer.pull(T0)
    pacer.complaint(T0 + S)
    reqs = [at for at, _ in drain(pacer, T0, T0 + 5 * S)]
    assert {later - sooner for sooner, later in itertools.pairwise(reqs)} == {120 * MS}
    for _ in range(50):
        pacer.complaint(T0 + 9 * S)
    pacer.put(Outgoing("req", TOPICS[5], Purpose.SNAPSHOT, T0))
    pacer.put(Outgoing("req", TOPICS[6], Purpose.SNAPSHOT, T0))
    reqs = [at for at, _ in drain(pacer, T0 + 9 * S, T0 + 20 * S)]
    assert reqs[1] - reqs[0] == 200 * MS, "and no longer than this"


def test_what_waited_for_a_second_waits_no_longer_for_what_is_more_urgent() -> None:
    pacer = make()
    pacer.put(Outgoing("req", TOPICS[0], Purpose.ASK, T0))
    asked_at = 0
    for step in range(30):
        now = T0 + step * 110 * MS
        pacer.put(Outgoing("req", TOPICS[1 + step % 20], Purpose.SNAPSHOT, now))
        out = pacer.pull(now)
        assert out is not None
        pacer.answered(out.request_id)
        if out.purpose is Purpose.ASK:
            asked_at = now
    assert S < asked_at - T0 < 1.2 * S


def test_what_is_put_again_is_due_when_the_earlier_one_is() -> None:
    pacer = make()
    pacer.put(Outgoing("req", TOPICS[0], Purpose.SNAPSHOT, T0 + 30 * S))
    assert not pacer.put(Outgoing("req", TOPICS[0], Purpose.ASK, T0)), "it is the same request"
    out = pacer.pull(T0)
    assert out is not None and out.purpose is Purpose.SNAPSHOT


def test_answers_are_matched_by_id() -> None:
    pacer = make()
    pacer.put(Outgoing("req", TOPICS[0], Purpose.SNAPSHOT, T0))
    out = pacer.pull(T0)
    assert out is not None
    assert out.request_id.startswith("feed-0.1.")
    assert pacer.answered("feed-0.0.1") is None
    assert pacer.answered(None) is None
    assert pacer.answered(7) is None
    assert pacer.answered(out.request_id) is out
    assert pacer.answered(out.request_id) is None, "once"
    assert (pacer.queued, pacer.pending) == (0, 0)


def test_what_is_not_answered_expires_once() -> None:
    pacer = make()
    pacer.put(Outgoing("req", TOPICS[0], Purpose.SNAPSHOT, T0))
    pacer.put(Outgoing("req", TOPICS[1], Purpose.AUDIT, due=T0 + S))
    pacer.pull(T0)
    assert pacer.expected(T0) == {TOPICS[0].text}
    assert pacer.expected(T0 + S) == {TOPICS[0].text, TOPICS[1].text}, "it is its turn"
    pacer.pull(T0 + S)
    pacer.hasten(TOPICS[1], T0 + 3 * S)
    pacer.hasten(TOPICS[1], T0 + 4 * S)
    assert pacer.wait(T0 + 9 * S) is None, "nothing can be sent, so nothing wakes the writer"
    assert pacer.deadline == T0 + 3 * S, "the question expires first, although it was sent last"
    assert pacer.expired(T0 + 3 * S - 1) == []
    assert [out.topic for out in pacer.expired(T0 + 3 * S)] == [TOPICS[1]]
    assert [out.topic for out in pacer.expired(T0 + 5 * S)] == [TOPICS[0]]
    assert pacer.expired(T0 + 9 * S) == []


def test_retries_come_ever_later() -> None:
    pacer = make()
    out = Outgoing("req", TOPICS[0], Purpose.SNAPSHOT, T0)
    pacer.put(out)
    now = T0
    waits = []
    for _ in range(8):
        sent = pacer.pull(now)
        assert sent is out
        pacer.answered(sent.request_id)
        pacer.retry(sent, now, base_ns=S, cap_ns=20 * S)
        wait = pacer.wait(now)
        assert wait is not None
        waits.append(wait)
        now += wait
    for number, wait in enumerate(waits):
        expected = min(20 * S, S << number)
        assert 0.75 * expected <= wait <= 1.25 * expected


def test_a_complaint_of_too_many_requests_holds_them_all() -> None:
    pacer = make()
    pacer.put(Outgoing("req", TOPICS[0], Purpose.SNAPSHOT, T0))
    pacer.put(Outgoing("sub", TOPICS[0], Purpose.STREAM, T0))
    pacer.complaint(T0 + 2 * S)
    sent = drain(pacer, T0, T0 + 9 * S)
    assert [(at, out.verb) for at, out in sent] == [(T0, "sub"), (T0 + 2 * S, "req")]


def test_a_dropped_topic_is_forgotten() -> None:
    pacer = make()
    for topic in TOPICS[:2]:
        pacer.put(Outgoing("sub", topic, Purpose.STREAM, T0))
        pacer.put(Outgoing("req", topic, Purpose.SNAPSHOT, T0))
    pacer.pull(T0)
    pacer.drop(TOPICS[0])
    assert {out.topic.text for _, out in drain(pacer, T0, T0 + S)} == {TOPICS[1].text}
    assert all(out.topic == TOPICS[1] for out in pacer.expired(T0 + 60 * S))


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["sub", "unsub", "req"]),
            st.integers(0, 29),
            st.sampled_from(Purpose),
            st.integers(0, 300),
        ),
        max_size=60,
    )
)
def test_however_it_is_used_the_venues_limit_holds(steps: list[tuple[str, int, Purpose, int]]) -> None:
    pacer = make()
    now = T0
    reqs: list[int] = []
    for verb, number, purpose, pause_ms in steps:
        pacer.put(Outgoing(verb, TOPICS[number], purpose, T0))  # type: ignore[arg-type]
        now += pause_ms * MS
        while (out := pacer.pull(now)) is not None:
            if out.verb == "req":
                reqs.append(now)
        for late in pacer.expired(now):
            pacer.retry(late, now, base_ns=S, cap_ns=9 * S)
        assert pacer.queued + pacer.pending <= 3 * len(TOPICS)
    assert all(later - sooner >= 110 * MS for sooner, later in itertools.pairwise(reqs))
