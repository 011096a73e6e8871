from __future__ import annotations

import random
from collections.abc import Callable

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bookreel.book import BookSync, Delta, L2Book, Levels, Outcome, Snapshot, State
from bookreel.book import sync as sync_module
from bookreel.book.sync import RESTART_EVIDENCE, TRANSITIONS, Input, SyncState

SYMBOL, FEED = "btcusdt", "mbp.150"


class Market:
    """A true book, its deltas, and an image of it at every number a delta has and at numbers in between."""

    def __init__(self, seed: int, start: int = 100) -> None:
        self.rng = random.Random(seed)
        self.seq = start
        self.book = L2Book()
        self.book.load([(99.0, 1.0), (98.0, 1.0)], [(101.0, 1.0), (102.0, 1.0)])
        self.images: dict[int, tuple[Levels, Levels]] = {start: self.book.top()}

    def step(self) -> Delta:
        """One delta, which spans one to three of the market's own numbers."""
        before, prev = L2Book(), self.seq
        before.load(*self.book.top())
        for _ in range(self.rng.randint(1, 3)):
            self.seq += 1
            bids = [(self.rng.choice([95.0, 96.0, 97.0, 98.0, 99.0]), float(self.rng.randint(0, 3)))]
            asks = [(self.rng.choice([101.0, 102.0, 103.0]), float(self.rng.randint(0, 3)))]
            self.book.apply(self.delta(0, 0, bids, asks))
            self.images[self.seq] = self.book.top()
        bids = self.difference(before.bids, self.book.bids)
        return self.delta(prev, self.seq, bids, self.difference(before.asks, self.book.asks))

    @staticmethod
    def difference(before: dict[float, float], after: dict[float, float]) -> Levels:
        return [(p, after.get(p, 0.0)) for p in before | after if before.get(p) != after.get(p)]

    @staticmethod
    def delta(prev: int, seq: int, bids: Levels, asks: Levels) -> Delta:
        return Delta(SYMBOL, FEED, 0, seq, prev, bids, asks)

    def snapshot(self, seq: int | None = None) -> Snapshot:
        at = self.seq if seq is None else seq
        return Snapshot(SYMBOL, FEED, 0, at, *self.images[at], "refresh")


class Feed:
    """A book under test with its market; gives positions and times, checks the book after every step."""

    def __init__(self, seed: int = 1) -> None:
        self.market = Market(seed)
        self.sync = BookSync(SYMBOL, FEED)
        self.now = 0
        self.sync.subscribed("feed-0")

    def deltas(self, count: int) -> list[Delta]:
        return [self.market.step() for _ in range(count)]

    def give(self, *items: Delta | Snapshot | None) -> Outcome:
        for item in items:
            self.now += 1
            if isinstance(item, Delta):
                outcome = self.sync.delta(item, self.now, self.now)
            else:
                outcome = self.sync.snapshot(item, self.now, self.now)
            self.check()
        return outcome

    def check(self) -> None:
        if self.sync.valid:
            self.sync.book._check()
            assert self.sync.last_seq is not None
            assert self.sync.book.top() == self.market.images[self.sync.last_seq]

    def live(self) -> Feed:
        self.give(*self.deltas(2))
        assert self.give(self.market.snapshot()) is Outcome.ADOPTED
        self.give(*self.deltas(2))
        assert self.sync.valid
        return self


def test_a_pair_that_is_not_in_the_table_cannot_happen() -> None:
    assert {state for state, _ in TRANSITIONS} == set(State)
    assert {happened for _, happened in TRANSITIONS} == set(Input)
    with pytest.raises(KeyError):
        BookSync(SYMBOL, FEED).requested()


@pytest.mark.parametrize("behind", [0, 1, 3, 5])
def test_snapshot_older_than_the_newest_delta_is_joined(behind: int) -> None:
    feed = Feed()
    deltas = feed.deltas(5)
    feed.give(*deltas)
    seq = [deltas[0].prev_seq, *(d.seq for d in deltas)][5 - behind]
    assert feed.give(feed.market.snapshot(seq)) is Outcome.ADOPTED
    assert [held.delta for held in feed.sync.replayed] == deltas[5 - behind :]
    assert feed.sync.last_seq == deltas[-1].seq
    assert feed.sync.epoch == feed.now
    assert feed.sync.closed is None


