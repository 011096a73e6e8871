from __future__ import annotations

from hashlib import sha256
from pathlib import Path

import msgspec
import pytest

from bookreel.storage.compact import compact
from bookreel.storage.disk import OsDisk
from bookreel.storage.layout import Layout
from bookreel.storage.manifest import CorruptManifest, Manifest
from bookreel.storage.pack import PACK_FORMAT, agrees, read_pack, write_pack
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
    assert [entry.segment for entry in pack.segments] == [entry.segment for entry in loaded.segments[:2]]
    again = Manifest.load(sealed.root, known=pack)
    assert (again.days, again.tables()) == (loaded.days, loaded.tables())


def test_files_that_a_day_replaced_are_left_out_and_no_others(sealed: Sealed) -> None:
    add(sealed, 4)
    compact(sealed.root, now_ns=T0 + DAY // 2)
    write_pack(Manifest.load(sealed.root), OsDisk())
    pack = read_pack(sealed.root)
    assert pack is not None
    assert [len(entry.files) for entry in pack.segments] == [0, 0, 1, 1]


def test_a_copy_is_of_no_use_where_one_of_its_days_is_gone(sealed: Sealed) -> None:
    pack = read_pack(sealed.root)
    assert pack is not None
    (day,) = pack.days.values()
    path = Layout(sealed.root).day_entry(day.entry.folder, day.entry.number)
    path.unlink()
    loaded = Manifest.load(sealed.root, known=pack)
    assert [len(entry.files) for entry in loaded.segments] == [1, 1, 1], "rows must not be missing in silence"
    assert not agrees(pack, loaded)


def test_an_older_copy_agrees_after_the_day_was_compacted_again(sealed: Sealed) -> None:
    pack = read_pack(sealed.root)
    assert pack is not None
    compact(sealed.root, now_ns=T0 + 2 * DAY)
    manifest = Manifest.load(sealed.root)
    assert [day.entry.number for day in manifest.days.values()] == [2]
    assert agrees(pack, manifest)
    assert Manifest.load(sealed.root, known=pack).tables() == manifest.tables()


def test_a_copy_with_all_files_is_read(sealed: Sealed) -> None:
    """As the format before had it."""
    loaded = Manifest.load(sealed.root)
    body = msgspec.msgpack.encode({"format": 1, "entries": loaded.segments})
    Layout(sealed.root).pack.write_bytes(sha256(body).digest() + body)
    pack = read_pack(sealed.root)
    assert pack is not None
    assert (pack.segments, pack.days) == (loaded.segments, {})
    assert agrees(pack, loaded)
    assert Manifest.load(sealed.root, known=pack).tables() == loaded.tables()


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
