"""Kill the recorder, the sealer and the power at every point, recover, and count what was lost."""

from __future__ import annotations

import json
import multiprocessing
import os
import sys
import time
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from operator import itemgetter
from pathlib import Path
from typing import Any, Final

import click
from rich.console import Console
from rich.progress import Progress

from tests.crash.tasks import PARTS, Task, begin, run

_FIGURES: Final = Path("build/reliability/crash.json")
_STATES_A_TASK: Final = 20_000
_CALLS_PARTS: Final = 8
"""Of these every fourth is done: each kill takes a second."""
_POINTS_PARTS: Final = 60
_OVERLOAD_S: Final = 40
_SHOWN_FAILURES: Final = 20
_COMPUTING: Final = frozenset({"points", "power", "full"})
"""Parts that keep a core busy. The others wait most of the time, for a process to live a little or to end."""


def _pieces(part: str, count: int, size: int, seed: int) -> list[Task]:
    return [Task(part, (min(size, count - at), seed + at)) for at in range(0, count, size)]


def _figures(results: dict[str, Any], failures: int) -> Iterator[tuple[str, int | float]]:
    """In the order in which they are printed."""
    for part in ("kills", "sealers"):
        if part in results:
            for name, count in sorted(results[part].kills.items()):
                yield f"killed while {name} ({part})", count
    kills = [results[part] for part in ("kills", "sealers") if part in results]
    if kills:
        yield "processes killed", sum(result.kills.total() for result in kills)
        yield "acknowledged records looked for after kills", sum(result.checked for result in kills)
    if "races" in results:
        yield "races for an archive", results["races"].races
        yield "recorders in the races", results["races"].recorders
    if "shutdowns" in results:
        for name, count in sorted(results["shutdowns"].ends.items()):
            yield f"recorders {name}", count
        yield from results["shutdowns"].figures().items()
    if "syscalls" in results:
        yield "killed at a system call", results["syscalls"].killed
    if "points" in results:
        points = results["points"]
        yield "operations of the life disturbed", points.operations.total()
        for name, count in sorted(points.states.items()):
            yield f"gone on with after {name}", count
        yield "of those verified by the product", points.verified
    if "power" in results:
        losses = results["power"]
        yield "disk states after a power loss", losses.states
        yield "of these not byte for byte another of their life", losses.distinct
        yield "power losses at operations", losses.operations.total()
        yield "acknowledged records looked for in them", losses.checked
        yield "oldest record lost, ms", round(losses.oldest_ns / 1e6, 1)
        yield "of which the disk kept it waiting, ms", round(losses.waited_ns / 1e6, 1)
    for part in ("full", "overload"):
        yield from results.get(part, {}).items()
    yield "violations", failures