def test_snapshot_ahead_of_every_delta_waits_for_the_next_link() -> None:
    feed = Feed()
    feed.give(*feed.deltas(2))
    ahead = feed.deltas(3)
    assert feed.give(feed.market.snapshot()) is Outcome.ADOPTED
    assert feed.sync.valid
    assert {feed.give(d) for d in ahead} == {Outcome.DUPLICATE}
    assert feed.give(feed.market.step()) is Outcome.APPLIED


def test_quiet_book_is_valid_without_any_delta() -> None:
    feed = Feed()
    assert feed.give(feed.market.snapshot()) is Outcome.ADOPTED
    assert feed.sync.valid


def test_both_sides_empty_advances_the_chain() -> None:
    feed = Feed().live()
    market = feed.market
    market.images[market.seq + 5] = market.book.top()
    empty = market.delta(market.seq, market.seq + 5, [], [])
    market.seq += 5
    assert feed.give(empty) is Outcome.APPLIED
    assert feed.give(market.step()) is Outcome.APPLIED


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (lambda feed: None, "no data"),
        (lambda feed: Snapshot(SYMBOL, FEED, 0, None, [], [], "refresh"), "no data"),
        (lambda feed: Snapshot(SYMBOL, FEED, 0, 50, [], [], "refresh"), "too old"),
    ],
)
def test_refused_snapshots(make: Callable[[Feed], Snapshot | None], why: str) -> None:
    feed = Feed()
    feed.give(*feed.deltas(3))
    feed.sync.requested()
    assert not feed.sync.wants_snapshot
    assert feed.give(make(feed)) is Outcome.REFUSED
    assert why in feed.sync.refusal
    assert feed.sync.wants_snapshot
    assert feed.give(feed.market.snapshot()) is Outcome.ADOPTED


def test_snapshot_inside_a_delta_is_refused() -> None:
    feed = Feed(seed=4)
    wide = next(d for d in iter(feed.market.step, None) if d.seq - d.prev_seq > 1)
    feed.give(wide)
    assert feed.give(feed.market.snapshot(wide.prev_seq + 1)) is Outcome.REFUSED
    assert "inside a delta" in feed.sync.refusal


def test_crossed_snapshot_is_refused() -> None:
    feed = Feed()
    assert feed.give(Snapshot(SYMBOL, FEED, 0, 100, [(5.0, 1.0)], [(4.0, 1.0)], "refresh")) is Outcome.REFUSED
    assert "crossed" in feed.sync.refusal


def test_lost_delta_opens_one_gap_that_the_next_snapshot_closes() -> None:
    feed = Feed().live()
    good_seq, good_ts, old_epoch = feed.sync.last_seq, feed.now, feed.sync.epoch
    feed.market.step()
    after = feed.market.step()
    assert feed.give(after) is Outcome.GAP
    assert not feed.sync.valid
    assert feed.sync.wants_snapshot
    assert feed.give(feed.market.step()) is Outcome.BUFFERED
    assert feed.give(feed.market.snapshot(after.seq)) is Outcome.ADOPTED
    gap = feed.sync.closed
    assert gap is not None
    assert (gap.cause, gap.last_seq, gap.next_seq) == ("seq_gap", good_seq, after.seq)
    assert (gap.start, gap.end, gap.epoch, gap.repaired_by) == (good_ts, feed.now, old_epoch, feed.sync.epoch)
    assert feed.sync.gap is None


def test_a_second_loss_while_waiting_stays_one_gap() -> None:
    feed = Feed().live()
    feed.market.step()
    first = feed.market.step()
    feed.give(first)
    feed.market.step()
    second = feed.market.step()
    assert feed.give(second) is Outcome.BUFFERED
    assert feed.give(feed.market.snapshot(first.seq)) is Outcome.REFUSED
    assert feed.give(feed.market.snapshot(second.seq)) is Outcome.ADOPTED
    assert feed.sync.closed is not None
    assert feed.sync.closed.next_seq == first.seq


