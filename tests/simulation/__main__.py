"""`make sim`: a long simulated day with every fault, and many short seeds, at the same time."""

from __future__ import annotations

import json
import time
from collections import Counter
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Final

import click

from tests.simulation import ab, liveness
from tests.simulation.findings import Findings, percentile
from tests.simulation.seeds import Result, run_seed, short, watch
from tests.simulation.world import Scenario

_REPORT: Final = Path("build/reliability/sim.json")
_SHOWN: Final = 5
_DAY_SEED: Final = 20_000_000
_FULL_SEEDS: Final = 1000
_FULL_HOURS: Final = 24.0
_MUST_BE_ZERO: Final = ("wrong", "false alarms", "never found", "requests refused")


@click.command()
@click.option("--seed", type=int, help="Run this short seed alone.")
@click.option("--seeds", default=120, show_default=True, help="Short seeds to run.")
@click.option(
    "--full",
    is_flag=True,
    help=f"Run {_FULL_HOURS:g} hours and {_FULL_SEEDS} short seeds: half an hour on two cores.",
)
@click.option("--first", default=0, show_default=True, help="The first of them.")
@click.option("--hours", default=16.0, show_default=True, help="Length of the simulated day; 0: none.")
@click.option(
    "--watches", default=4, show_default=True, help="Parts of the day, each with an archive of its own."
)
@click.option("--watch", "only", type=int, help="Run only this part of the day.")
@click.option("--day-seed", default=_DAY_SEED, show_default=True, help="Seed of the day's first part.")
@click.option("--calm", default=4.0, show_default=True, help="Hours to look for false alarms in; 0: none.")
@click.option(
    "--merged", default=1_000_000, show_default=True, help="Frames that two lines lose in turn; 0: none."
)
@click.option("--jobs", default=2, show_default=True, help="Processes.")
@click.option("--keep", type=click.Path(path_type=Path), help="Leave a single seed's truth and archive here.")
def main(
    seed: int | None,
    seeds: int,
    first: int,
    full: bool,
    hours: float,
    watches: int,
    only: int | None,
    day_seed: int,
    calm: float,
    merged: int,
    jobs: int,
    keep: Path | None,
) -> None:
    """Simulate; exit code 1 if a promise was broken."""
    begun = time.perf_counter()
    if full:
        seeds, hours = _FULL_SEEDS, _FULL_HOURS
    if seed is not None:
        results = [run_seed(seed, short(seed), keep)]
        days: list[Result] = []
        others: dict[str, dict[str, float]] = {}
    else:
        numbers = range(watches) if only is None else range(only, only + 1)
        tasks = [(day_seed + number, watch(hours / watches, number)) for number in numbers if hours]
        results, days, others = _run(tasks, range(first, first + seeds), calm, merged, jobs)
    figures: dict[str, object] = {}
    for name, part in (("day", days), ("short seeds", results)):
        if part:
            figures |= {f"{name}: {key}": value for key, value in _figures(part).items()}
    for name, found in others.items():
        figures |= {f"{name}: {key}": value for key, value in found.items()}
    figures["real time, s"] = round(time.perf_counter() - begun, 1)
    width = max(map(len, figures))
    for key, value in figures.items():
        click.echo(f"{key:<{width}}  {value}")
    _REPORT.parent.mkdir(parents=True, exist_ok=True)
    _REPORT.write_text(json.dumps(figures, indent=2) + "\n")
    failed = [result for result in (*days, *results) if result.problems]
    for result in failed:
        again = f"--seed {result.seed}"
        if result in days:
            number = result.seed - day_seed
            again = f"--hours {hours:g} --watches {watches} --watch {number} --day-seed {day_seed} --seeds 0"
            again += " --calm 0 --merged 0"
        click.echo(f"\nFAILED: python -m tests.simulation {again}", err=True)
        for problem in result.problems[:_SHOWN]:
            click.echo(f"  {problem}", err=True)
        if len(result.problems) > _SHOWN:
            click.echo(f"  and {len(result.problems) - _SHOWN} more", err=True)
    broken = [
        f"{name}: {key} is {value:g}"
        for name, found in others.items()
        for key, value in found.items()
        if value and any(word in key for word in _MUST_BE_ZERO)
    ]
    for text in broken:
        click.echo(f"\nFAILED: {text}", err=True)
    raise SystemExit(bool(failed or broken))


