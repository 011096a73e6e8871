"""What was written once is read for ever: an archive of each format there ever was, with the rows it must have."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

import pytest
from isal.isal_zlib import crc32

from bookreel.replay import Archive
from bookreel.storage.codec import CRC, START
from bookreel.storage.errors import UnknownFormat
from bookreel.storage.schema import ADDED, TABLES
from bookreel.storage.verify import verify

GOLDEN = Path(__file__).parent / "golden"

ROWS = {
    # Number of rows, and a digest of their values, by version and table.
    "v1": {
        "frames": (21, "ff2ff51dceb9a6eb"),
        "book_deltas": (5, "3a82d78338c0bb0c"),
        "book_snapshots": (5, "e38fd2b3dc01a53b"),
        "bbo": (1, "a40f7336e78e960d"),
        "trades": (3, "001c501fe95f9129"),
        "klines": (1, "4d5c5dd36eaef5a8"),
        "tickers": (1, "21380822b9f71171"),
        "gaps": (5, "b10fb17138e77c32"),
        "sessions": (7, "463b1505c609ea61"),
        "instruments": (1, "c75bf6c3bf395423"),
    },
    "v2": {
        "frames": (21, "ff2ff51dceb9a6eb"),
        "book_deltas": (5, "3a82d78338c0bb0c"),
        "book_snapshots": (5, "e38fd2b3dc01a53b"),
        "bbo": (1, "a40f7336e78e960d"),
        "trades": (3, "001c501fe95f9129"),
        "klines": (1, "4d5c5dd36eaef5a8"),
        "tickers": (1, "21380822b9f71171"),
        "gaps": (5, "b10fb17138e77c32"),
        "sessions": (7, "463b1505c609ea61"),
        "instruments": (1, "c75bf6c3bf395423"),
    },
    "v3": {
        "frames": (13, "be634e3b37a54431"),
        "book_snapshots": (2, "3003218311716f3d"),
        "trades": (3, "0f704c8464f47fe1"),
        "klines": (1, "b15c7f4ab16904c9"),
        "quotes": (1, "8360d7e5b626ef6e"),
        "broker_queue": (3, "6485ec4a0a0eefa6"),
        "timeshare": (1, "ded32797b8fccede"),
        "gaps": (12, "604e61ddbfc59d46"),
        "sessions": (6, "7386f600439177fa"),
    },
}

NONE = (0, hashlib.sha256(b"[]").hexdigest()[:16])
"""Of a table that is younger than the archive."""


WITHOUT = {"v1": ADDED, "v2": ADDED, "v3": {}}
"""The columns, by version and table, that came after the archive."""


def read(archive: Path, table: str) -> tuple[int, str]:
    with Archive(archive, verify_on_read=True) as opened:
        added = WITHOUT[archive.name].get(table, ())
        columns = ", ".join(as_text(name) for name in TABLES[table].names if name not in added)
        for name in added:
            assert opened.sql(f"SELECT count({name}) FROM {table}").fetchall() == [(0,)]
        rows = opened.sql(f"SELECT {columns} FROM {table} ORDER BY ALL").fetchall()
    return len(rows), hashlib.sha256(repr(rows).encode()).hexdigest()[:16]


def as_text(name: str) -> str:
    # Values as text: a time has nine digits there.
    return f'"{name}"::VARCHAR'


@pytest.fixture(params=sorted(path.name for path in GOLDEN.iterdir()))
def version(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture
def archive(version: str, tmp_path: Path) -> Path:
    return Path(shutil.copytree(GOLDEN / version, tmp_path / version))


@pytest.mark.parametrize("table", TABLES)
def test_the_rows_are_what_they_were(archive: Path, version: str, table: str) -> None:
    assert read(archive, table) == ROWS[version].get(table, NONE)


def test_nothing_is_wrong_with_it(archive: Path) -> None:
    assert verify(archive).problems == []


def test_a_newer_archive_is_refused(archive: Path) -> None:
    (archive / "archive.json").write_text('{"format": 99}')
    with pytest.raises(UnknownFormat, match="use a newer version"):
        Archive(archive)


@pytest.mark.parametrize("folder", ["manifest", "journal"])
def test_a_newer_file_is_refused(archive: Path, folder: str) -> None:
    (path,) = (archive / folder).iterdir()
    content = path.read_bytes()
    if folder == "manifest":
        path.write_bytes(b'{"format": 99}')
    else:
        fields = list(START.unpack(content[: START.size]))
        fields[1] = 99
        head = START.pack(*fields)
        path.write_bytes(head + CRC.pack(crc32(head)) + content[START.size + CRC.size :])
    with pytest.raises(UnknownFormat, match="use a newer version"), Archive(archive) as opened:
        opened.sql("FROM trades").fetchall()
