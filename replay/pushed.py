"""Books as of an instant, of a feed that only pushes whole books.

The rule: a book as of T is the newest one that was pushed at or before T. What happened between two pushes nobody
knows, so the answer says how old its push is. It is *valid* where the stream was covered at T and no gap ended after
that push: after a gap nothing is known until the next one.
"""

from __future__ import annotations

from bookreel.replay.question import Book, Question

__all__ = ["pushed_at"]


def pushed_at(question: Question, at: int, depth: int | None) -> Book:
    """The book as of ``at`` (ns), at most ``depth`` levels a side (None: all)."""
    turn, push = question.newest_at(at)
    if push is None:
        return question.unknown(at)
    return Book(
        question.symbol,
        question.feed,
        push.seq,
        push.epoch,
        push.ts_event,
        push.ts_recv,
        push.bids[:depth],
        push.asks[:depth],
        question.holds(push, at, turn),
        question.coverage.gap(at),
        at - push.ts_recv if push.ts_recv <= at else None,
    )
