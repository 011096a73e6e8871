"""The gateway's exchange and the recorder, as commands beside each other, and the archive held against the truth."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Final

import msgspec

from bookreel.exchange.futu.audit import GatewayAudit, audit_gateway
from bookreel.exchange.futu.listing import CATALOG
from bookreel.exchange.futu.truth import TruthFault, read_truth
from bookreel.replay import Archive
from bookreel.storage.verify import verify

__all__ = ["FAULTS", "FEEDS", "Outcome", "hold"]

FEEDS: Final = ("orderbook", "ticker", "quote", "broker", "rt", "kline.1min")

FAULTS: Final = (
    "lag=4,disconnect=2,restart=2,login_loss=2,breaker=2,forgotten=3,backfill=2,cached=3,zero_time=3,"
    "bad_base64=2,truncated=2,bad_code=2"
)
"""Every kind, so often (a minute) that three minutes have each."""

_END_S: Final = 120.0
"""Within this time after its last second a recorder has sealed, on a busy machine too."""


class Outcome(msgspec.Struct, frozen=True):
    """What a recording came to. ``wrong``: sentences, none if all is well."""

    frames: int
    inflicted: dict[str, int]
    gaps: dict[str, int]
    open_gaps: int
    audit: GatewayAudit
    wrong: list[str]


def hold(folder: Path, symbols: int, seconds: float, seed: int, faults: str) -> Outcome:
    """Record so many securities for so long into a folder that exists, and compare."""
    names = list(CATALOG)[:symbols]
    truth, archive = folder / "truth.ndjson", folder / "archive"
    words = ["--symbols", ",".join(names), "--seed", str(seed), "--faults", faults, "--truth", str(truth)]
    exchange = subprocess.Popen(
        _command("exchange", "--venue", "futu", "--port", "0", *words), stdout=subprocess.PIPE, text=True
    )
    try:
        assert exchange.stdout is not None
        _, ws_url, rest_url = exchange.stdout.readline().split()
        settings = folder / "recorder.toml"
        settings.write_text(_settings(names, archive, ws_url, rest_url), encoding="utf-8")
        recorder = subprocess.run(
            _command("record", str(settings), "--for", f"{seconds}s"),
            capture_output=True,
            text=True,
            timeout=seconds + _END_S,
        )
    finally:
        exchange.terminate()
        exchange.communicate()
    wrong = [] if recorder.returncode == 0 else [f"the recorder ended with {recorder.returncode}"]
    inflicted = Counter(record.kind for record in read_truth(truth) if isinstance(record, TruthFault))
    audit = audit_gateway(archive, truth)
    wrong += audit.examples
    wrong += [f"verify: {problem.where}: {problem.text}" for problem in verify(archive).problems]
    with Archive(archive) as opened:
        [(frames,)] = opened.sql(
            "SELECT count(*) FROM frames WHERE conn = 'push-0' AND direction = 'in'"
        ).fetchall()
        gaps = dict(opened.sql("SELECT cause, count(*) FROM gaps GROUP BY ALL ORDER BY 1").fetchall())
        [(still_open,)] = opened.sql('SELECT count(*) FROM gaps WHERE "end" IS NULL').fetchall()
    return Outcome(frames, dict(sorted(inflicted.items())), gaps, still_open, audit, wrong)


def _command(*words: str) -> list[str]:
    return [sys.executable, "-m", "bookreel.cli", *words]


def _settings(symbols: list[str], archive: Path, ws_url: str, rest_url: str) -> str:
    """What a slow reader loses of the trades is polled."""
    lines = {
        "venue": "futu",
        "symbols": symbols,
        "feeds": list(FEEDS),
        "archive": str(archive),
        "ws_url": ws_url,
        "rest_url": rest_url,
    }
    poll = {"endpoint": "ticker", "each": True, "every_s": 20}
    told = [f"{name} = {json.dumps(value)}" for name, value in lines.items()]
    told += ["[[poll]]", *(f"{name} = {json.dumps(value)}" for name, value in poll.items())]
    return "\n".join([*told, "fields = { count = 1000 }", ""])
