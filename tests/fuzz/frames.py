"""Episodes of hostile frames: what is drawn, how it is checked, and what an episode found.

An episode is one recorder, fed for some thousands of frames. It is told by (seed, number) alone, so whatever it finds
is found again by the one command that :attr:`Finding.repeat` shows.
"""

from __future__ import annotations

import contextlib
import gc
import logging
import resource
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any, Final

import msgspec
import pyarrow.parquet as pq

from bookreel.book.sync import State
from bookreel.storage.disk import OsDisk
from bookreel.storage.manifest import Manifest
from bookreel.storage.schema import TABLES
from bookreel.storage.seal import seal
from bookreel.storage.verify import verify
from tests.fuzz.mutators import SCENES, TEXTS, WIRES, Draw, heavy, pack
from tests.fuzz.oracle import Violation, check_rows
from tests.fuzz.peer import BOOK_TOPICS, PLAIN_TOPICS
from tests.fuzz.target import DiscardDisk, Target

__all__ = ["HANG_NS", "Finding", "Outcome", "episode"]

HANG_NS: Final = 100_000_000
"""CPU time of one frame that is too long."""

FRAMES: Final = 4_000
"""Spoiled frames of an episode."""

_SEAL_EVERY: Final = 100
"""One episode of so many goes on to Parquet and is read back."""

_GARBAGE: Final = 20_000
"""Objects between two looks for cycles: most of what a frame is made into goes by its count of references."""

_HEAVY: Final = 1 / 12_000
_RIGHT: Final = 0.2
"""Share of frames that are right: books become live by them."""

_text, _wire, _scene = Draw(TEXTS), Draw(WIRES), Draw(SCENES)

_EXPECTED: Final = frozenset({"bbo", "trades"})
"""What `verify` may say of a hostile venue's rows: neither its quotes nor its answers are its book."""


class Finding(msgspec.Struct, frozen=True):
    """Something that must not be. ``kind``: crash, hang, invalid book."""

    kind: str
    mutator: str
    what: str
    repeat: str


class Outcome(msgspec.Struct):
    """What an episode did."""

    spoiled: int = 0
    right: int = 0
    sealed: int = 0
    rows: int = 0
    downs: int = 0
    adopted: int = 0
    applied: int = 0
    slowest_ns: int = 0
    slowest: str = ""
    slow_once: int = 0
    peak_mib: int = 0
    cpu_ns: int = 0
    mutators: Counter[str] = msgspec.field(default_factory=Counter)
    counts: Counter[str] = msgspec.field(default_factory=Counter)
    findings: list[Finding] = []


def episode(seed: int, number: int, frames: int | None = None) -> Outcome:
    """Run one episode. Never raises for what it finds."""
    sealing = number % _SEAL_EVERY == 0
    count = frames or FRAMES
    outcome = Outcome()
    begun = time.process_time_ns()
    with _undisturbed():
        if not sealing:
            _run(Path("/nowhere"), DiscardDisk(), seed, number, count, outcome)
        else:
            with tempfile.TemporaryDirectory(prefix="bookreel-fuzz-") as folder:
                _run(Path(folder) / "archive", OsDisk(), seed, number, count, outcome)
    outcome.cpu_ns = time.process_time_ns() - begun
    outcome.peak_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    return outcome


@contextlib.contextmanager
def _undisturbed() -> Iterator[None]:
    """Spend no time on warnings, which every other frame is worth and nobody reads, and little on garbage."""
    logger = logging.getLogger("bookreel")
    logged, passed_on, collected = logger.level, logger.propagate, gc.get_threshold()
    logger.setLevel(logging.ERROR)
    logger.propagate = False
    gc.set_threshold(_GARBAGE, *collected[1:])
    try:
        yield
    finally:
        logger.setLevel(logged)
        logger.propagate = passed_on
        gc.set_threshold(*collected)


def _run(path: Path, disk: Any, seed: int, number: int, count: int, outcome: Outcome) -> None:
    rng = Random(f"{seed}/{number}")
    repeat = f"python -m tests.fuzz --seed {seed} --episode {number}" + (
        "" if count == FRAMES else f" --frames {count}"
    )
    target = Target(path, disk, rng)
    name = "the beginning"
    try:
        while outcome.spoiled < count:
            name, payload, said = _next(target, outcome)
            took = target.receive(payload, said)
            if took > HANG_NS // 2:
                _look_again(target, payload, took, name, repeat, outcome)
            if took > outcome.slowest_ns:
                outcome.slowest_ns, outcome.slowest = took, name
            target.pass_time(rng.random() * 20)
            if not target.frames % 64:
                target.check()
            if not target.frames % 1024:
                target.pump()
                target.check_rows()
        name = "the end"
        target.check()
        target.check_rows()
        target.close()
        if disk is not None and isinstance(disk, OsDisk):
            _seal(path, target, outcome)
    except Exception as error:
        kind = "invalid book" if isinstance(error, Violation) else "crash"
        where = traceback.extract_tb((error.__cause__ or error).__traceback__)[-1]
        words = f"{error!r} at {Path(where.filename).name}:{where.lineno}"
        if error.__cause__ is not None:
            words += f" of {error.__cause__!r}"
        outcome.findings.append(Finding(kind, name, f"frame {target.frames}: {words[:600]}", repeat))
    outcome.rows += target.rows
    outcome.downs += target.downs
    outcome.counts.update(target.normalizer.counts)
    for oracle in target.oracles.values():
        outcome.adopted += oracle.adopted
        outcome.applied += oracle.applied


