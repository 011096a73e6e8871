from __future__ import annotations

import base64
import gzip
import json
from pathlib import Path

import pytest

from bookreel.ingest.capture import Capture, UnreadableCapture
from bookreel.ingest.clock import SystemClock
from bookreel.storage.journal import Journal
from bookreel.storage.record import Direction, Kind, Record, decode_event
from bookreel.storage.segment import SegmentReader, list_segments

LINES = [
    {"recv_ts": 1618678070.733454, "raw": '{"ping":1}'},
    {
        "recv_ts": 1618678070.7335591,
        "raw": '{"ping":2}',
        "gz_b64": base64.b64encode(gzip.compress(b'{"ping":2}')).decode(),
    },
]


def write(path: Path, lines: list[object]) -> Path:
    text = "".join(json.dumps(line) + "\n" for line in lines).encode()
    path.write_bytes(gzip.compress(text) if path.suffix == ".gz" else text)
    return path


def records(archive: Path) -> list[Record]:
    found = []
    for segment in list_segments(archive):
        for item in SegmentReader(segment.path).read():
            assert isinstance(item, Record)
            found.append(item)
    return found


@pytest.mark.parametrize("name", ["capture.ndjson", "capture.ndjson.gz"])
def test_frames_keep_their_bytes_and_times(tmp_path: Path, name: str) -> None:
    capture = Capture(write(tmp_path / name, [*LINES]))
    text, compressed = list(capture.frames())
    assert (capture.count, capture.first_ts) == (2, text.ts_recv)
    # Seven digits after the point are nanoseconds that a float would have rounded.
    assert (text.ts_recv, compressed.ts_recv) == (1618678070733454000, 1618678070733559100)
    assert (text.kind, text.payload) == (Kind.TEXT, b'{"ping":1}')
    assert compressed.kind is Kind.COMPRESSED
    assert gzip.decompress(compressed.payload) == b'{"ping":2}'


def test_records_are_those_of_a_live_line(tmp_path: Path) -> None:
    capture = Capture(write(tmp_path / "capture.ndjson", [*LINES]))
    with Journal.open(tmp_path / "archive", "huobi", clock=SystemClock()) as journal:
        assert list(capture.write(journal)) == [1, 2]
    found = records(tmp_path / "archive")
    events = [decode_event(record.payload) for record in found if record.kind is Kind.EVENT]
    assert [event["event"] for event in events] == ["start", "import", "connect", "stop"]
    assert events[1]["sha256"] == capture.sha256
    frames = [record for record in found if record.kind is not Kind.EVENT]
    assert [(record.conn, record.epoch, record.direction) for record in frames] == [
        (capture.conn, 1, Direction.IN)
    ] * 2
    assert [record.pos for record in found] == sorted({record.pos for record in found})


@pytest.mark.parametrize(
    ("lines", "line"),
    [
        ([LINES[0], {"raw": "no time"}], 2),
        ([LINES[0], {"recv_ts": "soon", "raw": ""}], 2),
        ([LINES[0], {"recv_ts": 1, "raw": "", "gz_b64": "§"}], 2),
        ([[1, 2]], 1),
        ([], 0),
    ],
)
def test_a_bad_line_is_named_before_anything_is_used(tmp_path: Path, lines: list[object], line: int) -> None:
    with pytest.raises(UnreadableCapture) as caught:
        Capture(write(tmp_path / "capture.ndjson", lines))
    assert caught.value.line == line
    assert caught.value.exit_code == 3
    assert "Nothing was imported" in str(caught.value)


def test_a_cut_gzip_file_is_refused(tmp_path: Path) -> None:
    whole = write(tmp_path / "capture.ndjson.gz", LINES * 500).read_bytes()
    cut = tmp_path / "cut.ndjson.gz"
    cut.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UnreadableCapture):
        Capture(cut)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UnreadableCapture, match="No such file"):
        Capture(tmp_path / "nothing.ndjson")


def test_a_real_capture(shared_data: Path) -> None:
    capture = Capture(shared_data / "huobi_ws_20210417.ndjson.gz")
    assert capture.count == 362
    assert all(frame.kind is Kind.COMPRESSED for frame in capture.frames())
