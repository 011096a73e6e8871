"""What a recorder makes of the replay of a gateway's archive is the archive again."""

from __future__ import annotations

from pathlib import Path

import pytest

from bookreel.exchange.futu import GatewayServer
from bookreel.ingest.futu.recorder import GatewayRecorder
from bookreel.replay import Archive
from tests.exchange.futu.again import (
    SYMBOLS,
    again,
    assert_equal,
    pushed,
    pushes,
    record_gateway,
    rows,
    until,
)

_FAULTS = (
    *("bad_base64", "zero_time", "lag", "login_loss", "cached", "disconnect", "backfill", "truncated"),
    *("restart", "breaker", "forgotten"),
)
_POLLS = [{"endpoint": "ticker", "each": True, "every_s": 0.3, "fields": {"count": 1000}}]
"""What a slow reader loses of the trades is polled."""


@pytest.fixture(scope="module")
def calm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Some hundred pushes of a gateway where nothing goes wrong."""
    path = tmp_path_factory.mktemp("calm") / "archive"

    async def scenario(server: GatewayServer, recorder: GatewayRecorder) -> None:
        await pushed(recorder, 600)

    record_gateway(path, scenario)
    return path


@pytest.fixture(scope="module")
def faulty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A gateway with a fault of every kind that the recorder meets, one after the other."""
    path = tmp_path_factory.mktemp("faulty") / "archive"

    async def scenario(server: GatewayServer, recorder: GatewayRecorder) -> None:
        await pushed(recorder, 100)
        for kind in _FAULTS:
            await until(lambda kind=kind: server.gateway.inflict(kind))
            await pushed(recorder, 60)
        await until(lambda: all(kind in server.inflicted for kind in _FAULTS))
        await pushed(recorder, 60)

    record_gateway(path, scenario, poll=_POLLS)
    return path


@pytest.mark.parametrize("speed", [10.0, None])
def test_recorded_again_it_is_the_same(calm: Path, tmp_path: Path, speed: float | None) -> None:
    again(calm, tmp_path / "b", speed=speed)
    assert all(assert_equal(calm, tmp_path / "b").values())
    before, after = pushes(calm), pushes(tmp_path / "b")
    assert before == after


def test_with_faults_recorded_again_it_is_the_same(faulty: Path, tmp_path: Path) -> None:
    """Holes that the venue does not show: pushes go on after them, and trades that came late come when they came."""
    again(faulty, tmp_path / "b", speed=None)
    assert all(assert_equal(faulty, tmp_path / "b").values())
    unread = [text for _, text in pushes(faulty) if isinstance(text, str)]
    assert (
        len(unread) >= 2 and [text for _, text in pushes(tmp_path / "b") if isinstance(text, str)] == unread
    )


def test_holes_that_end_the_connection(faulty: Path, tmp_path: Path) -> None:
    """Nothing is lost: the replay waits for who was cut off, and what was cached is given once more."""
    again(faulty, tmp_path / "b", speed=None, gaps="disconnect")
    before, after = (
        rows(faulty, ("origin", "ts_event", "ts_gateway")),
        rows(tmp_path / "b", ("origin", "ts_event", "ts_gateway")),
    )
    for table, found in before.items():
        assert not found.keys() - after[table].keys(), table
    assert before["trades"] == after["trades"]
    with Archive(tmp_path / "b") as archive:
        [(ended,)] = archive.sql("SELECT count(*) FROM sessions WHERE event = 'disconnect'").fetchall()
        late = archive.sql("SELECT DISTINCT symbol FROM gaps WHERE cause = 'disconnect'").fetchall()
    assert ended >= 4 and {symbol for (symbol,) in late} == set(SYMBOLS)
