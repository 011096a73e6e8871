"""Planted bugs: what one is, and a copy of the repository in which it lives while a test hunts it."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import msgspec

__all__ = ["ROOT", "Copy", "Mutant", "Outcome", "load_mutants"]

ROOT: Final = Path(__file__).resolve().parents[2]

PACKAGES: Final = ("book", "venues", "storage", "ingest", "replay", "exchange", "cli")

_TESTS_FAILED: Final = 1


class Mutant(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A bug. ``old``: text that is once in ``file``; ``new`` replaces it; ``test``: arguments for pytest, which has
    to fail then.
    """

    name: str
    file: str
    old: str
    new: str
    test: str

    @property
    def path(self) -> Path:
        """The file, in this repository."""
        return ROOT / self.file


class Outcome(msgspec.Struct, frozen=True):
    """What pytest made of a copy: its exit ``code`` (None: it did not end in time), and what it printed."""

    code: int | None
    output: str

    @property
    def passed(self) -> bool:
        return self.code == 0

    @property
    def caught(self) -> bool:
        """A test failed, or hung. A mutant that cannot even be imported proves nothing."""
        return self.code is None or self.code == _TESTS_FAILED


def load_mutants() -> list[Mutant]:
    """All of them, by file and place. Raises ``msgspec.ValidationError`` or ``TOMLDecodeError``."""
    found: list[Mutant] = []
    for path in sorted(Path(__file__).parent.glob("*.toml")):
        found += msgspec.convert(tomllib.loads(path.read_text())["mutant"], list[Mutant])
    return found


class Copy:
    """The repository once more, in ``folder``; Python finds its packages there, in what tests start too."""

    def __init__(self, folder: Path) -> None:
        self.root = folder / "repository"
        names = subprocess.run(
            ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
            cwd=ROOT,
            check=True,
            capture_output=True,
            text=True,
        ).stdout.splitlines()
        for name in names:
            if (ROOT / name).is_file():
                (self.root / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(ROOT / name, self.root / name)
        # Tests look for recorded frames beside the repository.
        (folder / "shared").symlink_to(ROOT.parent / "shared")
        links = folder / "packages" / "bookreel"
        links.mkdir(parents=True)
        for package in PACKAGES:
            (links / package).symlink_to(self.root / package)
        self._environment = {
            **os.environ,
            "PYTHONPATH": str(links.parent),
            # A bug that comes and goes within a second must not be run from yesterday's bytecode.
            "PYTHONDONTWRITEBYTECODE": "1",
            "HYPOTHESIS_STORAGE_DIRECTORY": str(folder / "hypothesis"),
        }

    @contextmanager
    def infected(self, mutant: Mutant) -> Iterator[None]:
        """The copy has the bug inside the block. Raises ``ValueError`` if its text is not there exactly once."""
        path = self.root / mutant.file
        text = path.read_text()
        if text.count(mutant.old) != 1:
            raise ValueError(
                f"{mutant.name}: its text is {text.count(mutant.old)} times in {mutant.file}, not once"
            )
        path.write_text(text.replace(mutant.old, mutant.new))
        try:
            yield
        finally:
            path.write_text(text)

    def test(self, arguments: str, timeout_s: float) -> Outcome:
        """Run pytest in the copy."""
        command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", "-n", "0"]
        command += shlex.split(arguments)
        try:
            done = subprocess.run(
                command,
                cwd=self.root,
                env=self._environment,
                timeout=timeout_s,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
        except subprocess.TimeoutExpired as error:
            return Outcome(None, str(error.stdout or ""))
        return Outcome(done.returncode, done.stdout)
