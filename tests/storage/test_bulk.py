"""Jobs worked at in several threads; what they read is in test_scan.py."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from functools import partial

import pyarrow as pa
import pytest

from bookreel.storage.bulk import ahead


def numbered(number: int) -> pa.Table:
    return pa.table({"number": [number]})


def numbers(pieces: Iterator[pa.Table]) -> Iterator[int]:
    for piece in pieces:
        yield piece["number"][0].as_py()


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_answers_come_in_the_order_of_their_jobs(threads: int) -> None:
    later = threading.Event()

    def first() -> pa.Table:
        # The others are done first, where there are threads for them.
        assert threads == 1 or later.wait(60)
        return numbered(0)

    def second() -> pa.Table:
        later.set()
        return numbered(1)

    jobs = [first, second, *(partial(numbered, number) for number in range(2, 20))]
    assert list(numbers(ahead(iter(jobs), threads))) == list(range(20))


@pytest.mark.parametrize("threads", [1, 3])
def test_no_more_is_read_ahead_than_there_are_threads(threads: int) -> None:
    begun: list[int] = []

    def jobs() -> Iterator[Callable[[], pa.Table]]:
        for number in range(20):
            begun.append(number)
            yield partial(numbered, number)

    answers = numbers(ahead(jobs(), threads))
    for number in range(10):
        assert next(answers) == number
        assert len(begun) <= number + threads + 1
    answers.close()  # type: ignore[attr-defined]
    assert len(begun) <= 10 + threads


@pytest.mark.parametrize("threads", [1, 3])
def test_what_a_job_raises_comes_in_its_turn(threads: int) -> None:
    def broken() -> pa.Table:
        raise OSError("gone")

    answers = numbers(ahead(iter([partial(numbered, 0), broken, partial(numbered, 2)]), threads))
    assert next(answers) == 0
    with pytest.raises(OSError, match="gone"):
        next(answers)
