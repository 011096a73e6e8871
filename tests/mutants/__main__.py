"""Plant each bug into a copy of the repository, and see that the test which claims to find it does.

Every test named is first run without a bug: one that fails anyhow would catch everything.
"""

from __future__ import annotations

import json
import os
import queue
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Final

import click
from rich.progress import Progress

from tests.mutants.mutant import ROOT, Copy, Mutant, load_mutants

_BASE_TIMEOUT_S: Final = 900.0
_SLOWER: Final = 5.0
"""How much longer than without a bug a test may take before it counts as hung."""


class _Hunt:
    """Runs tests in a few copies at once."""

    def __init__(self, copies: list[Copy]) -> None:
        self._copies: queue.Queue[Copy] = queue.Queue()
        for copy in copies:
            self._copies.put(copy)
        self.seconds: dict[str, float] = {}
        self.broken: list[str] = []
        self.survivors: list[Mutant] = []

    def check(self, test: str) -> str:
        """Without a bug. What there is to say about it."""
        copy = self._copies.get()
        try:
            begun = time.monotonic()
            outcome = copy.test(test, _BASE_TIMEOUT_S)
            self.seconds[test] = time.monotonic() - begun
        finally:
            self._copies.put(copy)
        if outcome.passed:
            return ""
        self.broken.append(test)
        return f"fails without a bug: {test}\n{outcome.output[-2000:]}"

    def hunt(self, mutant: Mutant) -> str:
        """With the bug. What there is to say about it."""
        copy = self._copies.get()
        try:
            with copy.infected(mutant):
                outcome = copy.test(mutant.test, 30 + _SLOWER * self.seconds[mutant.test])
            if outcome.caught:
                return ""
            why = f"pytest ended with {outcome.code}\n{outcome.output[-1000:]}"
        except ValueError as error:
            why = str(error)
        finally:
            self._copies.put(copy)
        self.survivors.append(mutant)
        again = f".venv/bin/python -m tests.mutants --only {mutant.name!r}"
        return f"survived: {mutant.name} ({mutant.file})\n  {why}\n  again: {again}"


@click.command()
@click.option("--jobs", default=2, show_default=True, help="Copies at work at once.")
@click.option("--only", default="", help="Only the mutants whose name has this in it.")
def main(jobs: int, only: str) -> None:
    """Plant bugs, and see that the tests find each one. Exit code 1 if one survives."""
    begun = time.monotonic()
    mutants = [mutant for mutant in load_mutants() if only in mutant.name]
    if not mutants:
        raise click.UsageError(f"no mutant has {only!r} in its name")
    tests = sorted({mutant.test for mutant in mutants})
    with ExitStack() as stack:
        folders = [Path(stack.enter_context(tempfile.TemporaryDirectory())) for _ in range(jobs)]
        hunt = _Hunt([Copy(folder) for folder in folders])
        progress = stack.enter_context(Progress(disable=not sys.stderr.isatty()))
        pool = stack.enter_context(ThreadPoolExecutor(jobs))
        for title, work, items in (("tests", hunt.check, tests), ("mutants", hunt.hunt, mutants)):
            task = progress.add_task(title, total=len(items))
            for said in pool.map(work, items):
                if said:
                    progress.console.print(said, markup=False, highlight=False, soft_wrap=True)
                progress.advance(task)
    caught = len(mutants) - len(hunt.survivors)
    figures = {
        "mutants": len(mutants),
        "caught": caught,
        "files": len({mutant.file for mutant in mutants}),
        "tests": len(tests),
        "tests failing without a bug": len(hunt.broken),
        "seconds": round(time.monotonic() - begun, 1),
        "seconds of CPU": round(sum(os.times()[:4]), 1),
    }
    for name, value in figures.items():
        click.echo(f"{name:<30} {value:>10}")
    report = ROOT / "build" / "reliability" / "mutants.json"
    report.parent.mkdir(parents=True, exist_ok=True)
    report.write_text(json.dumps(figures, indent=2) + "\n")
    if hunt.survivors or hunt.broken:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
