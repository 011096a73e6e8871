from __future__ import annotations

from bookreel.storage.histogram import Histogram


def test_bounds_are_inclusive_and_nothing_is_left_out() -> None:
    times = Histogram((0.1, 1.0))
    for seconds in (0.0, 0.1, 0.11, 1.0, 1.5, 99.0):
        times.add(seconds)
    assert times.counts == [2, 2, 2]
    assert round(times.sum_s, 2) == 101.71


def test_many_at_once() -> None:
    times = Histogram((0.1, 1.0))
    times.add(0.5, 3)
    assert (times.counts, times.sum_s) == ([0, 3, 0], 1.5)
