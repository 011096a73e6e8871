"""Whether a recorded book is proven, and what is told where it is not; reports as a whole are in test_verify.py."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from bookreel.storage.manifest import Manifest
from bookreel.storage.verify import verify
from tests.storage.sealed import rewrite, with_values

Record = Callable[[], Any]


@pytest.mark.parametrize(
    ("table", "change", "kind", "counted"),
    [
        ("book_deltas", lambda rows: with_values(rows, rows.num_rows - 1, size=7.0), "book", "books_unequal"),
        ("book_deltas", lambda rows: rows.slice(0, rows.num_rows - 1), "book", "books_unequal"),
        (
            "book_deltas",
            lambda rows: with_values(rows, rows.num_rows - 1, prev_seq=12),
            "chain",
            "links_broken",
        ),
        ("bbo", lambda rows: with_values(rows, 0, bid_size=9.0), "bbo", "bbo_unequal"),
    ],
)
def test_wrong_content(sealed_recording: Any, table: str, change: Any, kind: str, counted: str) -> None:
    rewrite(sealed_recording, table, change)
    report = verify(sealed_recording.path)
    assert [problem.kind for problem in report.problems] == [kind]
    assert report.counts[counted] == 1


def test_after_an_unequal_book_the_stored_one_is_gone_on_from(sealed_recording: Any) -> None:
    """The first level of the book is wrong from its first delta on, and told of once."""
    rewrite(sealed_recording, "book_deltas", lambda rows: with_values(rows, 0, size=7.0))
    counts = verify(sealed_recording.path).counts
    assert counts["keyframes"] + counts["snapshots"] == 3
    assert counts["books_unequal"] == 1


def test_a_clock_that_is_set_back_over_midnight_breaks_no_chain(record: Record) -> None:
    recording = record()
    midnight = 86_400 - recording.t0 // 10**9 % 86_400
    recording.connect(midnight - 20, "market.btcusdt.mbp.150")
    recording.snapshot(midnight - 19, 10, [[98, 5]], [[102, 5]])
    times = [-3.0, -2.0, -1.0, 1.0, 2.0, -2.5, -1.5, -0.5, 0.5, 1.5, 2.5]
    for seq, at in enumerate(times, 10):
        recording.delta(midnight + at, seq, seq + 1, [[90 + seq % 5, seq]])
    recording.rotate()
    recording.seal()
    assert len(Manifest.load(recording.path).files("book_deltas")) == 2
    report = verify(recording.path)
    assert report.problems == []
    assert report.counts["deltas"] == len(times)
