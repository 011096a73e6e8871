from __future__ import annotations

from tests.crash.overload import MIB, run


def test_ten_times_the_load_on_a_disk_that_does_not_answer() -> None:
    """A slice; `make crash` lasts longer."""
    figures = run(seconds=4, ceiling=8 * MIB)
    assert figures["overload: frames shed"]
    assert figures["overload: the oldest stream first"] == 1
