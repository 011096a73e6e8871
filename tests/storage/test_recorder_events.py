"""What each of the recorder's events does to the streams; that rows follow is in test_normalize.py."""

from __future__ import annotations

from typing import Any

import pytest

from bookreel.book.model import Gap
from bookreel.storage.record import Direction, Kind, Record
from bookreel.storage.recorder_events import is_of_opening, is_set_back, tell
from bookreel.storage.streams import Streams
from bookreel.venues.message import Topic

BBO = Topic("market.btcusdt.bbo", "btcusdt", "bbo", "unsequenced")
HEARD = 100


@pytest.fixture
def streams() -> Streams:
    """One plain stream, last heard at 100, on a line of which something was heard at 120."""
    streams = Streams(lambda gap, pos, ts: None, lambda symbol: True)
    line = streams.line("ws-0", 1, 50)
    streams.subscribed(BBO, line, 5, 50)
    streams.find(BBO).pace.last_ts = HEARD
    line.last_ts = line.good_ts = 120
    return streams


def happened(streams: Streams, name: str, facts: dict[str, Any]) -> None:
    tell(streams, name, facts, Record(9, 130, 130, "ws-0", 1, Direction.INTERNAL, Kind.EVENT, b""), 125)


def hole(streams: Streams) -> tuple[str, int] | None:
    gaps: list[Gap] = streams.open_gaps()
    assert len(gaps) <= 1
    return (gaps[0].cause, gaps[0].start) if gaps else None


@pytest.mark.parametrize(
    ("name", "facts", "expected"),
    [
        ("start", {}, ("crash_tail", HEARD)),
        ("disconnect", {"cause": "half_open"}, ("half_open", HEARD)),
        ("disconnect", {"cause": "moon phase"}, ("disconnect", HEARD)),
        ("disconnect", {}, ("disconnect", HEARD)),
        ("connect", {}, ("disconnect", HEARD)),
        ("silence", {"topics": [BBO.text], "since": 90}, ("silence", 90)),
        ("silence", {"topics": [BBO.text], "since": "yesterday"}, ("silence", HEARD)),
        ("silence", {"topics": ["market.ethusdt.bbo"], "since": 90}, None),
        ("silence", {}, None),
        ("quiet", {"topics": [BBO.text], "until": 128}, None),
        ("shedding", {"topic": BBO.text, "cause": "disk_full"}, ("disk_full", HEARD)),
        ("shedding", {"topic": BBO.text, "cause": "moon phase"}, ("shed", HEARD)),
        ("shed", {}, ("shed", 125)),
        ("shed", {"streams": [], "others": 3}, ("shed", HEARD)),
        ("shed", {"streams": [], "others": 0}, None),
        ("disk_full", {"lost": True}, ("disk_full", HEARD)),
        ("disk_full", {"from": 1, "to": 2}, None),
        ("stop", {}, None),
        ("resync", {"topic": BBO.text}, None),
        ("what nobody knows yet", {}, None),
    ],
)
def test_a_hole_has_the_cause_and_start_that_an_event_tells(
    streams: Streams, name: str, facts: dict[str, Any], expected: tuple[str, int] | None
) -> None:
    happened(streams, name, facts)
    assert hole(streams) == expected


def test_an_answer_that_there_is_nothing_is_a_sign_of_life(streams: Streams) -> None:
    happened(streams, "quiet", {"topics": [BBO.text], "until": 128})
    happened(streams, "disconnect", {"cause": "disconnect"})
    assert hole(streams) == ("disconnect", 128)


def test_after_a_stop_a_stream_has_ended(streams: Streams) -> None:
    happened(streams, "stop", {})
    assert streams.find(BBO).ended


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        ({"event": "recovery"}, True),
        ({"event": "disk_full", "lost": False}, True),
        ({"event": "disk_full", "from": 1}, False),
        ({"event": "start"}, False),
    ],
)
def test_which_events_the_next_run_writes_of_the_one_before(facts: dict[str, Any], expected: bool) -> None:
    assert is_of_opening(facts) is expected


@pytest.mark.parametrize(
    ("event", "detail", "expected"),
    [
        ("clock", '{"step_ns":-1}', True),
        ("clock", '{"step_ns":1}', False),
        ("clock", None, False),
        ("stop", '{"reason":"step_ns:-1"}', False),
    ],
)
def test_which_rows_tell_that_the_clock_was_set_back(event: str, detail: str | None, expected: bool) -> None:
    assert is_set_back(event, detail) is expected
