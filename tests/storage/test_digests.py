from __future__ import annotations

from pathlib import Path

import pytest
from isal.isal_zlib import crc32
from msgspec.structs import replace

from bookreel.storage.compact import compact
from bookreel.storage.digests import END_BYTES, Digests, footer_bytes
from bookreel.storage.disk import OsDisk
from bookreel.storage.errors import CorruptFile, FileGone
from bookreel.storage.manifest import FileEntry, Manifest
from tests.storage.sealed import DAY, T0, Sealed, make_rows


@pytest.fixture
def entry(tmp_path: Path) -> FileEntry:
    rows = make_rows("trades", [{"ts_recv": T0 + at, "symbol": "btcusdt", "pos": at} for at in range(1, 200)])
    (file,) = Sealed(OsDisk(), tmp_path).segment(1, 200, {"trades": rows}).files
    (tmp_path / file.path).chmod(0o644)
    return file


def test_the_footer_is_the_end_of_the_file(tmp_path: Path, entry: FileEntry) -> None:
    content = (tmp_path / entry.path).read_bytes()
    assert END_BYTES < entry.footer_bytes == footer_bytes(content[-END_BYTES:]) < entry.bytes
    assert crc32(content[-entry.footer_bytes :]) == entry.footer_crc


def test_any_byte_of_the_footer_counts_and_no_other(tmp_path: Path, entry: FileEntry) -> None:
    path = tmp_path / entry.path
    content = path.read_bytes()
    Digests(whole=False).check(tmp_path, entry)
    first = len(content) - entry.footer_bytes
    for at in range(len(content)):
        path.write_bytes(content[:at] + bytes([content[at] ^ 1 << at % 8]) + content[at + 1 :])
        if at < first:
            Digests(whole=False).check(tmp_path, entry)
        else:
            with pytest.raises(CorruptFile, match="its footer is not what was written"):
                Digests(whole=False).check(tmp_path, entry)


@pytest.mark.parametrize("whole", [True, False])
@pytest.mark.parametrize("change", [b"", b"longer"])
def test_a_file_of_another_length(tmp_path: Path, entry: FileEntry, whole: bool, change: bytes) -> None:
    path = tmp_path / entry.path
    content = path.read_bytes()
    path.write_bytes(content + change if change else content[:-1])
    with pytest.raises(CorruptFile):
        Digests(whole=whole).check(tmp_path, entry)


def test_an_entry_that_does_not_tell_of_the_footer(tmp_path: Path, entry: FileEntry) -> None:
    path = tmp_path / entry.path
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    old = replace(entry, footer_bytes=0, footer_crc=0)
    Digests(whole=False).check(tmp_path, old)
    with pytest.raises(CorruptFile, match="SHA-256"):
        Digests().check(tmp_path, old)


@pytest.mark.parametrize("whole", [True, False])
def test_what_was_good_is_not_looked_at_again(tmp_path: Path, entry: FileEntry, whole: bool) -> None:
    digests = Digests(whole=whole)
    digests.check(tmp_path, entry)
    (tmp_path / entry.path).unlink()
    digests.check(tmp_path, entry)
    with pytest.raises(FileGone):
        Digests(whole=whole).check(tmp_path, entry)


def test_compacted_files_have_their_own(tmp_path: Path) -> None:
    sealed = Sealed(OsDisk(), tmp_path)
    for first in (1, 101):
        rows = [{"ts_recv": T0 + first + at, "symbol": "btcusdt", "pos": first + at} for at in range(100)]
        sealed.segment(first, first + 99, {"trades": make_rows("trades", rows)})
    assert compact(tmp_path, now_ns=T0 + 2 * DAY).files_after == 1
    (entry,) = Manifest.load(tmp_path).files("trades")
    content = (tmp_path / entry.path).read_bytes()
    assert (entry.footer_bytes, entry.footer_crc) == (
        footer_bytes(content),
        crc32(content[-footer_bytes(content) :]),
    )
