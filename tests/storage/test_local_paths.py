"""No path of the machine that recorded is in the rows of `sessions`, whichever way they are read."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from bookreel.replay import Archive, QueryError
from bookreel.storage.local_paths import hide, without_paths

Record = Callable[[], Any]

CONFIG = {"archive": "data/secret-a", "token_file": "/home/secret-b/a key", "ws_url": "wss://api.venue/ws"}
ERROR = "[Errno 5] Input/output error: '/mnt/secret-c/a b.seg'"


@pytest.mark.parametrize(
    ("facts", "shown"),
    [
        ({"config": CONFIG}, {"config": CONFIG | {"archive": "[path]", "token_file": "[path]"}}),
        ({"detail": ERROR}, {"detail": "[Errno 5] Input/output error: '[path]'"}),
        ({"detail": "cannot write /mnt/x.seg, for now"}, {"detail": "cannot write [path], for now"}),
        ({"archive": 'a"b\\', "n": 1}, {"archive": "[path]", "n": 1}),
        ({"token_file": None}, {"token_file": None}),
        ({"url": "ws://127.0.0.1:1/ws", "topics": ["market.a/b.bbo"]}, None),
    ],
)
def test_paths_and_nothing_else_are_hidden(facts: dict[str, Any], shown: dict[str, Any] | None) -> None:
    detail = json.dumps(facts, separators=(",", ":"))
    assert json.loads(hide(detail.encode())) == (facts if shown is None else shown)
    rows = without_paths(pa.table({"pos": [1], "detail": [detail]}))
    assert rows["detail"].to_pylist() == [hide(detail.encode()).decode()]


def read(path: Path) -> list[str]:
    """All that can be read of the sessions."""
    with Archive(path) as archive:
        found = [str(archive.sql("SELECT detail FROM sessions ORDER BY pos").fetchall())]
        found.append(str([event.detail for event in archive.events(tables="sessions")]))
        found.append(str([batch.rows["sessions"]["detail"] for batch in archive.batches(tables="sessions")]))
        with pytest.raises(QueryError):
            archive.sql(f"FROM read_parquet('{path}/parquet/sessions/**/*.parquet')").fetchall()
    return found


def test_however_they_are_read(record: Record, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a tail, and of files that were sealed when they were not hidden yet."""
    recording = record()
    recording.event("start", 1, run="2", config=CONFIG)
    recording.event("disk_error", 2, detail=ERROR)
    recording.flush()
    for found in read(recording.path):
        assert "[path]" in found and "api.venue" in found and "secret" not in found
    with monkeypatch.context() as before:
        before.setattr("bookreel.storage.rows.hide", lambda detail: detail)
        recording.rotate()
        recording.seal()
    for found in read(recording.path):
        assert "[path]" in found and "api.venue" in found and "secret" not in found
