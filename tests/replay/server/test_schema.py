"""The OpenAPI document is true: a fuzzer that believes it finds no answer that it does not describe, and a recorder
beside the server loses nothing meanwhile.

It needs schemathesis, which is in the ``schema`` extra, and takes minutes; without it this is skipped.
"""

from __future__ import annotations

import asyncio
import importlib
import json
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from random import Random
from typing import Any, Final

import pytest
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st

from bookreel.replay import Archive
from bookreel.storage.errors import StorageError
from tests.documents import COMMAND, ROOT
from tests.replay.server.corpus import Corpus, ask_all

schemathesis: Any = pytest.importorskip("schemathesis")
requests: Any = pytest.importorskip("requests")

pytestmark = [pytest.mark.schema, pytest.mark.timeout(3_600)]

ROUNDS: Final = 4
EXAMPLES: Final = 60
"""Of each operation in a round, twice: of values that its schema allows, and of others."""

PIECES: Final = 13
PIECE: Final = 7_000
"""Requests of a seed of the corpus; all of them, and those that are made of the document, are above 100,000."""

SYMBOLS: Final = ("btcusdt", "ethusdt")
TIMEOUT_S: Final = 60

UNENDING: Final = {"follow", "speed"}
OF_AN_ARCHIVE: Final = {"cursor", "after", "feed", "feeds", "period"}
"""Parameters of which a value that its schema allows is hardly ever one that is known."""

FIGURES: Final = ROOT / "build" / "reliability" / "schema.json"


@contextmanager
def process(*words: str) -> Iterator[subprocess.Popen[str]]:
    """A command of ours, told to end at the end."""
    with subprocess.Popen([*COMMAND, *words], stdout=subprocess.PIPE, text=True) as running:
        try:
            yield running
        finally:
            running.send_signal(signal.SIGINT)
            running.wait(60)


def said(running: subprocess.Popen[str]) -> list[str]:
    assert running.stdout is not None
    return running.stdout.readline().split()


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("schema") / "archive"


@pytest.fixture(scope="module")
def url(archive: Path) -> Iterator[str]:
    """A server of an archive that is being recorded; at the end it must be whole."""
    with ExitStack() as running:
        exchange = running.enter_context(
            process("exchange", "--port", "0", "--symbols", ",".join(SYMBOLS), "--rate", "200")
        )
        _, ws, feed, rest = said(exchange)
        urls = ["--ws-url", ws, "--feed-url", feed, "--rest-url", rest]
        choice = ["--symbols", ",".join(SYMBOLS), "--feeds", "mbp.150,bbo,trade,kline.1min,detail"]
        with process("record", "--archive", str(archive), *choice, *urls) as recorder:
            recorded(archive)
            with process("serve", "--archive", str(archive), "--port", "0", "--enable-sql") as server:
                yield said(server)[1]
            assert recorder.poll() is None
        assert recorder.returncode == 0
    whole(archive)


def recorded(archive: Path) -> None:
    """Wait until there is something of every symbol."""
    for _ in range(600):
        try:
            with Archive(archive) as opened:
                if set(SYMBOLS) <= set(opened.symbols()) and opened.sql("FROM trades LIMIT 1").fetchall():
                    return
        except (StorageError, OSError):
            pass
        time.sleep(0.1)
    raise AssertionError("nothing was recorded")


def whole(archive: Path) -> None:
    """No gap, no number that is missing between two trades, and no damage."""
    query = "SELECT count(*), max(trade_seq) - min(trade_seq) + 1 FROM trades GROUP BY symbol"
    with Archive(archive) as opened:
        assert opened.sql("SELECT count(*) FROM gaps").fetchall() == [(0,)]
        for count, numbers in opened.sql(query).fetchall():
            assert count == numbers
        frames = opened.sql("SELECT count(*) FROM frames").fetchall()[0][0]
    subprocess.run([*COMMAND, "verify", "--archive", archive], check=True, capture_output=True, timeout=300)
    note(f"frames {time.time_ns()}", {"frames recorded beside it": frames, "frames lost": 0})


