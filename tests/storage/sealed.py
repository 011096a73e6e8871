"""Sealed archives without a journal: rows of a test's choosing, in the files and entries that a sealer writes."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from bookreel.storage.disk import Disk, write_whole
from bookreel.storage.layout import Layout, create_archive
from bookreel.storage.manifest import FileEntry, Manifest, SegmentEntry, encode_entry
from bookreel.storage.schema import TABLES, completed
from bookreel.storage.seal import write_files

__all__ = ["DAY", "T0", "Sealed", "decoded", "glob_rows", "make_rows", "whole"]

DAY: Final = 86_400 * 1_000_000_000
T0: Final = 19_943 * DAY
"""2024-08-08T00:00:00Z"""

_DEFAULTS: Final[dict[Any, Any]] = {pa.string(): "x", pa.float64(): 0.5, pa.int64(): 7, pa.int32(): 2}
_FIXED: Final = {"ts_event": None, "venue": "huobi", "feed": "mbp.150", "side": "bid"}


def make_rows(table: str, rows: Iterable[Mapping[str, Any]]) -> pa.Table:
    """Rows of a table; what a row does not say has some value."""
    schema = TABLES[table]
    base = {field.name: _DEFAULTS.get(field.type) for field in schema} | {
        "ts_event": None,
        "venue": "huobi",
        "feed": "mbp.150",
        "side": "bid",
    }
    for name in ("bids", "asks"):
        if name in base:
            base[name] = [{"price": 1.0, "size": 2.0}, {"price": 3.0, "size": 4.0}]
    return pa.Table.from_pylist([base | dict(row) for row in rows], schema=schema)


class Sealed:
    """An archive on a disk, to which sealed segments are added."""

    def __init__(self, disk: Disk, root: Path) -> None:
        self.disk = disk
        self.root = root
        self._layout = Layout(root)
        disk.make_folder(root)
        create_archive(root, "huobi", T0, disk, b"bookreel")

    def segment(self, first_pos: int, last_pos: int, tables: Mapping[str, pa.Table]) -> SegmentEntry:
        """Seal a segment with these rows."""
        name = f"{first_pos:016d}"
        files: list[FileEntry] = []
        for table, rows in tables.items():
            files += write_files(self._layout, self.disk, "huobi", name, table, rows)
        entry = SegmentEntry(
            format=1,
            segment=name,
            first_pos=first_pos,
            last_pos=last_pos,
            records=last_pos - first_pos + 1,
            ts_min=min((file.ts_min for file in files), default=None),
            ts_max=max((file.ts_max for file in files), default=None),
            files=files,
            state=f"state/{name}.state",
            state_sha256="",
            counts={},
            damage=[],
        )
        write_whole(self.disk, self._layout.manifest_entry(name), encode_entry(entry))
        return entry


def whole(table: str, rows: pa.Table) -> pa.Table:
    """A file's rows with all columns of its table."""
    return completed(table, rows, TABLES[table].names).cast(TABLES[table])


@lru_cache(maxsize=64)
def decoded(table: str, content: bytes) -> pa.Table:
    """The rows of a file; of many states of a disk most files are the same."""
    return whole(table, pq.read_table(pa.BufferReader(content)))


def glob_rows(disk: Disk, root: Path, table: str) -> pa.Table:
    """What an engine that knows nothing of the manifest reads by a plain glob, in the order of the names."""
    found = [TABLES[table].empty_table()]
    todo = [root / "parquet" / table]
    while todo:
        folder = todo.pop(0)
        for name in disk.names(folder):
            if name.endswith(".parquet"):
                file = disk.open(folder / name)
                try:
                    content = file.read(0, file.size())
                finally:
                    file.close()
                found.append(decoded(table, content))
            elif "." not in name:
                todo.append(folder / name)
    return pa.concat_tables(found)


def rewrite(recording: Any, table: str, change: Callable[[pa.Table], pa.Table]) -> None:
    """Give a sealed file other content and a manifest that agrees with it: only the content is wrong."""
    (entry,) = Manifest.load(recording.path).segments
    files = []
    for file in entry.files:
        path = recording.path / file.path
        if file.table == table:
            rows = change(pq.read_table(path))
            path.chmod(0o644)
            pq.write_table(rows, path, write_page_checksum=True)
            content = path.read_bytes()
            file = msgspec.structs.replace(
                file, rows=rows.num_rows, bytes=len(content), sha256=hashlib.sha256(content).hexdigest()
            )
        files.append(file)
    place = recording.path / "manifest" / f"{entry.segment}.json"
    place.chmod(0o644)
    place.write_bytes(encode_entry(msgspec.structs.replace(entry, files=files)))


def with_values(rows: pa.Table, row: int, **values: Any) -> pa.Table:
    """The rows with other values in one of them."""
    for name, value in values.items():
        column = rows[name].to_pylist()
        column[row] = value
        rows = rows.set_column(
            rows.schema.get_field_index(name),
            rows.schema.field(name),
            pa.array(column, rows.schema.field(name).type),
        )
    return rows
