"""Damage, tried exhaustively: every bit of a segment, every byte of a sealed file of each table, and so on.

What must hold: no record and no row is ever silently another one than was written; a damaged record costs itself
only; the hole is in ``gaps``; ``verify`` names each damaged file.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial
from pathlib import Path
from random import Random
from typing import Any, Final, TypeAlias

import msgspec
import pyarrow as pa

from bookreel.replay import Archive
from bookreel.storage.codec import START_BYTES, encode_footer, encode_record, encode_start, seed_of
from bookreel.storage.contents import Contents
from bookreel.storage.digests import Digests
from bookreel.storage.disk import OsDisk
from bookreel.storage.errors import CorruptFile, QueryError, StorageError
from bookreel.storage.layout import Layout, Meta, is_canonical, read_meta
from bookreel.storage.manifest import FileEntry, Manifest, read_entry
from bookreel.storage.normalize import Normalizer
from bookreel.storage.record import Direction, Kind, Record, encode_event
from bookreel.storage.scan import Scanner
from bookreel.storage.schema import TABLES
from bookreel.storage.seal import seal
from bookreel.storage.segment import Damage, SegmentReader
from bookreel.storage.tail import Tail
from bookreel.storage.verify import verify
from bookreel.venues.huobi import Huobi
from tests.fuzz.mutators import pack
from tests.fuzz.peer import BOOK_TOPICS, PLAIN_TOPICS, Peer
from tests.fuzz.target import Target
from tests.simulation.disk import SimDisk

__all__ = [
    "BYTES",
    "SegmentDamage",
    "checkpoints",
    "make_archive",
    "million",
    "sealed_bytes",
    "segment_damage",
    "side_files",
]

BYTES: Final = 64 << 10
"""Size of the segment."""

_ID: Final = b"\x5abookree"
_PATH: Final = Path("/archive/journal/0000000000000001.seg")
_S: Final = 1_000_000_000
_T0: Final = 1_790_000_000 * _S


class Wrong(AssertionError):
    """Damage that was not noticed, or that cost more than it touched."""


# A segment


class _OneFile:
    """A disk with one segment, in memory, and the `archive.json` beside it."""

    def __init__(self, content: bytes) -> None:
        self.content = content

    def open(self, path: Path) -> _OneFile:
        if path == _PATH:
            return self
        if path == Layout(Path("/archive")).meta:
            return _OneFile(msgspec.json.encode(Meta(format=1, venue="huobi", created_ns=_T0, id=_ID.hex())))
        raise FileNotFoundError(path)

    def names(self, folder: Path) -> list[str]:
        return [_PATH.name] if folder == _PATH.parent else []

    def read(self, offset: int, size: int) -> bytes:
        return self.content[offset : offset + size]

    def size(self) -> int:
        return len(self.content)

    def linked(self) -> bool:
        return True

    def close(self) -> None: ...


class SegmentDamage(msgspec.Struct):
    """What was tried on the segment. ``worst``: the most records that one flipped bit cost."""

    cases: int = 0
    records: int = 0
    noticed: int = 0
    worst: int = 0
    ways: int = 0
    wrong: list[str] = []


class Segment:
    """A segment of a live book and a plain stream, and what its records are."""

    def __init__(self, size: int = BYTES) -> None:
        rng = Random(64)
        peer = Peer(rng)
        seed = seed_of(_ID)
        content = bytearray(encode_start(_ID, 1, _T0))
        self.records: list[Record] = []
        self.starts: list[int] = []
        seq = 1000
        texts: list[tuple[Kind, Direction, bytes]] = [
            (Kind.EVENT, Direction.INTERNAL, encode_event("start", run="r", version="1", venue="huobi")),
            *(
                (Kind.COMPRESSED, Direction.IN, pack(peer.ack(topic, b"1")))
                for topic in (BOOK_TOPICS[0], *PLAIN_TOPICS[1:4])
            ),
            (Kind.COMPRESSED, Direction.IN, pack(peer.reply(BOOK_TOPICS[0], b"2", seq))),
        ]
        while True:
            if texts:
                kind, direction, payload = texts.pop(0)
            else:
                kind, direction = Kind.COMPRESSED, Direction.IN
                if rng.random() < 0.7:
                    # Large ones, so that a case has fewer records to be read.
                    kind = Kind.TEXT
                    levels = b",".join(
                        b"[%d.%02d,1]" % (50 + i // 99, i % 99) for i in range(int(rng.random() * 200))
                    )
                    payload = peer.delta_of(BOOK_TOPICS[0], seq, seq + 1, levels, b"")
                    seq += 1
                else:
                    payload = pack(peer.push(PLAIN_TOPICS[1 + int(rng.random() * 3)]))
            pos = len(self.records) + 1
            stamp = _T0 + pos * _S // 20
            conn = "" if kind is Kind.EVENT else "feed-0"
            raw = encode_record(seed, pos, stamp, stamp, conn.encode(), 1, direction, kind, payload)
            footer = encode_footer(seed, pos - 1, pos - 1)
            if len(content) + len(raw) + len(footer) > size:
                self.starts.append(len(content))
                content += footer
                break
            self.starts.append(len(content))
            content += raw
            self.records.append(Record(pos, stamp, stamp, conn, 1, direction, kind, payload))
        self.content = bytes(content)
        self._by_pos = {record.pos: record for record in self.records}
        self._gaps: dict[tuple[object, ...], str | None] = {}

    def check(self, content: bytes, touched: Callable[[int, int], bool] | None) -> int:
        """Records lost of a damaged segment; ``touched(start, stop)``: whether damage lies in these bytes (None:
        it does not matter). Raises :class:`Wrong`.
        """
        with SegmentReader(_PATH, _OneFile(content), closed=True) as reader:  # type: ignore[arg-type]
            found = list(reader.read())
            ended = reader.footer is not None
        damages = [index for index, item in enumerate(found) if type(item) is Damage]
        lost = self._lost_at(found, damages)
        for pos in lost:
            if touched is not None and not touched(self.starts[pos - 1], self.starts[pos]):
                raise Wrong(f"record {pos} is lost, and its bytes are whole")
        # What ends between two records and has no footer is a crash, which the next run's `start` tells.
        if lost and not damages and ended:
            raise Wrong(f"{len(lost)} records are missing without a word")
        # What follows from it depends on what was lost and where that was told, and on nothing else.
        key = (*lost, "at", *damages)
        if key not in self._gaps:
            self._gaps[key] = self._told(found, set(lost))
        if (wrong := self._gaps[key]) is not None:
            raise Wrong(wrong)
        return len(lost)

    def _lost_at(self, found: list[Record | Damage], damages: list[int]) -> list[int]:
        """Positions of the records that are not in ``found``, all others being there as they were written. Raises
        :class:`Wrong`.
        """
        records = self.records
        if len(damages) == 1:
            # Nearly always: all records up to the damage, and all from some record on.
            (at,) = damages
            rest = len(records) - (len(found) - at - 1)
            if at <= rest and found[:at] == records[:at] and found[at + 1 :] == records[rest:]:
                return list(range(at + 1, rest + 1))
        seen: set[int] = set()
        for item in found:
            if isinstance(item, Damage):
                continue
            if item != self._by_pos.get(item.pos):
                raise Wrong(f"record {item.pos} is not the one that was written")
            if item.pos in seen:
                raise Wrong(f"record {item.pos} came twice")
            seen.add(item.pos)
        return [record.pos for record in records if record.pos not in seen]

    @property
    def ways(self) -> int:
        """Different outcomes that were carried on to gaps."""
        return len(self._gaps)

    def _told(self, found: list[Record | Damage], lost: set[int]) -> str | None:
        """What is wrong about the gaps; None: nothing."""
        normalizer = Normalizer(Huobi())
        for item in found:
            if isinstance(item, Damage):
                normalizer.damage(item)
            else:
                normalizer.feed(item)
        frames = {pos for pos in lost if self._by_pos[pos].kind is not Kind.EVENT}
        rows = normalizer.take()["gaps"]
        causes = set(rows["cause"].to_pylist()) | {gap.cause for gap in normalizer.open_gaps()}
        if not causes <= {"corrupt"}:
            return f"records {sorted(lost)[:4]} are lost by damage, and a gap says {causes}"
        # Before the acknowledgements nothing is covered; damage at the very end is told by the next run.
        covered = set() if min(frames, default=9) <= 8 else frames
        last = max((item.pos for item in found if isinstance(item, Record)), default=0)
        followed = covered and last > max(covered)
        if followed and not causes:
            return f"records {sorted(lost)[:4]} are lost, and no gap says so"
        return None


def segment_damage(step: int = 1, share: tuple[int, int] = (0, 1)) -> dict[str, SegmentDamage]:
    """Damage a segment in every way: each ``step``-th case, of ``share`` (this part of so many) of them."""
    segment = Segment()
    found: dict[str, SegmentDamage] = {}
    for name, cases in (("bits", _bits), ("cuts", _cuts), ("blocks", _blocks)):
        outcome = found[name] = SegmentDamage(records=len(segment.records))
        for index, (damaged, touched) in enumerate(cases(segment.content)):
            if index % (step * share[1]) != step * share[0]:
                continue
            outcome.cases += 1
            try:
                lost = segment.check(damaged(), touched)
            except Exception as error:
                outcome.wrong.append(f"{name} {index}: {error!r}")
                continue
            outcome.noticed += 1
            if name != "cuts":
                outcome.worst = max(outcome.worst, lost)
        outcome.ways = segment.ways
    return found


_Case: TypeAlias = "tuple[Callable[[], bytes], Callable[[int, int], bool] | None]"
"""What makes the damaged content, and whether damage lies in these bytes (None: it does not matter)."""


def _flipped(content: bytes, at: int, mask: int) -> bytes:
    return content[:at] + bytes([content[at] ^ mask]) + content[at + 1 :]


def _bits(content: bytes) -> Iterator[_Case]:
    for at in range(len(content)):
        touched = partial(_holds, at)
        for bit in range(8):
            yield partial(_flipped, content, at, 1 << bit), touched


def _holds(at: int, start: int, stop: int) -> bool:
    return start <= at < stop


def _cuts(content: bytes) -> Iterator[_Case]:
    for at in range(START_BYTES, len(content)):
        yield partial(content.__getitem__, slice(at)), lambda start, stop, at=at: stop > at  # type: ignore[misc]


def _blocks(content: bytes) -> Iterator[_Case]:
    """Blocks of 512 bytes and 4 KiB: zeroed, replaced by another, swapped. A whole record that a disk put ahead of
    its place costs those in between: positions only rise.
    """
    for size in (512, 4096):
        count = len(content) // size
        pieces = [content[at * size : (at + 1) * size] for at in range(count)]
        pieces.append(content[count * size :])
        for one in range(count):
            start, stop = one * size, (one + 1) * size
            zeroed = partial(_with_pieces, pieces, {one: bytes(size)})
            yield zeroed, lambda begin, end, start=start, stop=stop: begin < stop and end > start  # type: ignore[misc]
            for other in range(count):
                if one != other:
                    yield partial(_with_pieces, pieces, {one: pieces[other]}), None
                if one < other:
                    swapped = {one: pieces[other], other: pieces[one]}
                    yield partial(_with_pieces, pieces, swapped), None


def _with_pieces(pieces: list[bytes], others: dict[int, bytes]) -> bytes:
    return b"".join([others.get(index, piece) for index, piece in enumerate(pieces)])


def million(records: int = 1_000_000) -> int:
    """How many records are lost of so many when one bit of one of them is flipped."""
    seed = seed_of(_ID)
    content = bytearray(encode_start(_ID, 1, _T0))
    damaged = 0
    for pos in range(1, records + 1):
        if pos == records // 2:
            damaged = len(content) + 60
        content += encode_record(seed, pos, _T0 + pos, pos, b"feed-0", 1, 0, 1, b'{"ping":%d}' % pos)
    content += encode_footer(seed, records, records)
    content[damaged] ^= 4
    read = 0
    with SegmentReader(_PATH, _OneFile(bytes(content)), closed=True) as reader:  # type: ignore[arg-type]
        for item in reader.read():
            read += not isinstance(item, Damage)
    return records - read


# Sealed files


def make_archive(path: Path, frames: int = 400) -> Path:
    """A small archive with rows in every table, sealed."""
    disk = SimDisk()
    root = Path("/archive")
    target = Target(root, disk, Random(5))
    for topic in BOOK_TOPICS + PLAIN_TOPICS:
        target.receive(pack(target.peer.ack(topic, b"1")))
    symbols = b'{"symbol":"btcusdt","base-currency":"btc","quote-currency":"usdt","state":"online"}'
    target.tape.reference(b'{"status":"ok","data":[%b]}' % symbols, target.clock.wall_ns(), target.clock.mono)
    for topic in BOOK_TOPICS:
        target.receive(pack(target.peer.reply(topic, b"2", 1000)))
    for index in range(frames):
        topic = BOOK_TOPICS[index % 2]
        prev = target.live[topic]
        if index % 3:
            target.receive(pack(target.peer.push(PLAIN_TOPICS[index % len(PLAIN_TOPICS)])))
        elif prev is not None:
            target.receive(pack(target.peer.delta(topic, prev)))
        if index == frames // 2:
            target.receive(b"\x1f\x8bnothing")
        target.clock.mono += 50_000_000
    target.close()
    seal(root, disk=disk)
    disk.export(path)
    exported = path / "archive"
    return exported if exported.exists() else path


class SealedDamage(msgspec.Struct):
    """What was tried on sealed files. ``silent``: read by our own readers without their being asked to verify, with
    other rows and no error; ``duckdb_*``: by DuckDB, which does not look at checksums.
    """

    cases: int = 0
    verify_missed: int = 0
    read_wrong: int = 0
    unchecked: int = 0
    refused_by_pages: int = 0
    silent: int = 0
    duckdb: int = 0
    duckdb_silent: int = 0
    duckdb_refused: int = 0
    duckdb_untyped: int = 0
    wrong: list[str] = []


def sealed_bytes(archive: Path, step: int = 1, duckdb_every: int = 50) -> SealedDamage:
    """Flip each ``step``-th byte of each sealed file. The archive is left as it was."""
    outcome = SealedDamage()
    manifest = Manifest.load(archive)
    number = 0
    for entries in manifest.tables().values():
        for entry in entries:
            path = archive / entry.path
            path.chmod(0o644)
            content = path.read_bytes()
            true = _rows(archive, entry)
            with path.open("r+b", buffering=0) as file:
                for at in range(0, len(content), step):
                    number += 1
                    mask = 0xFF if at % 2 else 1 << at % 8
                    os.pwrite(file.fileno(), bytes([content[at] ^ mask]), at)
                    where = f"{entry.path} with byte {at} ^ {mask:#x}"
                    duckdb = number % duckdb_every == 0
                    _try_file(archive, entry, where, true, outcome, with_duckdb=duckdb)
                    os.pwrite(file.fileno(), content[at : at + 1], at)
    return outcome


def _try_file(
    archive: Path,
    entry: FileEntry,
    where: str,
    true: Any,
    outcome: SealedDamage,
    *,
    with_duckdb: bool,
) -> None:
    outcome.cases += 1
    try:
        _rows(archive, entry, Digests())
        outcome.read_wrong += 1
        outcome.wrong.append(f"{where} was read although its digest is wrong")
    except CorruptFile:
        pass
    # Without a look at the digest.
    outcome.unchecked += 1
    try:
        outcome.silent += not _rows(archive, entry).equals(true)
    except StorageError:
        outcome.refused_by_pages += 1
    if not with_duckdb:
        return
    outcome.duckdb += 1
    found = verify(archive)
    if not any(problem.kind == "file" and entry.path in problem.where for problem in found.problems):
        outcome.verify_missed += 1
        outcome.wrong.append(f"verify does not name {where}")
    for checked in (True, False):
        try:
            with Archive(archive, verify_on_read=checked) as opened:
                rows = opened.sql(f"FROM {entry.table}").to_arrow_table()
            if checked:
                outcome.read_wrong += 1
                outcome.wrong.append(f"SQL read {where} although its digest is wrong")
            else:
                outcome.duckdb_silent += rows.sort_by(
                    [("pos", "ascending")]
                ).num_rows != true.num_rows or not _same(rows, true)
        except (CorruptFile, QueryError):
            outcome.duckdb_refused += not checked
        except Exception as error:
            outcome.duckdb_untyped += 1
            outcome.wrong.append(f"{where}: {error!r} is none of ours")


def _same(rows: Any, true: Any) -> bool:
    return _sorted(rows) == _sorted(true)


def _sorted(rows: Any) -> list[str]:
    # Times as numbers: Python's own are too coarse for a spoiled one.
    columns = [
        column.cast(pa.int64()) if pa.types.is_timestamp(column.type) else column for column in rows.columns
    ]
    return sorted(map(repr, pa.table(columns, names=rows.column_names).to_pylist()))


def _rows(archive: Path, entry: FileEntry, digests: Digests | None = None) -> Any:
    """All rows of a file by our own reader."""
    contents = Contents(archive, "huobi", {entry.table: [entry]}, {}, [], None)
    names = TABLES[entry.table].names
    empty = TABLES[entry.table].empty_table()
    return pa.concat_tables([empty, *Scanner(digests).scan(contents, entry.table, names)])


# What leads there


def _meta(archive: Path) -> Meta:
    """What `archive.json` says, but for its digest: one that nobody finds is none, and the rest is right."""
    return msgspec.structs.replace(read_meta(archive, OsDisk()), sha256="")


def side_files(archive: Path, step: int = 1) -> Counter[str]:
    """Flip each ``step``-th bit of ``archive.json`` and of a manifest entry: counts of what came of it."""
    found: Counter[str] = Counter()
    layout = Layout(archive)
    (place,) = sorted(layout.manifest.glob("*.json"))[:1]
    for name, path in (("manifest", place), ("archive.json", layout.meta)):
        path.chmod(0o644)
        content = path.read_bytes()
        true: object = read_entry(path, OsDisk()) if name == "manifest" else _meta(archive)
        for case in range(0, len(content) * 8, step):
            at, bit = divmod(case, 8)
            path.write_bytes(content[:at] + bytes([content[at] ^ 1 << bit]) + content[at + 1 :])
            found[f"bits of {name}"] += 1
            try:
                read: object = read_entry(path, OsDisk()) if name == "manifest" else _meta(archive)
            except StorageError:
                found[f"{name}: refused"] += 1
                continue
            if read != true:
                found[f"{name}: silently wrong"] += 1
            elif name == "manifest" or is_canonical(archive, OsDisk()):
                found[f"{name}: not named"] += 1
        path.write_bytes(content)
    return found


def checkpoints(archive: Path, step: int, verify_every: int = 16) -> Counter[str]:
    """Flip each ``step``-th byte of the newest checkpoint: counts of whether those who read it are told so, and, each
    ``verify_every``-th time, of what `verify` said.
    """
    found: Counter[str] = Counter()
    state = archive / Manifest.load(archive).segments[-1].state
    state.chmod(0o644)
    content = state.read_bytes()
    for number, at in enumerate(range(0, len(content), step)):
        state.write_bytes(_flipped(content, at, 1 << at % 8))
        found["bytes of a checkpoint"] += 1
        with closing(Tail(archive)) as tail:
            if tail.look(("gaps",)).checkpoint_lost is None:
                found["checkpoint: silently read"] += 1
        if number % verify_every == 0:
            found["checkpoints verified"] += 1
            if not any(problem.kind == "state" for problem in verify(archive).problems):
                found["checkpoint: not named"] += 1
    state.write_bytes(content)
    return found
