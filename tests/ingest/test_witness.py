from __future__ import annotations

from collections.abc import Sequence

from bookreel.book.model import Bbo, Event, Snapshot, Ticker
from bookreel.ingest.witness import Witnesses

MS = 1_000_000
S = 1_000_000_000
T0 = 100 * S


class Reader:
    """Pushes are their numbers, as text; ``count``: how many were read."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self, payload: bytes) -> Sequence[Event]:
        self.count += 1
        if payload == b"ticker":
            return [Ticker("x", "ticker", 0, 1, 1, 1, 1, 1, 1, 1)]
        if payload == b"":
            return []
        seq = int(payload)
        return [
            Bbo("x", "bbo", 0, seq, 1.0, 1.0, 2.0, 1.0)
            if seq % 2
            else Snapshot("x", "d", 0, seq, [], [], "push")
        ]


def test_a_number_ahead_of_the_book_is_evidence_after_a_moment() -> None:
    witnesses = Witnesses(Reader())
    witnesses.spoke("x", "bbo", b"105", T0, whole=False)
    assert witnesses.testify("x", 104, T0 + 200 * MS) is None, "the book's own push may be on its way"
    assert witnesses.testify("x", 104, T0 + 400 * MS) is False
    assert witnesses.testify("x", 105, T0 + 400 * MS) is None, "a quote does not show every change"
    assert witnesses.testify("y", 1, T0 + 400 * MS) is None


def test_a_whole_image_that_lives_and_is_not_ahead_spares_the_question() -> None:
    witnesses = Witnesses(Reader())
    witnesses.spoke("x", "depth.step0", b"104", T0, whole=True)
    assert witnesses.testify("x", 104, T0 + S) is True
    assert witnesses.testify("x", 110, T0 + S) is True
    assert witnesses.testify("x", 104, T0 + 4 * S) is None, "it may be dead itself"
    witnesses.lives("x", "depth.step0", T0 + 4 * S)
    assert witnesses.testify("x", 104, T0 + 5 * S) is True
    witnesses.gone("x", "depth.step0")
    assert witnesses.testify("x", 104, T0 + 5 * S) is None


def test_one_witness_ahead_outweighs_another() -> None:
    witnesses = Witnesses(Reader())
    witnesses.spoke("x", "depth.step0", b"104", T0, whole=True)
    witnesses.spoke("x", "bbo", b"107", T0, whole=False)
    assert witnesses.testify("x", 104, T0 + 200 * MS) is None
    assert witnesses.testify("x", 104, T0 + 400 * MS) is False


def test_nothing_is_read_twice_or_before_it_is_asked_for() -> None:
    reader = Reader()
    witnesses = Witnesses(reader)
    for seq in range(100, 200):
        witnesses.spoke("x", "bbo", b"%d" % seq, T0, whole=False)
    assert reader.count == 0
    for _ in range(5):
        witnesses.testify("x", 300, T0 + S)
    assert reader.count == 1


def test_what_has_no_number_says_nothing() -> None:
    witnesses = Witnesses(Reader())
    witnesses.spoke("x", "ticker", b"ticker", T0, whole=True)
    witnesses.spoke("x", "depth.step0", b"", T0, whole=True)
    assert witnesses.testify("x", 1, T0 + S) is None
    witnesses.lives("x", "nobody", T0)
    witnesses.gone("y", "bbo")
