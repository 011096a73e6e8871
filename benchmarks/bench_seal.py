"""Journal to Parquet: time and bytes."""

from __future__ import annotations

import gc
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from conftest import rounds
from frames import Frames

from bookreel.storage.manifest import Manifest
from bookreel.storage.schema import TABLES
from bookreel.storage.seal import seal


@pytest.fixture
def own_process() -> Iterator[None]:
    """The collector of cycles has no more to go through than in a sealer's process, which holds no capture."""
    gc.freeze()
    yield
    gc.unfreeze()


def test_seal(benchmark: Any, frames: Frames, own_process: None, fresh: Callable[[], Path]) -> None:
    made: list[Path] = []

    def setup() -> Any:
        made.append(fresh())
        return (made[-1],), {}

    benchmark.extra_info["units"] = {"frame": len(frames.all)}
    benchmark.pedantic(seal, setup=setup, rounds=rounds(5))
    benchmark.extra_info["sizes"] = sizes(made[-1], frames)


def sizes(archive: Path, frames: Frames) -> dict[str, float]:
    """Bytes of the sealed archive, and of what it was made from."""
    manifest = Manifest.load(archive)
    size: Counter[str] = Counter()
    rows: Counter[str] = Counter()
    for table in TABLES:
        for file in manifest.files(table):
            size[table] += file.bytes
            rows[table] += file.rows
    text = sum(len(frame.text) for frame in frames.all)
    return {
        "frames": len(frames.all),
        "levels": rows["book_deltas"],
        "book_deltas": size["book_deltas"],
        "frames_table": size["frames"],
        "typed_tables": sum(size.values()) - size["frames"],
        "archive": sum(path.stat().st_size for path in archive.rglob("*") if path.is_file()),
        "text": text,
        "gzip": sum(len(frame.payload) for frame in frames.all),
        "zstd": len(pa.Codec("zstd", 3).compress(b"\n".join(f.text for f in frames.all), asbytes=True)),
    }
