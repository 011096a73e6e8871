"""Processes that read are forked of one that has the tail: they are replaced, follow, and end with the server."""

from __future__ import annotations

import contextlib
import http.client
import os
import resource
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from bookreel.replay.server import Settings
from tests.replay.server.serving import Site, serving

Record = Callable[[], Any]

COUNT = "SELECT count(*) AS n FROM trades"
ENDLESS = "SELECT count(*) FROM range(100000000000) a, range(1000000) b"

pytestmark = pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="processes are found by /proc")


def children(pid: int) -> set[int]:
    try:
        tasks = [*Path(f"/proc/{pid}/task").iterdir()]
        return {int(child) for task in tasks for child in (task / "children").read_text().split()}
    except FileNotFoundError:
        return set()


def is_there(pid: int) -> bool:
    """Whether it runs: one that has ended, and that nobody asked about yet, does not."""
    try:
        ended = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
        return not ended or len([*Path(f"/proc/{pid}/task").iterdir()]) > 1
    except (FileNotFoundError, ProcessLookupError):
        return False


class Family:
    """The processes of the server that began since this was made."""

    def __init__(self) -> None:
        self._others = children(os.getpid())

    @property
    def stem(self) -> int:
        (found,) = (pid for pid in children(os.getpid()) - self._others if is_there(pid))
        return found

    @property
    def sql(self) -> int:
        (found,) = (
            pid
            for pid in children(self.stem)
            if is_there(pid) and resource.prlimit(pid, resource.RLIMIT_FSIZE) == (0, 0)
        )
        return found

    def all(self) -> set[int]:
        return {self.stem, *children(self.stem)}


def kill(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)
    while is_there(pid):
        os.sched_yield()


@pytest.fixture
def recording(record: Record) -> Any:
    """Two trades, sealed, and one that is not."""
    made = record()
    made.connect(1, "market.btcusdt.trade.detail", conn="ws-0")
    made.trade(2, 1, 100.0)
    made.trade(3, 2, 100.0)
    made.rotate()
    made.seal()
    made.trade(4, 3, 100.0)
    made.flush()
    return made


@pytest.fixture
def family() -> Family:
    return Family()


@pytest.fixture
def site(recording: Any, family: Family) -> Iterator[Site]:
    with serving(recording.path, Settings(workers=1, sql=True)) as running:
        yield running


class Endless(Thread):
    """A statement that is under way once this is made."""

    def __init__(self, site: Site) -> None:
        super().__init__()
        self.reply: Any = None
        self._site = site
        self.start()
        while site.get("/v1/sql", q=COUNT).status != 429:
            pass

    def run(self) -> None:
        with contextlib.suppress(http.client.HTTPException, OSError):
            while (reply := self._site.get("/v1/sql", q=ENDLESS)).status == 429:
                pass
            self.reply = reply


def trades(site: Site) -> int:
    row, _ = site.get("/v1/sql", q=COUNT).lines()
    count: int = row["n"]
    return count


def test_a_statement_that_is_killed_costs_the_next_one_a_fork(site: Site, family: Family) -> None:
    stem, killed = family.stem, family.sql
    statement = Endless(site)
    kill(killed)
    statement.join(60)
    assert (statement.reply.status, statement.reply.json()["error"]) == (400, "over_limit")
    assert trades(site) == 3
    assert family.stem == stem and family.sql != killed


def test_what_is_forked_later_has_what_came_meanwhile(site: Site, family: Family, recording: Any) -> None:
    assert trades(site) == 3
    recording.rotate()
    recording.seal()
    recording.trade(5, 4, 100.0)
    recording.flush()
    assert trades(site) == 4
    kill(family.sql)
    recording.trade(6, 5, 100.0)
    recording.flush()
    assert trades(site) == 5
    assert site.get("/v1/count", table="trades").json()["rows"] == 5


def test_without_the_process_they_are_forked_of(
    site: Site, family: Family, caplog: pytest.LogCaptureFixture
) -> None:
    stem, sql = family.stem, family.sql
    kill(stem)
    assert trades(site) == 3  # those that are there go on
    kill(sql)
    assert trades(site) == 3
    assert family.stem != stem
    assert "the process that others are forked of ended with code -9" in caplog.text


def test_none_is_left(recording: Any, family: Family) -> None:
    with serving(recording.path, Settings(workers=2, sql=True)) as site:
        statement = Endless(site)
        there = family.all()
        assert len(there) == 4
    statement.join(60)
    assert not [pid for pid in there if is_there(pid)]


PATHS = (
    "/v1/symbols",
    "/v1/coverage?symbol=btcusdt",
    "/v1/count?table=trades",
    "/v1/trades",
    "/v1/trades?format=csv",
    "/v1/book?symbol=btcusdt",
    "/v1/bars?symbol=btcusdt",
    "/v1/replay?symbols=btcusdt",
    "/v1/sql?q=SELECT+1",
)


def test_an_archive_that_is_gone_is_not_an_empty_one(site: Site, recording: Any) -> None:
    recording.journal.close()
    shutil.rmtree(recording.path)
    for path in PATHS:
        reply = site.get(path)
        assert (reply.status, reply.json()["error"]) == (500, "unreadable"), path
        assert "not an archive" in reply.json()["message"]
    assert site.get("/health-check").status == 200


def test_another_archive_in_its_place_is_not_taken_for_it(site: Site, recording: Any, record: Record) -> None:
    other = record()
    other.flush()
    recording.journal.close()
    shutil.rmtree(recording.path)
    shutil.copytree(other.path, recording.path)
    for path in PATHS:
        reply = site.get(path)
        assert (reply.status, reply.json()["error"]) == (500, "unreadable"), path


def test_a_manifest_that_is_switched_is_told(site: Site, family: Family, recording: Any) -> None:
    recording.journal.close()
    for path in (recording.path / "manifest").iterdir():
        path.write_bytes(b'{"gar')
    reply = site.get("/v1/trades")
    assert reply.status == 500 and "manifest" in reply.json()["message"]
    kill(family.sql)
    assert trades(site) == 3  # of those that have read it before