def test_unreadable_frame_is_named_as_the_cause_of_the_break() -> None:
    feed = Feed().live()
    feed.market.step()
    feed.sync.suspect("decode_error", feed.now)
    feed.give(feed.market.step())
    assert feed.sync.gap is not None
    assert feed.sync.gap.cause == "decode_error"


def test_an_old_suspicion_is_forgotten_once_the_chain_goes_on() -> None:
    feed = Feed().live()
    feed.sync.suspect("decode_error", feed.now)
    feed.give(feed.market.step())
    feed.market.step()
    feed.give(feed.market.step())
    assert feed.sync.gap is not None
    assert feed.sync.gap.cause == "seq_gap"


def test_duplicates_are_not_applied() -> None:
    feed = Feed().live()
    delta = feed.market.step()
    assert feed.give(delta) is Outcome.APPLIED
    assert feed.give(delta) is Outcome.DUPLICATE
    assert feed.give(feed.market.step()) is Outcome.APPLIED


def test_reordered_deltas_are_never_applied_out_of_order() -> None:
    feed = Feed().live()
    first, second, third = feed.deltas(3)
    assert feed.give(second) is Outcome.GAP
    assert feed.give(first) is Outcome.DUPLICATE
    assert feed.give(third) is Outcome.BUFFERED
    assert feed.give(feed.market.snapshot(second.seq)) is Outcome.ADOPTED
    assert feed.sync.last_seq == third.seq


def test_crossing_delta_spoils_the_book() -> None:
    feed = Feed().live()
    seq = feed.market.seq
    assert feed.give(Market.delta(seq, seq + 1, [(500.0, 1.0)], [(400.0, 1.0)])) is Outcome.GAP
    assert feed.sync.gap is not None
    assert feed.sync.gap.cause == "crossed"
    assert not feed.sync.valid


def test_snapshot_that_the_wire_does_not_continue_is_misaligned_not_a_loss() -> None:
    feed = Feed(seed=4)
    feed.give(*feed.deltas(2))
    wide = next(d for d in iter(feed.market.step, None) if d.seq - d.prev_seq > 1)
    # The reply overtakes the delta it lies inside of: nothing tells before that delta comes.
    feed.sync.buffer.clear()
    feed.sync._wire_seq = wide.prev_seq
    assert feed.give(feed.market.snapshot(wide.prev_seq + 1)) is Outcome.ADOPTED
    assert feed.give(wide) is Outcome.GAP
    assert feed.sync.gap is not None
    assert feed.sync.gap.cause == "misaligned"


def test_late_reply_after_a_reconnect_does_not_wind_a_quiet_book_back() -> None:
    feed = Feed().live()
    known = feed.sync.last_seq
    feed.sync.lost("disconnect", feed.now)
    assert feed.sync.state is State.IDLE
    feed.sync.subscribed("feed-0")
    assert feed.give(feed.market.snapshot(100)) is Outcome.REFUSED
    assert "backward" in feed.sync.refusal
    assert feed.give(feed.market.snapshot(known)) is Outcome.ADOPTED
    assert feed.sync.closed is not None
    assert feed.sync.closed.cause == "disconnect"


def restart(feed: Feed) -> None:
    feed.market = Market(seed=9, start=10)


def test_numbering_that_begins_anew_while_live_is_a_gap_of_its_own() -> None:
    feed = Feed().live()
    restart(feed)
    deltas = feed.deltas(RESTART_EVIDENCE + 2)
    outcomes = [feed.sync.delta(d, 1000 + i, 1000 + i) for i, d in enumerate(deltas)]
    assert outcomes[: RESTART_EVIDENCE - 1] == [Outcome.DUPLICATE] * (RESTART_EVIDENCE - 1)
    assert outcomes[RESTART_EVIDENCE - 1] is Outcome.GAP
    assert feed.give(feed.market.snapshot()) is Outcome.ADOPTED
    assert feed.sync.closed is not None
    assert feed.sync.closed.cause == "seq_restart"
    assert feed.give(feed.market.step()) is Outcome.APPLIED


