"""The journal's tail, decoded: what was received a second ago is in the answer.

A :class:`Tail` decodes once and then follows: it keeps its normalizer and its readers, so looking again
costs what came in meanwhile. Rows are kept by segment; when the sealer has sealed one its rows are dropped,
because the manifest's files have them now. :mod:`bookreel.storage.shared_tail` has one for several threads.

No row twice and none missing, also beside a running recorder and sealer: the segments are listed first and
the manifest is read after that. A segment is deleted only when its manifest entry exists, so what was
listed is still there or in the manifest; should it vanish before it was opened, everything is looked at
again.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from hashlib import sha256
from pathlib import Path
from typing import Final, Protocol, TypeVar

import msgspec
import pyarrow as pa

from bookreel import venues
from bookreel.storage.checkpoint import BadState
from bookreel.storage.contents import Contents, Stream, gap_rows, sealed_streams
from bookreel.storage.continuity import Stretch, hole_before, of_entry, reach
from bookreel.storage.disk import OsDisk
from bookreel.storage.errors import FileGone, NotAnArchive, Unsettled
from bookreel.storage.journal import is_recording
from bookreel.storage.layout import read_meta
from bookreel.storage.manifest import Manifest, SegmentEntry
from bookreel.storage.normalize import Normalizer
from bookreel.storage.pack import read_pack
from bookreel.storage.schema import TABLES
from bookreel.storage.segment import Damage, Segment, SegmentReader, list_segments
from bookreel.storage.steps import sealed_turns
from bookreel.storage.tail_rows import TailRows
from bookreel.storage.turns import Turns, overlaps
from bookreel.venues.message import Venue

__all__ = ["Looker", "Tail"]

_T = TypeVar("_T")

_TRIES: Final = 100
"""Looks before giving up: the sealer would have to win a race each time."""

_BLOCK_RECORDS: Final = 16_384
"""Records between two looks at how much memory their rows take."""


class Looker(Protocol):
    """What can say what an archive holds now, its tail included."""

    @property
    def venue(self) -> Venue:
        """Whose archive it is."""
        ...

    def look(self, tables: Collection[str] = ()) -> Contents:
        """See :meth:`Tail.look`."""
        ...

    def close(self) -> None:
        """To be called by whoever was given it."""
        ...


class Tail:
    """Follows one archive. ``tables``: those whose rows are decoded from the start; more are added when
    they are asked for. ``bytes_max``: above it rows of the tables that were not asked for the longest are let go,
    until they are asked for again; None is all that there are.

    Raises NotAnArchive, UnknownFormat and ``venues.UnknownVenue``. Not for several threads at once.
    """

    def __init__(self, archive: Path, tables: Collection[str] = (), *, bytes_max: int | None = None) -> None:
        self.root = archive
        self._meta = read_meta(archive, OsDisk())
        self.venue: Venue = venues.get(self._meta.venue)
        self._tables = frozenset(tables) | {"gaps"}
        self._asked: dict[str, None] = {}
        """Tables by how long ago they were asked for, the longest first."""
        self._wanted: frozenset[str] = frozenset()
        """Those of the newest question."""
        self._bytes_max = bytes_max
        self._manifest: Manifest | None = None
        self._base: str | None = None
        self._missed: str | None = None
        self._before: Stretch | None = None
        self._damages: list[Damage] = []
        self._readers: dict[str, SegmentReader] = {}
        self._finished: set[str] = set()
        self._rows = TailRows()
        self._last_ts: int | None = None
        self._normalizer = Normalizer(self.venue, tables=self._tables)
        self._lost: str | None = None

    def close(self) -> None:
        """Close the segments that are being read."""
        for reader in self._readers.values():
            reader.close()
        self._readers.clear()

    def look(self, tables: Collection[str] = ()) -> Contents:
        """What the archive holds now. The rows of the tail are those of ``tables`` and ``gaps``.

        Raises :class:`Unsettled` where the archive changed during each try, NotAnArchive where it is gone.
        """
        self._wanted = frozenset(tables)
        for table in tables:
            self._asked.pop(table, None)
            self._asked[table] = None
        if not self._tables.issuperset(tables):
            self._tables = self._tables.union(tables)
            self._begin(None, None)
        return self._steady(lambda manifest: self._contents(manifest, tables))

    def advance(self) -> None:
        """Decode what is new, so that the next look has less to do. Raises as :meth:`look` does."""
        self._steady(lambda manifest: None)

    def _steady(self, answer: Callable[[Manifest], _T]) -> _T:
        """An answer of what there is now."""
        gone: Path | None = None
        for _ in range(_TRIES):
            # Where the archive is gone, there would seem to be one with nothing in it.
            if read_meta(self.root, OsDisk()).id != self._meta.id:
                raise NotAnArchive(self.root, "another archive is there now; open that one anew")
            segments = list_segments(self.root)
            known = read_pack(self.root) if self._manifest is None else self._manifest
            manifest = self._manifest = Manifest.load(self.root, known=known)
            try:
                self._follow(segments, manifest)
                return answer(manifest)
            except FileNotFoundError:
                continue
            except FileGone as error:
                # A day was compacted between reading the manifest and its files; unless it is lost.
                if error.path == gone:
                    raise
                gone = error.path
        raise Unsettled(self.root, _TRIES)

    def _follow(self, segments: list[Segment], manifest: Manifest) -> None:
        """Read what is new. Raises FileNotFoundError where the sealer was faster."""
        sealed = manifest.segments[-1] if manifest.segments else None
        name = None if sealed is None else sealed.segment
        if name != self._base:
            if name in self._finished:
                self._forget_sealed(manifest)
            else:
                self._begin(sealed, None if sealed is None else self._state_after(sealed))
            self._base = name
        unsealed = [segment for segment in segments if not manifest.sealed(segment.name)]
        for index, segment in enumerate(unsealed):
            if segment.name not in self._finished:
                self._read(segment, closed=index + 1 < len(unsealed))

    def _state_after(self, sealed: SegmentEntry) -> bytes | None:
        """The checkpoint after a sealed segment; None where it is lost or damaged.

        Raises FileNotFoundError at the first miss: a sealer that is at work removes the one before its newest.
        """
        try:
            state = (self.root / sealed.state).read_bytes()
            return state if sha256(state).hexdigest() == sealed.state_sha256 else None
        except FileNotFoundError:
            if self._missed == sealed.segment:
                return None
            self._missed = sealed.segment
            raise

    def _begin(self, sealed: SegmentEntry | None, state: bytes | None) -> None:
        """Forget everything and go on from the end of the newest sealed segment (None: from the beginning)."""
        self.close()
        self._rows.clear()
        self._finished.clear()
        known = [] if sealed is None or self._manifest is None else self._manifest.segments
        self._last_ts = max((entry.ts_max for entry in known if entry.ts_max is not None), default=None)
        self._base = None if sealed is None else sealed.segment
        self._before = None if sealed is None else of_entry(sealed)
        self._normalizer = Normalizer(self.venue, tables=self._tables)
        self._lost = None
        if sealed is None:
            return
        self._lost = "it is gone, or its digest is wrong"
        try:
            if state is not None:
                self._normalizer = Normalizer.restore(
                    self.venue, state, tables=self._tables, turns=self._sealed_turns
                )
                self._lost = None
                return
        except BadState as error:
            self._lost = error.reason
        # As the sealer does: every stream goes on after a hole, and what is sealed stays readable.
        if self._last_ts is not None:
            self._normalizer.forget(self._last_ts, self._sealed_turns())

    def _sealed_turns(self) -> Turns:
        assert self._manifest is not None, "something is sealed"
        return sealed_turns(self._manifest)

    def _forget_sealed(self, manifest: Manifest) -> None:
        """The newest sealed segments were read to their end here: only their rows are of no use any more."""
        for name in [name for name in self._finished if manifest.sealed(name)]:
            self._finished.discard(name)
            self._rows.drop(name)

    def _read(self, segment: Segment, *, closed: bool) -> None:
        """Take what a segment has more than at the last look; ``closed``: there is a newer one."""
        reader = self._readers.get(segment.name)
        normalizer = self._normalizer
        if reader is None:
            reader = self._readers[segment.name] = SegmentReader(segment.path)
            self._damages.clear()
            if damage := hole_before(segment, self._before):
                normalizer.damage(damage)
        if closed:
            reader.finish()
        more = True
        while more:
            newest, count = self._last_ts, 0
            for item in reader.read(_BLOCK_RECORDS):
                count += 1
                if isinstance(item, Damage):
                    normalizer.damage(item)
                    self._damages.append(item)
                else:
                    normalizer.feed(item)
                    if newest is None or item.ts_recv > newest:
                        newest = item.ts_recv
            self._last_ts = newest
            more = count == _BLOCK_RECORDS
            for table, rows in normalizer.take().items():
                if table in self._tables:
                    self._rows.add(segment.name, table, rows)
            self._bound()
        if closed:
            last_pos = reach(reader.last_pos, self._damages)
            self._before = Stretch(segment.name, segment.first_pos, last_pos, reader.footer is not None)
            self._finished.add(segment.name)
            self._readers.pop(segment.name).close()

    def _bound(self) -> None:
        """Let go rows of other tables than the newest question's where they take too much memory."""
        if self._bytes_max is None or self._rows.nbytes() <= self._bytes_max:
            return
        age = {table: place for place, table in enumerate(self._asked, 1)}
        size = {table: self._rows.nbytes(table) for table in self._tables - self._wanted - {"gaps"}}
        for table in sorted(size, key=lambda table: (age.get(table, 0), -size[table])):
            self._rows.forget(table)
            self._tables -= {table}
            if self._rows.nbytes() <= self._bytes_max:
                break

    def _contents(self, manifest: Manifest, tables: Collection[str]) -> Contents:
        tail: dict[str, pa.Table] = {}
        gaps = self._normalizer.open_gaps()
        for table in {*tables, "gaps"}:
            pieces = [*self._rows.table(table)]
            if table == "gaps":
                pieces += gap_rows(gaps, self.venue.name).to_batches()
            schema = TABLES[table]
            tail[table] = pa.Table.from_batches(pieces, schema) if pieces else schema.empty_table()
        horizon = self._last_ts
        alive = is_recording(self.root)
        holes = {(gap.symbol, gap.feed) for gap in gaps}
        streams = []
        for run in self._normalizer.coverage():
            # A hole that is open is followed until it is closed; a run that ended without one was ended on
            # purpose.
            going_on = run.end is None or (run.symbol, run.feed) in holes
            until = (None if alive else horizon) if going_on else run.end
            turns = run.turns if len(run.turns) > 1 else ()
            streams.append(Stream(run.symbol, run.feed, run.first, until, turns, run.doubts))
        files = {table: manifest.files(table) for table in TABLES}
        if self._lost is not None:
            streams = _joined(
                _turned(sealed_streams(self.root, files, self.venue), self._sealed_turns()), streams
            )
        return Contents(
            root=self.root,
            venue=self.venue.name,
            files=files,
            tail=tail,
            streams=streams,
            horizon=horizon,
            checkpoint_lost=self._lost,
            sealed_pos=manifest.last_pos,
            last_pos=max(manifest.last_pos, self._normalizer.last_pos),
        )


def _turned(streams: Iterable[Stream], turns: Turns) -> Iterator[Stream]:
    """Streams of which only their rows are known: each may have been there in every turn."""
    several = tuple(turns.turns) if len(turns.turns) > 1 else ()
    doubts = (*turns.doubts, *overlaps(several))
    for stream in streams:
        yield msgspec.structs.replace(stream, turns=several, doubts=doubts)


def _joined(older: Iterable[Stream], newer: Iterable[Stream]) -> list[Stream]:
    """Lives of streams, where some were cut in two."""
    lives = {(stream.symbol, stream.feed): stream for stream in older}
    for stream in newer:
        before = lives.get((stream.symbol, stream.feed), stream)
        lives[stream.symbol, stream.feed] = msgspec.structs.replace(
            stream, since=min(before.since, stream.since)
        )
    return list(lives.values())
