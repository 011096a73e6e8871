"""A recording with every fault, held against the gateway's truth."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bookreel.exchange.futu import FAULT_KINDS, GatewayServer
from bookreel.exchange.futu.audit import GatewayAudit, audit_gateway
from bookreel.ingest.futu.recorder import GatewayRecorder
from bookreel.replay import Archive
from tests.ingest.futu.conftest import pushed, until

Recorded = Callable[..., Archive]

FEEDS = ["orderbook", "ticker", "quote", "kline.1min"]
POLL = [{"endpoint": "ticker", "each": True, "every_s": 0.5, "fields": {"count": 1000}}]


async def every_fault(server: GatewayServer, recorder: GatewayRecorder) -> None:
    line = recorder.lines
    await pushed(recorder)
    await asyncio.sleep(0.5)  # what happens just after the beginning is not compared
    for kind in FAULT_KINDS:
        if server.gateway.inflict(kind):
            await asyncio.sleep(0.35)
        await until(lambda: not server.gateway.down and server.gateway.pusher.quiet is None)
        await until(lambda: len(line[0].stats.acked) == 8)
        await pushed(recorder)
    await asyncio.sleep(0.8)


def held(recorded: Recorded, tmp_path: Path, **settings: Any) -> GatewayAudit:
    truth = tmp_path / "truth.nd"
    recorded(every_fault, gateway={"truth": truth}, feeds=FEEDS, **settings).close()
    return audit_gateway(tmp_path / "archive", truth)


def test_every_hole_is_known_and_everything_else_is_true(recorded: Recorded, tmp_path: Path) -> None:
    result = held(recorded, tmp_path, poll=POLL)
    assert result.good, (result.problems, result.examples)
    for compared in ("trades", "books", "pushes", "kept back"):
        assert result.counts[f"{compared} compared"] > 0, (compared, result.counts)
    assert result.counts["pushes in gaps"] and result.counts["pushes unknowable"]
    assert not result.counts["trades unknowable"], "a slow reader's trades were polled"


def test_an_archive_that_claims_too_much_is_found_out(
    recorded: Recorded, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from bookreel.ingest.futu import line

    monkeypatch.setattr(line.PushLine, "_silent", lambda self, why, since, lost=None: None)
    truth = tmp_path / "truth.nd"

    async def hush(server: GatewayServer, recorder: GatewayRecorder) -> None:
        await pushed(recorder)
        await asyncio.sleep(0.5)
        server.gateway.inflict("breaker")
        await until(lambda: server.gateway.pusher.quiet is None)
        await pushed(recorder)
        await asyncio.sleep(0.4)

    recorded(hush, gateway={"truth": truth}, feeds=FEEDS).close()
    result = audit_gateway(tmp_path / "archive", truth)
    assert result.problems["kept back outside gaps"] and not result.good
