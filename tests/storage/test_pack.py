from __future__ import annotations

from hashlib import sha256
from pathlib import Path

import msgspec
import pytest

from bookreel.storage.compact import compact
from bookreel.storage.disk import OsDisk
from bookreel.storage.layout import Layout
from bookreel.storage.manifest import CorruptManifest, Manifest
from bookreel.storage.pack import PACK_FORMAT, read_pack
from bookreel.storage.tail import Tail
from bookreel.storage.verify import verify
from tests.storage.sealed import DAY, T0, Sealed, make_rows


def add(sealed: Sealed, number: int) -> None:
    row = {"symbol": "btcusdt", "pos": number * 10, "ts_recv": T0 + number, "trade_id": str(number)}
    sealed.segment(number * 10, number * 10 + 9, {"trades": make_rows("trades", [row])})


@pytest.fixture
def sealed(tmp_path: Path) -> Sealed:
    """Three segments, and a compaction after the second."""
    sealed = Sealed(OsDisk(), tmp_path)
    add(sealed, 1)
    add(sealed, 2)
    compact(tmp_path, now_ns=T0 + 2 * DAY)
    add(sealed, 3)
    return sealed


def test_a_compaction_leaves_a_copy_of_the_entries_that_there_are(sealed: Sealed) -> None:
    pack = read_pack(sealed.root)
    loaded = Manifest.load(sealed.root)
    assert pack is not None
    assert pack.segments == loaded.segments[:2]
    again = Manifest.load(sealed.root, known=pack)
    assert (again.segments, again.days, again.tables()) == (loaded.segments, loaded.days, loaded.tables())


def test_a_reader_opens_no_entry_that_the_copy_has(sealed: Sealed) -> None:
    layout = Layout(sealed.root)
    layout.manifest_entry(f"{10:016d}").write_bytes(b"{")
    tail = Tail(sealed.root)
    assert [file.rows for file in tail.look().files["trades"]] == [2, 1]
    tail.close()
    layout.pack.unlink()
    with pytest.raises(CorruptManifest):
        Tail(sealed.root).look()


def test_an_entry_that_is_gone_does_not_count(sealed: Sealed) -> None:
    Layout(sealed.root).manifest_entry(f"{20:016d}").unlink()
    loaded = Manifest.load(sealed.root, known=read_pack(sealed.root))
    assert [entry.first_pos for entry in loaded.segments] == [10, 30]


def test_a_copy_that_is_not_what_was_written_is_left_aside_and_told_of(sealed: Sealed) -> None:
    path = Layout(sealed.root).pack
    content = path.read_bytes()
    body = content[32:]
    other = body.replace(b"btcusdt", b"ethusdt").replace(b"\x0a", b"\x0b", 1)
    newer = msgspec.msgpack.encode({"format": PACK_FORMAT + 1, "entries": []})
    for damaged in (
        b"",
        content[:-1],
        content[:40] + bytes([content[40] ^ 1]) + content[41:],
        bytes([content[0] ^ 1]) + content[1:],
        sha256(b"x").digest() + b"x",
        sha256(newer).digest() + newer,
    ):
        path.write_bytes(damaged)
        assert read_pack(sealed.root) is None
        assert [p.where for p in verify(sealed.root).problems if p.kind == "manifest"] == [str(path)]
    # It is whole, and says something else than the entries.
    path.write_bytes(sha256(other).digest() + other)
    assert [p.where for p in verify(sealed.root).problems if p.kind == "manifest"] == [str(path)]
    path.unlink()
    assert [p for p in verify(sealed.root).problems if p.kind == "manifest"] == []
