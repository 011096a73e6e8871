"""How long the disk lasts: the room that is left against what the archive grew by of late.

Only what is sealed counts: a segment of the journal goes once it is sealed, so the journal does not grow while the
sealer keeps up. A file's bytes are spread evenly over the time of its rows, and time in which nothing was recorded is
left out: the question is how long the disk lasts if recording goes on.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import msgspec

from bookreel.storage.dates import DAY_NS
from bookreel.storage.disk import Disk, OsDisk
from bookreel.storage.layout import read_meta
from bookreel.storage.manifest import Manifest
from bookreel.storage.segment import list_segments

__all__ = ["WINDOWS", "Forecast", "Rate", "forecast"]

WINDOWS: Final = {"1 h": DAY_NS // 24, "24 h": DAY_NS, "7 d": 7 * DAY_NS}
"""How far back growth is looked at, ns of receive time before the newest sealed record."""

LEAST_S: Final = 1.0
"""Less than that was recorded, and it tells no rate."""


class Rate(msgspec.Struct, frozen=True):
    """Growth over one of :data:`WINDOWS`. ``recorded``: seconds of it in which something was recorded;
    ``bytes_per_second`` of these; ``days_left``: until the disk is full at that rate.
    """

    window: str
    recorded: float
    bytes_per_second: float
    days_left: float


class Forecast(msgspec.Struct, frozen=True):
    """Bytes that are free, and that the archive takes sealed and in its journal; ``rates`` are empty where hardly
    anything is sealed.
    """

    free: int
    sealed: int
    journal: int
    rates: list[Rate]

    @property
    def days_left(self) -> float | None:
        """By the fastest of the rates; None where none is known."""
        return min((rate.days_left for rate in self.rates), default=None)


def forecast(archive: Path | str, disk: Disk | None = None) -> Forecast:
    """Look at the entries of an archive and at its disk, not at rows; also beside a recorder. Raises NotAnArchive,
    UnknownFormat, CorruptManifest, OSError.
    """
    archive = Path(archive)
    disk = OsDisk() if disk is None else disk
    read_meta(archive, disk)
    free = disk.free(archive)
    manifest = Manifest.load(archive, disk)
    lives = [
        (entry.ts_min, entry.ts_max + 1)
        for entry in manifest.segments
        if entry.ts_min is not None and entry.ts_max is not None
    ]
    files = [file for of_table in manifest.tables().values() for file in of_table]
    newest = max((end for _, end in lives), default=0)
    rates = []
    for name, window in WINDOWS.items():
        since = newest - window
        recorded = sum(_within(start, end, since) for start, end in lives) / 1e9
        grown = sum(
            file.bytes * _within(file.ts_min, file.ts_max + 1, since) / (file.ts_max + 1 - file.ts_min)
            for file in files
        )
        if recorded >= LEAST_S:
            speed = grown / recorded
            rates.append(Rate(name, recorded, speed, free / speed / 86_400))
    unsealed = [segment.size for segment in list_segments(archive, disk) if not manifest.sealed(segment.name)]
    return Forecast(free, sum(file.bytes for file in files), sum(unsealed), rates)


def _within(start: int, end: int, since: int) -> int:
    """How much of a span lies after an instant, ns."""
    return max(0, end - max(start, since))
