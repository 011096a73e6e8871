from __future__ import annotations

from pathlib import Path
from random import Random

import pytest

from bookreel.book.model import Delta
from bookreel.book.sync import BookSync
from tests.fuzz import corpus
from tests.fuzz.frames import episode
from tests.fuzz.mutators import heavy, pack
from tests.fuzz.oracle import BookOracle, Violation
from tests.fuzz.peer import BOOK_TOPICS
from tests.fuzz.target import DiscardDisk, Target

CORPUS = corpus.load()

DEAREST = 15
"""Times the cost of the largest right frame, which is 3.7 ms where 100 ms are a hang."""


@pytest.fixture
def target() -> Target:
    """A recorder whose books are live at 1000."""
    made = Target(Path("/nowhere"), DiscardDisk(), Random(1))
    for topic in BOOK_TOPICS:
        made.receive(pack(made.peer.ack(topic, b"1")))
        made.receive(pack(made.peer.reply(topic, b"2", 1000)))
        assert made.live[topic] == 1000
    return made


@pytest.mark.parametrize("number", range(1, 7))
def test_an_episode_finds_nothing(number: int) -> None:
    outcome = episode(7, number, 2500)
    assert outcome.findings == []
    assert outcome.spoiled == 2500 and outcome.adopted > 5 and outcome.applied > 20
    assert len(outcome.mutators) > 40


@pytest.mark.parametrize(
    ("number", "frames"),
    [
        pytest.param(868, 200, id="a number that two deltas lead to, one of them too early"),
        pytest.param(2358, 400, id="5,000 digits in a field that nobody reads"),
    ],
)
def test_an_episode_that_the_oracle_misjudged(number: int, frames: int) -> None:
    assert episode(1, number, frames).findings == []


def test_an_episode_down_to_parquet_and_back() -> None:
    outcome = episode(7, 0, 2500)
    assert outcome.findings == [] and outcome.sealed == 1


@pytest.mark.parametrize("name", CORPUS)
def test_a_kept_frame(target: Target, name: str) -> None:
    said = target.peer.delta_of(BOOK_TOPICS[0], 1000, 1003, b"[99,1]", b"[101,1]")
    for _ in range(2):
        target.receive(CORPUS[name], said)
        target.pass_time(150)
    for topic in BOOK_TOPICS:
        live = target.live[topic]
        if live is not None and live < 2**60:
            target.receive(pack(target.peer.delta(topic, live)))
    target.check()
    target.check_rows()


@pytest.mark.parametrize("name", heavy())
def test_a_large_frame_costs_little_more_than_a_right_one(target: Target, name: str) -> None:
    # CPU time in units of the largest right frame's, taken in turns: what else runs here slows both.
    frame, right = heavy()[name], heavy()["heavy: levels that fit"]
    costs = [(target.receive(frame), target.receive(right)) for _ in range(4)]
    assert min(took for took, _ in costs) < DEAREST * min(took for _, took in costs)
    target.check()
    target.check_rows()


def test_the_oracle_sees_what_is_wrong() -> None:
    sync = BookSync("btcusdt", "mbp.150")
    oracle = BookOracle("market.btcusdt.mbp.150", sync)
    target = Target(Path("/nowhere"), DiscardDisk(), Random(1))
    text = target.peer.reply(BOOK_TOPICS[0], b"1", 7)
    message = target.venue.decode(text)
    sync.snapshot(message.events[0], 1, 1)  # type: ignore[union-attr, arg-type]
    oracle.after((pack(text), text))
    sync.book.apply(Delta("btcusdt", "mbp.150", 0, 9, 8, [(50.0, 1.0)], []))
    with pytest.raises(Violation, match="the bids are not"):
        oracle.check()
    sync.last_seq = 9
    with pytest.raises(Violation, match="no delta"):
        oracle.after((pack(b"{}"), b"{}"))