def test_numbering_that_began_anew_while_away_is_accepted_once_proved() -> None:
    feed = Feed().live()
    feed.sync.lost("disconnect", feed.now)
    feed.sync.subscribed("feed-0")
    restart(feed)
    feed.give(*feed.deltas(RESTART_EVIDENCE - 1))
    first = feed.sync.buffer[0].delta
    assert feed.give(feed.market.snapshot(first.seq)) is Outcome.REFUSED
    feed.give(feed.market.step())
    assert feed.give(feed.market.snapshot(first.seq)) is Outcome.ADOPTED
    assert feed.sync.closed is not None
    assert feed.sync.closed.cause == "seq_restart"


def test_snapshot_while_live_is_for_comparing_only() -> None:
    feed = Feed().live()
    book = feed.sync.book
    assert feed.give(feed.market.snapshot()) is Outcome.AUDIT
    assert feed.give(feed.market.snapshot(100)) is Outcome.IGNORED
    assert feed.give(None) is Outcome.IGNORED
    assert feed.sync.book is book


def test_lost_before_it_was_ever_live_opens_no_gap() -> None:
    feed = Feed()
    feed.give(*feed.deltas(2))
    feed.sync.lost("disconnect", feed.now)
    assert feed.sync.gap is None


def test_what_was_buffered_on_a_lost_line_is_not_joined_on_the_next() -> None:
    # Two connections need not cut the market into the same deltas, so numbers alone do not make them one chain.
    feed = Feed()
    base = feed.market.snapshot()
    feed.give(*feed.deltas(3))
    feed.sync.lost("disconnect", feed.now)
    feed.sync.subscribed("feed-0")
    assert feed.give(base) is Outcome.ADOPTED
    assert feed.sync.last_seq == base.seq
    assert not feed.sync.replayed


def test_a_loss_among_buffered_deltas_leaves_only_those_after_it() -> None:
    feed = Feed()
    base = feed.market.snapshot()
    first, _lost, last = feed.deltas(3)
    feed.give(first, last)
    assert feed.give(base) is Outcome.REFUSED
    assert feed.give(feed.market.snapshot(last.prev_seq)) is Outcome.ADOPTED
    assert [held.delta for held in feed.sync.replayed] == [last]


def test_buffer_is_bounded_and_gives_up_the_oldest() -> None:
    feed = Feed()
    feed.sync = BookSync(SYMBOL, FEED, buffer_limit=4)
    feed.sync.subscribed("feed-0")
    deltas = feed.deltas(10)
    feed.give(*deltas)
    assert [held.delta for held in feed.sync.buffer] == deltas[-4:]
    assert feed.give(feed.market.snapshot(deltas[0].seq)) is Outcome.REFUSED
    assert feed.give(feed.market.snapshot(deltas[-4].prev_seq)) is Outcome.ADOPTED


MISHAPS = st.lists(
    st.sampled_from(
        ["delta"] * 10
        + ["lose", "duplicate", "reorder", "old", "reconnect", "silence", "unreadable", "checkpoint"]
        + ["snapshot", "late", "stale", "straddle", "null", "twice"] * 2
    ),
    max_size=120,
)


def play(seed: int, mishaps: list[str]) -> Feed:
    """Drive one book through a list of mishaps; :meth:`Feed.check` compares it with the truth after each."""
    feed, rng = Feed(seed), random.Random(seed)
    seen: list[Delta] = []
    honest_breaks = 0
    gaps = 0
    for mishap in mishaps:
        was_live = feed.sync.valid
        match mishap:
            case "delta" | "duplicate" | "reorder" | "lose":
                step = feed.deltas(2 if mishap == "reorder" else 1)
                seen += step
                order = {"delta": step, "duplicate": step * 2, "reorder": step[::-1], "lose": []}[mishap]
                if order:
                    feed.give(*order)
                honest_breaks += mishap in ("reorder", "lose")
            case "old" if seen:
                feed.give(rng.choice(seen[-20:]))
            case "reconnect" | "silence":
                feed.sync.lost("disconnect" if mishap == "reconnect" else "silence", feed.now)
                feed.sync.subscribed(f"feed-{rng.randint(0, 1)}")
                honest_breaks += was_live
            case "unreadable":
                feed.market.step()
                feed.sync.suspect("decode_error", feed.now)
                honest_breaks += 1
            case "snapshot":
                feed.give(feed.market.snapshot())
            case "twice":
                feed.give(feed.market.snapshot(), feed.market.snapshot())
            case "late" | "stale" if seen:
                near = seen[-5:] if mishap == "late" else seen[:-5] or seen
                feed.give(feed.market.snapshot(rng.choice(near).seq))
            case "straddle":
                feed.give(feed.market.snapshot(rng.choice(sorted(feed.market.images))))
                honest_breaks += 1
            case "null":
                feed.give(None)
            case "checkpoint":
                saved = msgspec.msgpack.encode(feed.sync.checkpoint())
                feed.sync = BookSync.restore(msgspec.msgpack.decode(saved, type=SyncState))
                feed.check()
        gaps += feed.sync.gap is not None and was_live
    assert gaps <= honest_breaks + mishaps.count("late") + mishaps.count("stale")
    return feed


