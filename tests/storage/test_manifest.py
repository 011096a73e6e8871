from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from bookreel.storage.errors import UnknownFormat
from bookreel.storage.manifest import (
    MANIFEST_FORMAT,
    CorruptManifest,
    FileEntry,
    Manifest,
    SegmentEntry,
    encode_entry,
)
from bookreel.storage.segment import Damage


def file_entry(segment: int, table: str = "bbo", date: str = "2024-08-08", **change: object) -> FileEntry:
    path = f"parquet/{table}/venue=huobi/date={date}/{segment:016d}.parquet"
    entry = FileEntry(table, path, 5, 100, "ab", date, 10, 20, segment, segment + 4, 1)
    return msgspec.structs.replace(entry, **change)


def segment_entry(first: int, *files: FileEntry, **change: object) -> SegmentEntry:
    entry = SegmentEntry(
        format=1,
        segment=f"{first:016d}",
        first_pos=first,
        last_pos=first + 9,
        records=10,
        ts_min=10,
        ts_max=20,
        files=list(files),
        state=f"state/{first:016d}.state",
        state_sha256="cd",
        counts={"frames": 10},
        damage=[Damage(f"{first:016d}", 1, 2, "checksum", 3, None)],
    )
    return msgspec.structs.replace(entry, **change)


def write(archive: Path, *entries: SegmentEntry) -> None:
    folder = archive / "manifest"
    folder.mkdir(parents=True, exist_ok=True)
    for entry in entries:
        (folder / f"{entry.segment}.json").write_bytes(encode_entry(entry))
        for file in entry.files:
            path = archive / file.path
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()


def test_entries_are_read_in_order_of_their_positions(tmp_path: Path) -> None:
    entries = [segment_entry(first, file_entry(first)) for first in (11, 1, 10**16 + 5)]
    write(tmp_path, *entries)
    manifest = Manifest.load(tmp_path)
    manifest._check()
    assert manifest.segments == sorted(entries, key=lambda entry: entry.first_pos)
    assert [file.pos_min for file in manifest.files("bbo")] == [1, 11, 10**16 + 5]
    assert manifest.files("trades") == []
    assert manifest.sealed(f"{11:016d}")
    assert not manifest.sealed(f"{12:016d}")
    assert manifest.last_pos == 10**16 + 14


def test_an_archive_without_entries_is_fine(tmp_path: Path) -> None:
    manifest = Manifest.load(tmp_path)
    manifest._check()
    assert (manifest.segments, manifest.last_pos) == ([], 0)


def test_temporary_files_are_not_entries(tmp_path: Path) -> None:
    write(tmp_path, segment_entry(1))
    (tmp_path / "manifest" / f"{11:016d}.json.new").write_bytes(b"{")
    assert len(Manifest.load(tmp_path).segments) == 1


def test_known_entries_are_not_read_again(tmp_path: Path) -> None:
    write(tmp_path, segment_entry(1))
    known = Manifest.load(tmp_path)
    (tmp_path / "manifest" / f"{1:016d}.json").write_bytes(b"unread")
    write(tmp_path, segment_entry(11))
    manifest = Manifest.load(tmp_path, known=known)
    assert [entry.first_pos for entry in manifest.segments] == [1, 11]


@pytest.mark.parametrize("content", [b"", b"{}", b'{"format": 1}', b"\xff", encode_entry(segment_entry(11))])
def test_a_damaged_entry_is_an_error_that_names_it(tmp_path: Path, content: bytes) -> None:
    write(tmp_path, segment_entry(1))
    path = tmp_path / "manifest" / f"{1:016d}.json"
    path.write_bytes(content)
    with pytest.raises(CorruptManifest) as caught:
        Manifest.load(tmp_path)
    assert caught.value.path == path
    assert caught.value.exit_code == 3


def test_an_entry_of_a_newer_version_is_refused(tmp_path: Path) -> None:
    write(tmp_path, segment_entry(1, format=MANIFEST_FORMAT + 1))
    with pytest.raises(UnknownFormat):
        Manifest.load(tmp_path)


@pytest.mark.parametrize(
    ("entries", "words"),
    [
        ([segment_entry(1), segment_entry(10)], "begins at or before"),
        ([segment_entry(5, last_pos=3)], "ends before"),
        (
            [segment_entry(1, file_entry(1, date="2024-08-09", path="parquet/bbo/date=x/1.parquet"))],
            "partition",
        ),
        ([segment_entry(1, file_entry(1, table="trades", path=file_entry(1).path))], "not of trades"),
        ([segment_entry(1, file_entry(2))], "not of segment"),
        ([segment_entry(1, file_entry(1, pos_max=99))], "positions of other segments"),
        ([segment_entry(1, file_entry(1), file_entry(1))], "listed twice"),
    ],
)
def test_contradictions_are_found(tmp_path: Path, entries: list[SegmentEntry], words: str) -> None:
    write(tmp_path, *entries)
    with pytest.raises(AssertionError, match=words):
        Manifest.load(tmp_path)._check()


def test_a_missing_file_is_found(tmp_path: Path) -> None:
    write(tmp_path, segment_entry(1, file_entry(1)))
    (tmp_path / file_entry(1).path).unlink()
    with pytest.raises(AssertionError, match="is missing"):
        Manifest.load(tmp_path)._check()