def _next(target: Target, outcome: Outcome) -> tuple[str, bytes | str, bytes | None]:
    """How the next frame was made, the frame, and the text in it."""
    rng, peer = target.rng, target.peer
    chance = rng.random()
    if chance < _RIGHT:
        outcome.right += 1
        text = _right(target)
        return "right", pack(text), text
    outcome.spoiled += 1
    if chance < _RIGHT + _HEAVY:
        table = heavy()
        name = list(table)[int(rng.random() * len(table))]
        outcome.mutators[name] += 1
        return name, table[name], None
    if chance < 0.4:
        name, scene = _scene(rng)
        text = scene(peer, target.live, rng)
        outcome.mutators[name] += 1
        return name, pack(text), text
    text = _right(target, keep=True)
    if chance < 0.6:
        name, carry = _wire(rng)
        outcome.mutators[name] += 1
        return name, carry(text, rng), text
    name, spoil = _text(rng)
    text = spoil(text, rng)
    if chance > 0.95:
        further, spoil = _text(rng)
        text = spoil(text, rng)
        name = f"{name}, {further}"
    else:
        outcome.mutators[name] += 1
    return name, pack(text), text


def _right(target: Target, *, keep: bool = False) -> bytes:
    """A right frame; with ``keep`` one to be spoiled, so that no answer is lost by it."""
    rng, peer = target.rng, target.peer
    if peer.due and not keep:
        return peer.due.popleft()
    chance = rng.random()
    if chance < 0.55:
        topic = BOOK_TOPICS[chance < 0.15]
        prev = target.live[topic]
        if prev is not None and abs(prev) > 2**60:
            prev = None
        before = peer.seq[topic]
        text = peer.delta(topic, before if prev is None else prev)
        if keep:
            peer.seq[topic] = before
        return text
    if chance < 0.8:
        return peer.push(PLAIN_TOPICS[int(rng.random() * len(PLAIN_TOPICS))])
    if chance < 0.82:
        return peer.heartbeat()
    return _resync(target, BOOK_TOPICS[rng.random() < 0.5])


def _resync(target: Target, topic: bytes) -> bytes:
    """What makes a book live, wherever it stands: its acknowledgement, then a snapshot that joins."""
    sync = target.sync(topic)
    if sync.state is State.IDLE:
        return target.peer.ack(topic, b"line-0.1.9")
    at = target.live[topic] or target.peer.seq[topic]
    if sync.buffer:
        at = target.peer.seq[topic] = sync.buffer[-1].delta.seq
    elif not sync.valid and sync.last_seq is not None and abs(sync.last_seq) < 2**60:
        at = target.peer.seq[topic] = max(at, sync.last_seq)
    return target.peer.reply(topic, b"line-0.1.9", at)


def _look_again(
    target: Target, payload: bytes | str, took: int, name: str, repeat: str, outcome: Outcome
) -> None:
    """A frame took long: once more, without what the collector of garbage had to do just then."""
    gc.collect()
    again = target.receive(payload)
    if min(took, again) > HANG_NS:
        text = f"frame {target.frames}: {took / 1e6:.0f} ms and {again / 1e6:.0f} ms of CPU"
        outcome.findings.append(Finding("hang", name, text, repeat))
    elif took > HANG_NS:
        outcome.slow_once += 1


def _seal(path: Path, target: Target, outcome: Outcome) -> None:
    """On to Parquet, and back. Raises :class:`Violation`."""
    seal(path)
    outcome.sealed += 1
    report = verify(path)
    wrong = [
        problem
        for problem in report.problems
        if problem.kind not in _EXPECTED and "the refresh at" not in problem.text
    ]
    if wrong:
        raise Violation(f"verify: {wrong[0].kind}: {wrong[0].where}: {wrong[0].text}")
    manifest = Manifest.load(path)
    tables = {}
    for table, schema in TABLES.items():
        files = [path / entry.path for entry in manifest.files(table)]
        tables[table] = (
            pq.read_table(files, schema=schema, partitioning=None) if files else schema.empty_table()
        )
    check_rows(tables)
    stored = sum(table.num_rows for table in tables.values())
    received = sum(direction == "in" for direction in tables["frames"]["direction"].to_pylist())
    if received != target.frames:
        raise Violation(f"{target.frames} frames came, {received} are in Parquet")
    if stored < target.frames:
        raise Violation(f"{stored} rows of {target.frames} frames")
