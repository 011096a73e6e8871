"""What explains a gap, and what does not; the whole comparison is tested by the harnesses that use it."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import Any

import msgspec
import pytest

from bookreel.exchange import audit
from bookreel.exchange.account import read_account
from bookreel.exchange.audit import Audit

S = 1_000_000_000
BOOK = ("ethusdt", "mbp.150")
OTHER = "market.btcusdt.mbp.150"
TOPIC = "market.ethusdt.mbp.150"


def judged(
    tmp_path: Path, lines: list[dict[str, Any]], cause: str, start_s: float, last_seq: int = 1 << 40
) -> Audit:
    """A gap of the ETH book from ``start_s`` on, 2 s long, against a truth of these lines. ``last_seq``: of the
    frames that came.
    """
    path = tmp_path / "truth.ndjson"
    path.write_bytes(
        b"".join(msgspec.json.encode(line | {"t": round(line["t"] * S)}) + b"\n" for line in lines)
    )
    start = round(start_s * S)
    holes = defaultdict(list, {BOOK: [audit._Hole(BOOK, cause, start, start + 2 * S)]})
    result = Audit()
    covered = {BOOK: (0, 1000 * S)}
    audit._gaps(read_account(path), holes, covered, result, False, lambda _, seq: last_seq > seq)
    return result


def sub(t: float, topic: str = TOPIC, conn: int = 1) -> dict[str, Any]:
    return {"type": "sub", "t": t, "conn": conn, "topic": topic}


def fault(t: float, kind: str, conn: int = 1, topic: str = OTHER, **more: Any) -> dict[str, Any]:
    return {"type": "fault", "t": t, "conn": conn, "kind": kind, "topic": topic, **more}


@pytest.mark.parametrize("kind", ["lost_delta", "reorder"])
def test_a_neighbours_last_words_may_cost_a_silence_until_one_is_known(tmp_path: Path, kind: str) -> None:
    lines = [sub(1), sub(1, OTHER), fault(100, kind)]
    assert judged(tmp_path, lines, "silence", 102.5).gaps_unexplained == 0
    assert judged(tmp_path, lines, "silence", 110).gaps_unexplained == 1
    assert judged(tmp_path, lines, "disconnect", 102.5).gaps_unexplained == 1, "the line was there"
    elsewhere = [sub(1), sub(1, OTHER, 2), fault(100, kind, 2)]
    assert judged(tmp_path, elsewhere, "silence", 102.5).gaps_unexplained == 1


@pytest.mark.parametrize("kind", ["lost_delta", "reorder"])
def test_last_words_at_the_end_may_be_unknown_if_nothing_came_after_them(tmp_path: Path, kind: str) -> None:
    def counted(t: float, last_seq: int) -> tuple[int, int]:
        lines = [sub(1), fault(t, kind, topic=TOPIC, seq=8, prev_seq=7)]
        result = judged(tmp_path, lines, "operator", 500, last_seq)
        return result.silences_undecided, sum("not in gaps" in problem for problem in result.problems)

    assert counted(998, 7) == (1, 0)
    assert counted(998, 9) == (0, 1), "the next one showed it"
    assert counted(980, 7) == (0, 1), "a question would have shown it"


def test_a_slow_connection_is_slow_for_what_is_subscribed_meanwhile(tmp_path: Path) -> None:
    slow = fault(100, "net_slow", until=107 * S)
    assert judged(tmp_path, [slow, sub(101)], "silence", 103).gaps_unexplained == 0
    assert judged(tmp_path, [slow, sub(108)], "silence", 110).gaps_unexplained == 1
    assert judged(tmp_path, [slow, sub(101, conn=2)], "silence", 103).gaps_unexplained == 1


def test_a_crash_explains_the_streams_of_a_line_that_was_given_up_before(tmp_path: Path) -> None:
    closed = {"type": "close", "t": 102, "conn": 1}
    crash = fault(102.5, "crash", 0)
    assert judged(tmp_path, [sub(1), closed, crash], "crash_tail", 101).gaps_unexplained == 0
    assert judged(
        tmp_path, [sub(1), sub(1, OTHER), closed, sub(102.1, OTHER, 2), crash], "silence", 200
    ).problems, "nothing of it is in gaps"
    unsubscribed = {"type": "unsub", "t": 50, "conn": 1, "topic": TOPIC}
    assert judged(tmp_path, [sub(1), unsubscribed, closed, crash], "crash_tail", 101).gaps_unexplained == 1