@click.command()
@click.option("--seed", default=1, show_default=True, help="Everything random depends on it.")
@click.option("--jobs", default=2, show_default=True, help="Processes.")
@click.option(
    "--kills", default=21_000, show_default=True, help="Processes to kill while they write or open."
)
@click.option("--sealers", default=4_000, show_default=True, help="Processes to kill, sealers among them.")
@click.option("--races", default=300, show_default=True, help="Start races for one archive.")
@click.option("--shutdowns", default=30, show_default=True, help="Whole recorders to end under load.")
@click.option("--states", default=2_000_000, show_default=True, help="States of the disk after a power loss.")
@click.option("--full", default=250, show_default=True, help="Disks to fill up while a recorder writes.")
@click.option("--minutes", default=9.0, show_default=True, help="No piece of work is begun after these.")
@click.option("--part", "parts", multiple=True, type=click.Choice(list(PARTS)), help="Only these parts.")
def main(
    seed: int,
    jobs: int,
    kills: int,
    sealers: int,
    races: int,
    shutdowns: int,
    states: int,
    full: int,
    minutes: float,
    parts: tuple[str, ...],
) -> None:
    """Kill the recorder, the sealer and the power at every point, and recover. What is left when the time is up is
    left of each part alike.
    """
    chosen = parts or tuple(PARTS)
    every = {
        "kills": _pieces("kills", kills, 240, seed),
        "sealers": _pieces("sealers", sealers, 120, seed),
        "races": _pieces("races", races, 50, seed),
        "shutdowns": _pieces("shutdowns", shutdowns, 10, seed),
        "syscalls": [Task("syscalls", (part, _CALLS_PARTS)) for part in range(0, _CALLS_PARTS, 4)],
        "points": [Task("points", (part, _POINTS_PARTS)) for part in range(_POINTS_PARTS)],
        "power": _pieces("power", states, _STATES_A_TASK, seed * 1_000_000),
        "full": _pieces("full", full, 50, seed),
        "overload": [Task("overload", (_OVERLOAD_S,))],
    }
    shares = [
        (at / len(every[part]), task)
        for part in PARTS
        if part in chosen
        for at, task in enumerate(every[part])
    ]
    tasks = [task for _, task in sorted(shares, key=itemgetter(0))]
    results: dict[str, Any] = {}
    failures: list[str] = []
    done = 0
    begun = time.monotonic()
    console = Console(stderr=True)
    with Progress(console=console, disable=not sys.stderr.isatty(), transient=True) as progress:
        bar = progress.add_task("crash", total=len(tasks))
        for future, task in _spread(tasks, jobs, begun + 60 * minutes):
            done += 1
            error = future.exception()
            if error is not None:
                notes = "".join(f" ({note})" for note in getattr(error, "__notes__", ()))
                failures.append(f"{task.part}: {error!r}{notes}\n  repeat: {task.again}")
                if len(failures) <= _SHOWN_FAILURES:
                    console.print(failures[-1], markup=False, highlight=False, soft_wrap=True)
            elif task.part in results:
                results[task.part].add(future.result())
            else:
                results[task.part] = future.result()
            progress.advance(bar)
    figures = dict(_figures(results, len(failures))) | {
        "pieces of work left for lack of time": len(tasks) - done
    }
    figures |= {
        "seconds": round(time.monotonic() - begun, 1),
        "seconds of CPU": round(sum(os.times()[:4]), 1),
    }
    _FIGURES.parent.mkdir(parents=True, exist_ok=True)
    _FIGURES.write_text(json.dumps(figures, indent=1) + "\n")
    width = max(map(len, figures))
    for name, value in figures.items():
        click.echo(f"{name:<{width}}  {value:>15,}")
    sys.exit(1 if failures else 0)


def _spread(tasks: list[Task], jobs: int, until: float) -> Iterator[tuple[Future[Any], Task]]:
    """Tasks as they end; ``until``: when to begin no more. While so many processes wait, half as many compute; then
    as many. Each kind has processes of its own: those that fork must not have loaded what the others need.
    """
    spawned = multiprocessing.get_context("spawn")
    waiting = [task for task in tasks if task.part not in _COMPUTING]
    computing = [task for task in tasks if task.part in _COMPUTING]
    with (
        ProcessPoolExecutor(jobs, mp_context=spawned, initializer=begin) as first,
        ProcessPoolExecutor(jobs, mp_context=spawned, initializer=begin) as second,
    ):
        at_work: dict[Future[Any], Task] = {}
        counts = {first: 0, second: 0}
        pools: dict[Future[Any], ProcessPoolExecutor] = {}
        while True:
            if time.monotonic() > until:
                waiting.clear()
                computing.clear()
            beside = jobs // 2 if waiting or counts[first] else jobs
            for pool, left, width in ((first, waiting, jobs), (second, computing, beside)):
                while left and counts[pool] < width:
                    task = left.pop(0)
                    future = pool.submit(run, task)
                    at_work[future], pools[future] = task, pool
                    counts[pool] += 1
            if not at_work:
                return
            done, _ = wait(at_work, return_when=FIRST_COMPLETED)
            for future in done:
                counts[pools.pop(future)] -= 1
                yield future, at_work.pop(future)


if __name__ == "__main__":
    main()
