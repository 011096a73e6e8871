"""`python -m tests.fuzz`: hostile frames and damaged files, and what came of them."""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from itertools import islice
from pathlib import Path
from typing import Any, Final

import click
import msgspec
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from tests.fuzz.corruption import checkpoints, make_archive, million, sealed_bytes, segment_damage, side_files
from tests.fuzz.frames import FRAMES, Finding, Outcome, episode

__all__ = ["command"]

FIGURES: Final = Path("build/reliability/fuzz.json")
_SHOWN: Final = 20


@click.command()
@click.option("--seed", default=1, show_default=True)
@click.option("--jobs", default=2, show_default=True, help="Processes.")
@click.option("--size", default=10_000_000, show_default=True, help="Spoiled frames in all; 0: none.")
@click.option("--frames", default=FRAMES, show_default=True, help="Spoiled frames of one recorder.")
@click.option(
    "--damage", default=1, show_default=True, help="Every so many bits and bytes of stored files are flipped."
)
@click.option("--minutes", default=7.0, show_default=True, help="No recorder is fed after these.")
@click.option("--episode", "number", type=int, help="Only this one: what repeats a finding.")
def command(
    seed: int, jobs: int, size: int, frames: int, damage: int, minutes: float, number: int | None
) -> None:
    """Feed the recorder hostile frames. Exit code 1 if anything is found."""
    begun = time.perf_counter()
    figures: dict[str, Any] = {}
    findings: list[Finding] = []
    numbers = range(-(-size // frames)) if number is None else range(number, number + 1)
    if numbers:
        figures, findings = _frames(seed, frames, numbers, jobs, begun + 60 * minutes)
    if number is None:
        more, wrong = _corruption(jobs, damage)
        figures |= more
        findings += [
            Finding("corruption", "a flipped bit", text, "python -m tests.fuzz --size 0") for text in wrong
        ]
    figures["seconds"] = round(time.perf_counter() - begun, 1)
    figures["seconds of CPU"] = round(sum(os.times()[:4]), 1)
    for name, value in figures.items():
        click.echo(f"{name:<40} {value:>14,}" if isinstance(value, int) else f"{name:<40} {value:>14}")
    for finding in findings[:_SHOWN]:
        click.echo(f"{finding.kind} by {finding.mutator}: {finding.what}\n  {finding.repeat}", err=True)
    if number is None:
        FIGURES.parent.mkdir(parents=True, exist_ok=True)
        FIGURES.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    if findings:
        raise SystemExit(1)


def _frames(
    seed: int, frames: int, numbers: range, jobs: int, until: float
) -> tuple[dict[str, Any], list[Finding]]:
    total = Outcome()
    kinds: Counter[str] = Counter()
    recorders = 0
    for outcome in _spread([(seed, number, frames) for number in numbers], jobs, until):
        recorders += 1
        for name in (
            "spoiled",
            "right",
            "sealed",
            "rows",
            "downs",
            "adopted",
            "applied",
            "slow_once",
            "cpu_ns",
        ):
            setattr(total, name, getattr(total, name) + getattr(outcome, name))
        total.peak_mib = max(total.peak_mib, outcome.peak_mib)
        if outcome.slowest_ns > total.slowest_ns:
            total.slowest_ns, total.slowest = outcome.slowest_ns, outcome.slowest
        total.mutators.update(outcome.mutators)
        total.counts.update(outcome.counts)
        total.findings += outcome.findings
        kinds.update(finding.kind for finding in outcome.findings)
    taken = total.spoiled + total.right
    figures = {
        "spoiled frames": total.spoiled,
        "right frames between them": total.right,
        "ways of spoiling": len(total.mutators),
        "recorders": recorders,
        "of these sealed and read back": total.sealed,
        "rows checked": total.rows,
        "books made live": total.adopted,
        "deltas applied to live books": total.applied,
        "frames that could not be read": total.counts["decode_errors"],
        "gaps": total.counts["gaps"],
        "connections given up": total.downs,
        "crashes": kinds["crash"],
        "hangs over 100 ms": kinds["hang"],
        "slow once, not again": total.slow_once,
        "accepted invalid books": kinds["invalid book"],
        "slowest frame, ms of CPU": round(total.slowest_ns / 1e6, 1),
        "slowest frame is": total.slowest,
        "peak memory of a process, MiB": total.peak_mib,
        "us of CPU a frame, all in": round(total.cpu_ns / 1e3 / max(taken, 1), 1),
    }
    return figures, total.findings


def _corruption(jobs: int, step: int) -> tuple[dict[str, Any], list[str]]:
    """Damage to stored files, and what was not noticed."""
    figures: dict[str, Any] = {}
    wrong: list[str] = []
    with ProcessPoolExecutor(jobs) as pool:
        shares = [pool.submit(segment_damage, step, (part, jobs)) for part in range(jobs)]
        with tempfile.TemporaryDirectory(prefix="bookreel-fuzz-") as folder:
            archive = make_archive(Path(folder) / "archive")
            size = sum(path.stat().st_size for path in archive.rglob("*.parquet"))
            sealed = sealed_bytes(archive, step, 200)
            beside = side_files(archive, step) + checkpoints(archive, 64 * step)
        parts = [share.result() for share in shares]
    for name in ("bits", "cuts", "blocks"):
        figures[f"segment {name} tried"] = sum(part[name].cases for part in parts)
        figures[f"segment {name}: silently wrong"] = sum(len(part[name].wrong) for part in parts)
        figures[f"segment {name}: most records lost"] = max(part[name].worst for part in parts)
        wrong += [text for part in parts for text in part[name].wrong]
    figures["records lost of 1,000,000 by 1 bit"] = million(1_000_000 // step)
    figures["bytes of sealed files"] = size
    figures |= {
        f"sealed: {key}": value for key, value in msgspec.structs.asdict(sealed).items() if key != "wrong"
    }
    wrong += sealed.wrong
    figures |= beside
    wrong += [f"{key}: {count}" for key, count in beside.items() if "silently" in key or "not named" in key]
    return figures, wrong


def _spread(tasks: list[tuple[int, int, int]], jobs: int, until: float) -> Iterator[Outcome]:
    """Outcomes as they come, by so many processes; a process that dies takes the run with it. ``until``: when to
    begin no more.
    """
    with Progress(
        TextColumn("fuzzing"), BarColumn(), TextColumn("{task.completed}/{task.total}"), TimeRemainingColumn(),
        transient=True, disable=not sys.stderr.isatty(),
    ) as progress:  # fmt: skip
        bar = progress.add_task("frames", total=len(tasks))
        if len(tasks) == 1 or jobs == 1:
            for task in tasks:
                if time.perf_counter() > until:
                    return
                yield episode(*task)
                progress.advance(bar)
            return
        left = iter(tasks)
        with ProcessPoolExecutor(jobs) as pool:
            at_work = {pool.submit(episode, *task) for task in islice(left, 2 * jobs)}
            while at_work:
                done, at_work = wait(at_work, return_when=FIRST_COMPLETED)
                if time.perf_counter() < until:
                    at_work |= {pool.submit(episode, *task) for task in islice(left, len(done))}
                for made in done:
                    yield made.result()
                    progress.advance(bar)


if __name__ == "__main__":
    command()