@settings(max_examples=300, deadline=None)
@given(st.integers(0, 2**16), MISHAPS)
def test_a_live_book_is_always_the_true_book(seed: int, mishaps: list[str]) -> None:
    feed = play(seed, mishaps)
    # Whatever happened, a clean stretch and an honest snapshot make it right again.
    feed.give(*feed.deltas(RESTART_EVIDENCE))
    feed.give(feed.market.snapshot())
    assert feed.give(feed.market.step()) is Outcome.APPLIED
    assert feed.sync.gap is None


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**16), st.integers(1, 60))
def test_no_mishap_no_gap(seed: int, count: int) -> None:
    feed = Feed(seed)
    feed.give(*feed.deltas(3), feed.market.snapshot())
    for _ in range(count):
        assert feed.give(feed.market.step()) is Outcome.APPLIED


def straddling_accepted(self: BookSync, snapshot: Snapshot | None, pos: int, ts_recv: int) -> Outcome:
    """What several clients do: accept a snapshot inside a delta."""
    if self.state is State.LIVE or snapshot is None or snapshot.seq is None:
        return Outcome.IGNORED
    kept = [held for held in self.buffer if held.delta.seq > snapshot.seq]
    return self._adopt(snapshot, snapshot.seq, kept, pos, ts_recv, False)


def gap_unnoticed(self: BookSync, delta: Delta, pos: int, ts_recv: int) -> Outcome:
    """What several clients do: apply whatever comes once the book has started."""
    if self.state is not State.LIVE:
        return self._hold(delta, pos, ts_recv)
    self.book.apply(delta)
    self.last_seq = delta.seq
    return Outcome.APPLIED


@pytest.mark.parametrize(
    ("method", "planted"),
    [("snapshot", straddling_accepted), ("delta", gap_unnoticed)],
    ids=["straddle", "gap"],
)
def test_the_property_catches_planted_bugs(
    monkeypatch: pytest.MonkeyPatch, method: str, planted: Callable[..., Outcome]
) -> None:
    monkeypatch.setattr(sync_module.BookSync, method, planted)
    rng = random.Random(5)
    kinds = ["delta"] * 6 + ["lose", "reconnect", "late", "straddle", "snapshot", "stale"]
    caught = 0
    for seed in range(60):
        try:
            play(seed, rng.choices(kinds, k=80))
        except AssertionError:
            caught += 1
    assert caught > 20


def test_a_reply_after_the_subscription_ended_is_of_no_use() -> None:
    sync = BookSync(SYMBOL, FEED)
    book = Snapshot(SYMBOL, FEED, 0, 100, [(99.0, 1.0)], [(101.0, 1.0)], "refresh")
    assert sync.snapshot(book, 1, 1) is Outcome.ADOPTED
    sync.lost("operator", 2)
    assert sync.snapshot(book, 3, 3) is Outcome.IGNORED
    assert not sync.valid
    sync.subscribed("feed-0")
    assert sync.snapshot(book, 4, 4) is Outcome.ADOPTED


def test_a_crossed_answer_is_nothing_to_compare_with() -> None:
    sync = BookSync(SYMBOL, FEED)
    sync.snapshot(Snapshot(SYMBOL, FEED, 0, 100, [(99.0, 1.0)], [(101.0, 1.0)], "refresh"), 1, 1)
    crossed = Snapshot(SYMBOL, FEED, 0, 100, [(102.0, 1.0)], [(101.0, 1.0)], "refresh")
    assert sync.snapshot(crossed, 2, 2) is Outcome.IGNORED
