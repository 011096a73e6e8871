from __future__ import annotations

from bookreel.book.model import Delta, Snapshot
from bookreel.book.sync import Outcome
from bookreel.ingest.books import RESYNC_BUCKETS_S, LiveBooks
from bookreel.venues.huobi import Huobi

S = 1_000_000_000
TOPIC = Huobi().topic("btcusdt", "mbp.150")


def delta(prev: int, seq: int) -> Delta:
    return Delta("btcusdt", "mbp.150", 0, seq, prev, [(9.0, float(seq))], [])


def image(seq: int, size: float = 1.0) -> Snapshot:
    return Snapshot("btcusdt", "mbp.150", 0, seq, [(9.0, size)], [(10.0, 1.0)], "refresh")


def test_a_book_is_found_by_name_and_made_once() -> None:
    books = LiveBooks()
    assert books.get("btcusdt", "mbp.150") is None
    book = books.add(TOPIC)
    assert books.add(TOPIC) is book
    assert books.get("btcusdt", "mbp.150") is book.sync
    assert (books.total, books.live, [each.topic for each in books]) == (1, 0, [TOPIC])


def test_how_long_a_book_was_not_live_is_counted() -> None:
    books = LiveBooks()
    book = books.add(TOPIC)
    book.acked("feed-0", 10 * S)
    assert book.snapshot(image(5), 1, 1, 10 * S + S // 4) is Outcome.ADOPTED
    assert book.delta(delta(5, 6), 2, 2, 11 * S) is Outcome.APPLIED
    assert book.delta(delta(8, 9), 3, 3, 12 * S) is Outcome.GAP
    assert book.snapshot(image(9), 4, 4, 15 * S) is Outcome.ADOPTED
    book.lost("disconnect", 5, 20 * S)
    book.lost("disconnect", 5, 21 * S)
    book.acked("feed-0", 22 * S)
    book.snapshot(image(10), 6, 6, 1020 * S)
    by_bound = dict(zip((*RESYNC_BUCKETS_S, None), books.resync_counts, strict=True))
    assert {bound: count for bound, count in by_bound.items() if count} == {0.5: 1, 5.0: 1, None: 1}
    assert books.resync_sum_s == 0.25 + 3 + 1000
    assert books.gaps == {"seq_gap": 1, "disconnect": 1}


def test_refused_snapshots_are_paused_for_ever_longer() -> None:
    books = LiveBooks()
    book = books.add(TOPIC)
    book.acked("feed-0", 0)
    book.delta(delta(7, 8), 1, 1, 1)
    pauses = [book.pause_ns]
    for number in range(12):
        assert book.snapshot(image(5), number, 1, 1) is Outcome.REFUSED
        pauses.append(book.pause_ns)
    assert pauses[:5] == [0, 0, 0, S // 10, S // 5], "honest answers are often a little too old"
    assert pauses[-1] == 5 * S
    book.snapshot(image(7), 20, 1, 1)
    assert book.pause_ns == 0


def test_audits_compare_only_at_the_same_number() -> None:
    books = LiveBooks()
    book = books.add(TOPIC)
    book.acked("feed-0", 0)
    book.snapshot(image(5), 1, 1, 1)
    book.delta(delta(5, 6), 2, 2, 2)
    book.snapshot(image(5), 3, 3, 3)
    assert not books.audits
    book.snapshot(image(6, 6.0), 4, 4, 4)
    book.snapshot(image(6, 7.0), 5, 5, 5)
    assert books.audits == {"equal": 1, "different": 1}


def test_asking_only_where_a_snapshot_is_wanted() -> None:
    book = LiveBooks().add(TOPIC)
    assert not book.asking()
    book.acked("feed-0", 0)
    assert book.asking()
    assert book.asking(), "a second request is under way"
    book.unanswered()
    assert book.sync.wants_snapshot
    book.snapshot(image(5), 1, 1, 1)
    assert not book.asking()
    book.unanswered()
    assert book.sync.valid


def test_duplicates_are_counted() -> None:
    books = LiveBooks()
    book = books.add(TOPIC)
    book.acked("feed-0", 0)
    book.snapshot(image(5), 1, 1, 1)
    book.delta(delta(5, 6), 2, 2, 2)
    book.delta(delta(5, 6), 3, 3, 3)
    assert books.duplicates == 1