def note(part: str, figures: Mapping[str, int]) -> None:
    """Keep the figures of a part, and all of them together: parts may be run one by one."""
    folder = FIGURES.with_suffix("")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{part}.json").write_text(json.dumps(figures, indent=1))
    total: Counter[str] = Counter()
    for path in folder.glob("*.json"):
        for name, value in json.loads(path.read_text()).items():
            total[name] = max(total[name], value) if name == "slowest ms" else total[name] + value
    FIGURES.write_text(json.dumps(total, indent=1))


def bounded(query: dict[str, Any], takes: set[str], *, known: bool) -> dict[str, Any]:
    """What would never end is left away; ``known``: of what is recorded, and a page of it."""
    left = UNENDING | (OF_AN_ARCHIVE if known else set())
    query = {key: value for key, value in query.items() if key not in left}
    if known:
        query |= {key: SYMBOLS[0] for key in ("symbol", "symbols") if key in takes}
        query |= {"limit": "20"} if "limit" in takes else {}
    return query


def fuzzed(url: str, operation: Any, mode: Any, round_: int, found: Counter[str]) -> None:
    """Ask one operation often; ``found`` counts statuses."""
    checks = importlib.import_module("schemathesis.specs.openapi.checks")
    described = [
        checks.status_code_conformance,
        checks.content_type_conformance,
        checks.response_schema_conformance,
    ]
    takes = {parameter.name for parameter in operation.query}
    session = requests.Session()

    @seed(round_)
    @settings(max_examples=EXAMPLES, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(case=operation.as_strategy(generation_mode=mode), known=st.booleans())
    def run(case: Any, known: bool) -> None:
        case.query = bounded(dict(case.query or {}), takes, known=known)
        response = case.call(base_url=url, session=session, timeout=TIMEOUT_S)
        found["requests"] += 1
        found[f"answers of {response.status_code}"] += 1
        found["slowest ms"] = max(found["slowest ms"], round(response.elapsed * 1_000))
        assert response.status_code < 500, response.text
        case.validate_response(response, checks=described)

    run()


@pytest.mark.parametrize("round_", range(ROUNDS))
def test_every_answer_is_as_it_is_described(url: str, round_: int) -> None:
    results = schemathesis.openapi.from_url(f"{url}/v1/openapi.json").get_all_operations()
    operations = [
        operation for operation in (result.ok() for result in results) if operation.path[:4] != "/ws-"
    ]
    found: Counter[str] = Counter()
    for operation in operations:
        modes = list(schemathesis.GenerationMode)
        if not operation.query:  # nothing of it can be wrong
            modes.remove(schemathesis.GenerationMode.NEGATIVE)
        for mode in modes:
            fuzzed(url, operation, mode, round_, found)
    note(f"document {round_}", found)
    assert found["requests"] >= len(operations) * EXAMPLES
    assert found["answers of 200"] > 200


@pytest.mark.parametrize("number", range(PIECES))
def test_nothing_that_is_sent_fails_or_escapes(url: str, archive: Path, number: int) -> None:
    secret = archive.parent / "beside.csv"
    secret.write_text("a,b\nnobody-may-read-this,2\n")
    beside = {path.name for path in archive.parent.iterdir()} | {path.name for path in archive.iterdir()}
    port = int(url.rpartition(":")[2])
    with Archive(archive) as opened:
        events = opened.events(tables="trades")
        first = next(events)
        known = [*SYMBOLS, events.token, str(first.ts_recv), "mbp.150", "trade", "bbo", "1min", "1s", "now"]
    corpus = Corpus(Random(number), known)
    found = asyncio.run(ask_all(port, corpus, PIECE, [b"nobody-may-read-this"]))
    note(f"corpus {number}", found)
    assert found["answers of 200"] > PIECE // 20, found
    assert {path.name for path in archive.parent.iterdir()} | {
        path.name for path in archive.iterdir()
    } <= beside
    assert not list(Path("/tmp").glob("bookreel-escape*"))
    # Those who left on the way are noticed when they are sent the next piece.
    for _ in range(300):
        if requests.get(f"{url}/health-check", timeout=TIMEOUT_S).json()["streams"] == 0:
            return
        time.sleep(0.1)
    raise AssertionError("an answer that nobody reads is still under way")
