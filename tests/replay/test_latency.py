"""How long frames took, asked of an archive as the decision about the hot path says it can be."""

from __future__ import annotations

import re
from pathlib import Path

from bookreel.ingest.clock import SystemClock
from bookreel.replay import Archive
from bookreel.storage.journal import Journal, JournalOptions
from bookreel.storage.record import Direction, Kind, encode_event
from bookreel.storage.seal import seal

NOTE = Path(__file__).resolve().parents[2] / "docs" / "decisions" / "2026-11-21-hot-path.md"
MINUTE_NS = 60_000_000_000


def test_the_histograms_of_all_minutes_are_one_question(tmp_path: Path) -> None:
    (query,) = re.findall(r"```sql\n(.*?)```", NOTE.read_text(), re.DOTALL)
    archive = tmp_path / "archive"
    with Journal.open(
        archive, "huobi", clock=SystemClock(), options=JournalOptions(threads=False)
    ) as journal:
        events = [
            encode_event("start", run="1", venue="huobi"),
            *(
                encode_event(
                    "latency",
                    updated={"bounds_s": [1e-5], "counts": [1, 0]},
                    durable={"bounds_s": [0.1, 0.15], "counts": [50, 40, late]},
                )
                for late in (3, 7, 10)
            ),
            encode_event("stop", reason="end"),
        ]
        for number, event in enumerate(events):
            journal.append(number * MINUTE_NS, number, "", 0, Direction.INTERNAL, Kind.EVENT, event)
        journal.flush()
    for _ in range(2):
        with Archive(archive) as opened:
            answer = opened.sql(query).fetchall()
        assert [(bound, int(frames)) for bound, frames, _ in answer] == [(0.1, 150), (0.15, 120), (None, 20)]
        assert [round(part, 6) for *_, part in answer] == [round(150 / 290, 6), round(270 / 290, 6), 1.0]
        seal(archive)