def _run(
    watches: list[tuple[int, Scenario]], seeds: range, calm: float, merged: int, jobs: int
) -> tuple[list[Result], list[Result], dict[str, dict[str, float]]]:
    from bookreel.cli.progress import Progress

    results: list[Result] = []
    days: list[Result] = []
    with ProcessPoolExecutor(jobs) as pool, Progress("seeds", len(watches) + len(seeds)) as progress:
        running: dict[Future[Result], bool] = {}
        others: dict[str, Future[dict[str, float]]] = {}
        # What takes long first, so that all processes have something to do to the end.
        for seed, scenario in watches:
            running[pool.submit(_caught, seed, scenario)] = True
        if calm:
            others["liveness"] = pool.submit(liveness.run, 1, calm)
        if merged:
            others["merge"] = pool.submit(ab.run, merged)
        running |= {pool.submit(_caught, seed, short(seed)): False for seed in seeds}
        for future in as_completed(running):
            (days if running[future] else results).append(future.result())
            progress.advance()
        found = {name: future.result() for name, future in others.items()}
    results.sort(key=lambda result: result.seed)
    return results, sorted(days, key=lambda result: result.seed), found


def _caught(seed: int, scenario: Scenario) -> Result:
    """One seed; an error of the harness, or one that the recorder let through, is a problem of it."""
    try:
        return run_seed(seed, scenario)
    except Exception as error:
        return Result(
            seed=seed,
            simulated_s=scenario.seconds,
            problems=[f"it could not be judged: {type(error).__name__}: {error}"],
        )


def _figures(results: list[Result]) -> dict[str, object]:
    faults: Counter[str] = Counter()
    found = Findings()
    for result in results:
        faults.update(result.faults)
        found.add(result.findings)
    real_s = sum(result.real_s for result in results)
    simulated_s = sum(result.simulated_s for result in results)
    audits = [result.audit for result in results]
    figures: dict[str, object] = {
        "runs": len(results),
        "simulated, h": round(simulated_s / 3600, 2),
        "times as fast as life": round(simulated_s / real_s) if real_s else 0,
        "frames": sum(result.frames for result in results),
        "faults": faults.total(),
        "faults by kind": dict(sorted(faults.items())),
        "live books compared": sum(result.books_live for result in results),
        "live books wrong": sum(result.books_live_wrong for result in results),
        "recorded books compared": sum(audit.books_compared for audit in audits),
        "books as of an instant": sum(audit.books_as_of for audit in audits),
        "recorded books wrong": sum(audit.books_wrong for audit in audits),
        "gaps injected": sum(audit.gaps_injected for audit in audits),
        "gaps found": sum(audit.gaps_found for audit in audits),
        "gaps unexplained": sum(audit.gaps_unexplained for audit in audits),
        "trades compared": sum(audit.trades_true for audit in audits),
        "trades missed outside gaps": sum(audit.trades_missed for audit in audits),
        "trades stored twice": sum(audit.trades_twice for audit in audits),
        "seeds that shed": sum(result.shed > 0 for result in results),
        "crashes": sum(result.crashes for result in results),
        "acknowledged records lost": sum(result.records_lost for result in results),
        "records compared after crashes": sum(result.records_compared for result in results),
        "records shed": sum(result.shed for result in results),
        "balances checked": sum(result.balances for result in results),
    }
    for name, times in (
        ("half-open found, s", found.half_open_s),
        ("silence found, s", found.silence_s),
        ("the same with other trouble, s", found.silence_hard_s),
        ("gap to valid book, s", found.resync_s),
        ("gap to valid book with bad snapshots, s", found.resync_hard_s),
    ):
        p50, p99, most = (round(percentile(times, part), 3) for part in (0.5, 0.99, 1.0))
        figures[name] = f"p50 {p50} p99 {p99} max {most} of {len(times)}"
    return figures


if __name__ == "__main__":
    main()
