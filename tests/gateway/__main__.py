"""`python -m tests.gateway`: the gateway of stocks is recorded with every fault, and held against its truth."""

from __future__ import annotations

import json
import tempfile
import time
from pathlib import Path
from typing import Any, Final

import click

from tests.gateway.recording import FAULTS, hold

__all__ = ["command"]

FIGURES: Final = Path("build/reliability/gateway.json")


@click.command()
@click.option("--seed", default=1, show_default=True)
@click.option("--seconds", default=180.0, show_default=True)
@click.option("--symbols", default=20, show_default=True, help="How many.")
@click.option("--faults", default=FAULTS, show_default=True, help="As of `bookreel exchange`.")
def command(seed: int, seconds: float, symbols: int, faults: str) -> None:
    """Record by the wall clock. Exit code 1 if anything is wrong."""
    begun = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        outcome = hold(Path(folder), symbols, seconds, seed, faults)
    figures: dict[str, Any] = {"pushes and answers received": outcome.frames}
    figures["faults"] = sum(outcome.inflicted.values())
    figures |= {f"faults: {kind}": count for kind, count in outcome.inflicted.items()}
    figures |= dict(sorted(outcome.audit.counts.items()))
    figures |= {f"gaps: {cause}": count for cause, count in outcome.gaps.items()}
    figures |= {"gaps still open": outcome.open_gaps, "wrong": len(outcome.wrong)}
    figures["seconds"] = round(time.perf_counter() - begun, 1)
    for name, value in figures.items():
        click.echo(f"{name:<40} {value:>14,}")
    for sentence in outcome.wrong:
        click.echo(sentence, err=True)
    FIGURES.parent.mkdir(parents=True, exist_ok=True)
    FIGURES.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    if outcome.wrong:
        click.echo(f"python -m tests.gateway --seed {seed} --seconds {seconds} --symbols {symbols}", err=True)
        raise SystemExit(1)


if __name__ == "__main__":
    command()
