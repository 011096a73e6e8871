"""What the system is really asked, seen by strace: that the simulated disk leaves out no call, and kills at some.

Run as a program it is the one that is watched: a short life of an archive in the folder given.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Final

import msgspec

from bookreel.storage.disk import Disk, OsDisk
from bookreel.storage.journal import Journal, JournalOptions
from bookreel.storage.record import Direction, Kind
from bookreel.storage.seal import seal
from tests.crash.trace import Clock
from tests.crash.witness import Lost, look
from tests.simulation.disk import SimDisk

__all__ = ["ACKNOWLEDGED", "CALLS", "asked_of_the_simulation", "asked_of_the_system", "kill_at", "trouble"]

ACKNOWLEDGED: Final = b"acknowledged"
"""What the watched program prints when its first record is durable."""

CALLS: Final = {
    "writev": "writev",
    "fdatasync": "datasync",
    "fsync": "sync_folder",
    "rename": "rename",
    "unlink": "unlink",
    "mkdir": "make_folder",
    "openat": "create",
}
"""System calls that change what is on the disk, and the simulated operation that each one is."""

_OPTIONS: Final = JournalOptions(threads=False, archive_id=b"archive0")
_LINE: Final = re.compile(r'^(?:\d+ +)?(\w+)\((?:AT_FDCWD<[^>]*>, )?(?:\d+<([^>]*)>|"([^"]*)")(.*)')


def live(disk: Disk, archive: Path) -> None:
    """Made, recorded, rotated, closed, sealed."""
    journal = Journal.open(archive, "huobi", clock=Clock(), options=_OPTIONS, disk=disk)
    for number in range(2):
        journal.append(1, 1, "ws-0", 1, Direction.IN, Kind.TEXT, b'{"ping":%d}' % number)
        journal.flush()
        if number == 0 and isinstance(disk, OsDisk):
            sys.stdout.buffer.write(ACKNOWLEDGED)
            sys.stdout.buffer.flush()
    journal.rotate()
    journal.append(1, 1, "ws-0", 1, Direction.IN, Kind.TEXT, b'{"ping":9}')
    journal.close()
    seal(archive, disk=disk)


def trouble() -> str:
    """Why nothing can be watched here; empty if it can."""
    if shutil.which("strace") is None:
        return "strace is not installed"
    done = subprocess.run(["strace", "-o", "/dev/null", "true"], capture_output=True, text=True, check=False)
    return done.stderr.strip()


def asked_of_the_system(folder: Path) -> list[tuple[str, str]]:
    """Each changing call inside the folder: the operation and the path below the folder."""
    log = folder.with_name(folder.name + ".strace")
    _watch(folder, ["-y", "-o", str(log), "-e", "trace=" + ",".join(CALLS)])
    found = []
    for line in log.read_text().splitlines():
        match = _LINE.match(line)
        if match is None:
            continue
        call, opened, named, rest = match.groups()
        path = opened or named
        if not path.startswith(str(folder)) or (call == "openat" and "O_EXCL" not in rest):
            continue
        found.append((CALLS[call], _plain(path[len(str(folder)) :] or "/")))
    return found


def asked_of_the_simulation() -> list[tuple[str, str]]:
    """The same of the simulated disk."""
    disk = SimDisk()
    disk.make_folder(Path("/data"))
    found = []

    def before(operation: str, path: Path) -> None:
        if operation in CALLS.values():
            found.append((operation, _plain(str(path))))

    disk.before = before
    live(disk, Path("/data/archive"))
    return found


def points() -> list[tuple[str, int]]:
    """Every changing call of the life: its name, and the how-manieth of that name it is."""
    names = {operation: call for call, operation in CALLS.items() if operation != "create"}
    counts: Counter[str] = Counter()
    found = []
    for operation, _ in asked_of_the_simulation():
        if operation in names:
            counts[operation] += 1
            found.append((names[operation], counts[operation]))
    return found


def kill_at(call: str, number: int) -> bool:
    """Kills the program at that call; the archive must need no help. Returns whether the first record had been
    acknowledged by then. Raises Lost.
    """
    with tempfile.TemporaryDirectory() as home:
        inject = f"inject={call}:signal=KILL:when={number}"
        done = _watch(Path(home), ["-o", "/dev/null", "-e", inject])
        if done.returncode == 0:
            raise Lost(f"there is no {call} number {number}")
        archive = Path(home) / "data" / "archive"
        acknowledged = done.stdout == ACKNOWLEDGED
        if not acknowledged and not (archive / "archive.json").exists():
            return False
        found = look(archive, OsDisk())
        if acknowledged and not found.sealed and b'{"ping":0}' not in found.payloads.values():
            raise Lost(f"the acknowledged record is lost by a kill at {call} number {number}")
        seal(archive)
        found = look(archive, OsDisk())
        if found.payloads or (acknowledged and not found.sealed):
            raise Lost(f"after a kill at {call} number {number} not everything is sealed")
        return acknowledged


def _watch(folder: Path, options: list[str]) -> subprocess.CompletedProcess[bytes]:
    (folder / "data").mkdir(parents=True, exist_ok=True)
    # Compiled modules would be written by the same calls.
    words = ["strace", "-f", "-qq", "-E", "PYTHONDONTWRITEBYTECODE=1", *options]
    words += [sys.executable, "-m", "tests.crash.syscalls", str(folder)]
    return subprocess.run(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=False)


class SystemKills(msgspec.Struct):
    """``killed`` at a system call; ``acknowledged``: of those, after the first record was."""

    killed: int = 0
    acknowledged: int = 0
    skipped: str = ""

    def add(self, other: SystemKills) -> None:
        """Joins two counts."""
        self.killed += other.killed
        self.acknowledged += other.acknowledged
        self.skipped = self.skipped or other.skipped


def kill_at_some(part: int, parts: int) -> SystemKills:
    """One part of all calls: every ``parts``-th one. Raises Lost."""
    if reason := trouble():
        return SystemKills(skipped=reason)
    chosen = points()[part::parts]
    return SystemKills(len(chosen), sum(kill_at(call, number) for call, number in chosen))


def _plain(path: str) -> str:
    """A file under its final name: an open one is shown under the name that it has by then."""
    return path.removesuffix(".new")


if __name__ == "__main__":
    live(OsDisk(), Path(sys.argv[1]) / "data" / "archive")
