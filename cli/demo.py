"""`bookreel demo`: everything at once, held against the truth."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from bookreel.cli.options import Seconds, examples

if TYPE_CHECKING:
    from bookreel.exchange.audit import Audit

__all__ = ["command"]

SYMBOLS: Final = "btcusdt,ethusdt,aidogeusdt"
FEEDS: Final = "mbp.150,depth.step0,bbo,trade,kline.1min,detail"
FAULTS: Final = (
    "lost_delta=20,duplicate=20,reorder=8,disconnect=6,silence=6,late_snapshot=6,stale_snapshot=10,"
    "null_snapshot=10,straddling_snapshot=10,broken_gzip=8,broken_json=8,sub_error=10"
)
STEPS_PER_SECOND: Final = 10

SECONDS_LEAST: Final = 5
"""In less there is nothing to compare."""

END_SECONDS: Final = 60
"""Within this time after its last second a process has ended by itself, or is ended."""

_FRAMES: Final = """
SELECT regexp_extract(topic, '^market\\.[^.]+\\.(.+)$', 1) AS feed, count(*) AS frames
FROM frames WHERE direction = 'in' AND kind = 'data' GROUP BY 1 ORDER BY 2 DESC
"""


@click.command(
    "demo",
    epilog=examples(
        "bookreel demo",
        "bookreel demo --seconds 60 --archive ./demo-archive",
        "bookreel demo --seconds 180 --symbols all --faults all=20",
    ),
)
@click.option(
    "--archive", type=click.Path(file_okay=False, path_type=Path), metavar="DIR", help="A new folder."
)
@click.option("--seconds", type=Seconds(), default=20.0, show_default=True, help="How long to record.")
@click.option("--seed", type=int, default=1, show_default=True, help="Of the market and its faults.")
@click.option(
    "--symbols", default=SYMBOLS, show_default=True, help="Markets of the exchange, or `all` of them."
)
@click.option("--feeds", default=FEEDS, show_default=True)
@click.option(
    "--faults", default=FAULTS, metavar="SPEC", help="As of `bookreel exchange`; by default most kinds."
)
def command(archive: Path | None, seconds: float, seed: int, symbols: str, feeds: str, faults: str) -> None:
    """Record the embedded exchange over loopback with faults on, then hold the archive against the truth.

    Exchange, recorder and sealer are processes of their own, as in real use. Exit code 1 if anything differs.
    """
    from bookreel.exchange.audit import audit

    if archive is not None and archive.exists() and any(archive.iterdir()):
        raise click.UsageError(f"{archive} is not empty: name a new folder")
    if seconds < SECONDS_LEAST:
        raise click.UsageError(
            f"{seconds:g} s are too few to compare anything: record for {SECONDS_LEAST} s or more"
        )
    if symbols == "all":
        from bookreel.exchange.listing import CATALOG

        symbols = ",".join(CATALOG)
    folder = Path(tempfile.mkdtemp(prefix="bookreel-demo-"))
    archive = archive or folder / "archive"
    truth, log = folder / "truth.ndjson", folder / "recorder.log"
    market = ["--symbols", symbols, "--faults", faults, "--seed", str(seed)]
    with _exchange(truth, market, seconds + END_SECONDS) as urls:
        click.echo(
            f"an exchange with faults runs on {urls[2]}; recording {symbols} from it for {seconds:g} s ..."
        )
        freshness = _record(archive, urls, ["--symbols", symbols, "--feeds", feeds], seconds, log)
    click.echo()
    _show_contents(archive)
    result = audit(archive, truth, seed=seed)
    _show_audit(result, freshness)
    symbol = symbols.split(",")[0]
    _show_answers(archive, symbol)
    click.echo(
        f"The archive lies in {archive} (the truth in {truth}, the recorder's log in {log}). Try next:"
    )
    click.echo(f"  bookreel info --archive {archive}")
    click.echo(f"  bookreel gaps --archive {archive}")
    click.echo(f"  bookreel verify --archive {archive}")
    click.echo(f"  bookreel sql --archive {archive} \"FROM coverage('{symbol}')\"")
    if not result.ok:
        for problem in result.problems[:20]:
            click.echo(f"WRONG: {problem}", err=True)
        click.get_current_context().exit(1)


@contextlib.contextmanager
def _exchange(truth: Path, market: list[str], seconds: float) -> Iterator[list[str]]:
    """Run an exchange, for so long at the most; yields its three URLs (ws, feed, rest)."""
    arguments = ["--port", "0", "--truth", str(truth), "--for", f"{seconds}s", *market]
    with _running("exchange", arguments, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None, "it is a pipe"
        word, *urls = process.stdout.readline().split() or [""]
        if word != "listening:":
            raise click.ClickException("the exchange did not start; why it did not is above")
        yield urls


@contextlib.contextmanager
def _running(command: str, arguments: list[str], **options: Any) -> Iterator[subprocess.Popen[Any]]:
    """A command of ours as a process; whatever happens, it is asked to end, once, and has ended afterwards."""
    # In a group of its own, so that Ctrl-C reaches it through us and not twice.
    words = [sys.executable, "-m", "bookreel.cli", command, *arguments]
    with subprocess.Popen(words, process_group=0, **options) as process:  # noqa: S603
        try:
            yield process
        finally:
            process.terminate()
            try:
                process.wait(END_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()


def _record(archive: Path, urls: list[str], streams: list[str], seconds: float, log: Path) -> float | None:
    """Run a recorder until it stops by itself; the age (s) of the newest row a query saw meanwhile."""
    from bookreel.cli.progress import Progress

    ws, feed, rest = urls
    arguments = ["--archive", str(archive), "--for", f"{seconds}s", *streams]
    arguments += ["--ws-url", ws, "--feed-url", feed, "--rest-url", rest]
    freshness = None
    steps = int(seconds * STEPS_PER_SECOND)
    with (
        log.open("wb") as sink,
        _running("record", arguments, stdout=sink, stderr=sink) as process,
        Progress("recording", steps) as progress,
    ):
        for step in range(steps):
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(1 / STEPS_PER_SECOND)
                break
            progress.advance()
            if step >= steps // 2 and freshness is None:
                freshness = _age(archive)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(END_SECONDS)
    if process.returncode:
        shutil.copyfileobj(log.open(), sys.stderr)
        raise click.ClickException("the recorder failed; its log is above")
    return freshness


def _age(archive: Path) -> float | None:
    from bookreel.cli.questions import answer
    from bookreel.replay import Archive

    if not (archive / "archive.json").exists():
        return None
    with Archive(archive) as opened:
        [(newest,)] = answer(opened, "SELECT epoch_ns(max(ts_recv)) FROM frames")
    return (time.time_ns() - newest) / 1e9 if newest else None


def _show_contents(archive: Path) -> None:
    from bookreel.cli.output import print_rows
    from bookreel.cli.questions import ask
    from bookreel.replay import Archive

    with Archive(archive) as opened:
        click.echo("Frames received, by feed:")
        print_rows(ask(opened, _FRAMES), "table")
        click.echo()


def _show_audit(result: Audit, freshness: float | None) -> None:
    inflicted = ", ".join(f"{count} {kind}" for kind, count in sorted(result.faults.items()))
    click.echo(f"Faults inflicted: {inflicted or 'none'}\n")
    lines = [
        (
            "books compared with the truth",
            f"{result.books_compared:,} by number, {result.books_as_of:,} by instant",
        ),
        ("books that differ", f"{result.books_wrong:,}"),
        ("gaps injected / found", f"{result.gaps_injected:,} / {result.gaps_found:,}"),
        ("gaps recorded / not explained", f"{result.gaps_recorded:,} / {result.gaps_unexplained:,}"),
        ("silences too late to be known", f"{result.silences_undecided:,}"),
        (
            "trades that happened",
            f"{result.trades_true:,}; {result.trades_missed:,} missed, {result.trades_in_gaps:,} lost in gaps, "
            f"{result.trades_recovered:,} recovered",
        ),
        (
            "trades recorded",
            f"{result.trades_recorded:,}; {result.trades_twice:,} twice, {result.trades_unknown:,} made up",
        ),
    ]
    if freshness is not None:
        lines.append(("newest row while recording", f"{freshness:.2f} s old"))
    for name, value in lines:
        click.echo(f"  {name:<32} {value}")
    click.echo(f"  {'verdict':<32} {'the archive is right' if result.ok else 'THE ARCHIVE IS WRONG'}\n")


def _show_answers(archive: Path, symbol: str) -> None:
    """Three questions in SQL, as a user would ask them."""
    from bookreel.cli.output import print_rows
    from bookreel.cli.questions import answer, ask
    from bookreel.replay import Archive

    with Archive(archive) as opened:
        [(newest,)] = answer(opened, "SELECT max(ts_recv)::VARCHAR FROM bbo WHERE symbol = ?", [symbol])
        last = f"TIMESTAMP_NS '{newest}'"
        for question, query in (
            ("Best bid and offer at the end", f"FROM bbo_at('{symbol}', {last})"),
            ("Bars of 5 s", f"FROM ohlcv('{symbol}', INTERVAL 5 SECONDS) ORDER BY 1 DESC LIMIT 4"),
            (
                "The book 5 s before",
                "SELECT side, level, price, size, valid "  # noqa: S608 - of values of ours
                f"FROM book_at('{symbol}', {last} - INTERVAL 5 SECONDS) WHERE level <= 3",
            ),
        ):
            click.echo(f"{question}: {query}")
            print_rows(ask(opened, query), "table")
            click.echo()
