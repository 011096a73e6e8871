"""What the gateway's news mean to a line: no socket, no calls."""

from __future__ import annotations

import asyncio
import base64
import json
import random
from typing import Any

import pytest

from bookreel import venues
from bookreel.ingest.config import load_config
from bookreel.ingest.errors import Disconnected, FetchFailed, GatewayUnusable, LineDown
from bookreel.ingest.futu.caller import Caller
from bookreel.ingest.futu.line import PushLine
from bookreel.ingest.network import AioNetwork
from bookreel.ingest.reconnect import backoff
from bookreel.ingest.tape import Tape
from bookreel.storage.record import Direction
from bookreel.venues.futu.proto import message_class
from tests.ingest.conftest import ManualClock, MemoryJournal


def news(**facts: Any) -> str:
    body = message_class("NotifyResponse")(ret_type=0, s2c=message_class("Notify")(**facts))
    text = base64.b64encode(body.SerializeToString()).decode()
    return json.dumps({"type": "notify", "proto_id": 1003, "body_b64": text})


def make() -> tuple[PushLine, MemoryJournal]:
    network, journal = AioNetwork(), MemoryJournal()
    topics = [venues.get("futu").topic("HK.00700", feed) for feed in ("orderbook", "ticker")]
    line = PushLine(
        topics,
        config=load_config(None, {"venue": "futu"}),
        caller=Caller("http://gateway", network),
        network=network,
        tape=Tape(journal, ManualClock()),
        rng=random.Random(1),
        recover=False,
    )
    return line, journal


def test_a_lost_login_is_a_hole_of_every_stream() -> None:
    line, journal = make()
    line.stats.acked = {"1_00700/2", "1_00700/4"}
    line._noticed(news(type=2, connect_status={"qot_logined": False, "trd_logined": True}))
    [event] = journal.events("silence")
    assert event["topics"] == ["1_00700/2", "1_00700/4"] and "since" not in event
    assert not line.stats.acked and not line._due.is_set()
    line._noticed(news(type=2, connect_status={"qot_logined": True, "trd_logined": True}))
    assert line._due.is_set(), "everything is subscribed anew"


def test_other_news_means_nothing() -> None:
    line, journal = make()
    line._noticed(news(type=1, event={"event_type": 7, "desc": "logged in elsewhere"}))
    line._noticed('{"proto_id":1003,"body_b64":"!"}')
    assert not journal.events() and not line._due.is_set() and line.stats.decode_errors == 1


def test_a_topic_that_is_no_longer_listed_is_a_hole_from_the_look_before_until_it_is_subscribed() -> None:
    line, journal = make()
    line.stats.acked = {"1_00700/2", "1_00700/4"}
    line._listed({"1_00700/2", "1_00700/4", "11_AAPL/4"}, 70)
    assert not journal.events() and not line._due.is_set()
    line._listed({"1_00700/2"}, 80)
    [event] = journal.events("silence")
    assert (event["topics"], event["since"], event["renewed"]) == (["1_00700/4"], 70, True)
    assert line.stats.acked == {"1_00700/2"} and line._due.is_set()
    line._listed({"1_00700/2"}, 90)
    assert len(journal.events()) == 1, "it is known"


def test_pushes_that_are_shed_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    line, journal = make()
    frames = ["first", "second", "third"]
    positions = iter([1, 0, 3])
    monkeypatch.setattr(journal, "append", lambda *record: next(positions))
    line._tape = Tape(journal, line._clock)

    class Pushes:
        async def receive(self) -> str:
            if not frames:
                raise Disconnected(1000, "over")
            return frames.pop(0)

    with pytest.raises(LineDown):
        asyncio.run(line._read(Pushes()))
    assert (line.stats.frames, line.stats.shed) == (3, 1)


def test_only_what_is_listed_is_subscribed_and_only_what_is_not_is_asked_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    line, journal = make()
    listed = [2]

    async def ask(method: str, url: str, body: bytes | None, timeout_s: float) -> tuple[int, bytes]:
        told: dict[str, Any] = {}
        if url.endswith("query-subscription"):
            stock = {"market": 1, "code": "00700"}
            subs = [{"sub_type": kind, "security_list": [stock]} for kind in listed]
            told = {"conn_sub_info_list": [{"sub_info_list": subs}]}
        return 200, json.dumps({"ret_type": 0, "s2c": told}).encode()

    monkeypatch.setattr(line._network, "ask", ask)
    assert asyncio.run(line._subscribe()), "it has to be asked again"
    assert line.stats.acked == {"1_00700/2"} == set(journal.streams)
    [event] = journal.events("silence")
    assert event["topics"] == ["1_00700/4"] and event["renewed"] and "since" not in event
    listed.append(4)
    before = len(journal.records)
    assert not asyncio.run(line._subscribe())
    assert line.stats.acked == {"1_00700/2", "1_00700/4"} and journal.streams == ["1_00700/2", "1_00700/4"]
    sent = [record.payload for record in journal.records[before:] if record.direction is Direction.OUT]
    [asked] = [json.loads(text)["asked"] for text in sent if b'"subscribe"' in text]
    assert asked["sub_types"] == [4]


@pytest.mark.parametrize("status", [503, None], ids=["unavailable", "nobody there"])
def test_a_gateway_that_does_not_answer_is_asked_ever_more_slowly(
    monkeypatch: pytest.MonkeyPatch, status: int | None
) -> None:
    line, journal = make()
    pauses: list[float] = []

    async def ask(method: str, url: str, body: bytes | None, timeout_s: float) -> tuple[int, bytes]:
        if status is None:
            raise FetchFailed(url, "refused")
        return status, b"busy"

    async def sleep(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == 12:
            raise LineDown("disconnect", "enough")

    monkeypatch.setattr(line._network, "ask", ask)
    monkeypatch.setattr(line._clock, "sleep", sleep)
    line._due.set()
    with pytest.raises(LineDown, match="enough"):
        asyncio.run(line._tend())
    config = line._config
    delays = backoff(random.Random(1), base_s=config.backoff_base_ms / 1e3, cap_s=config.backoff_cap_ms / 1e3)
    assert pauses == [next(delays) for _ in pauses] and max(pauses) > config.backoff_base_ms / 1e3
    assert len(journal.sent()) == 12, "each is one question"


@pytest.mark.parametrize("status", [401, 403])
def test_a_key_that_is_refused_is_not_tried_again(monkeypatch: pytest.MonkeyPatch, status: int) -> None:
    line, journal = make()

    async def ask(*_: object) -> tuple[int, bytes]:
        return status, b'{"error":"forbidden"}'

    monkeypatch.setattr(line._network, "ask", ask)
    line._due.set()
    with pytest.raises(GatewayUnusable, match=str(status)):
        asyncio.run(line._tend())
    assert len(journal.sent()) == 1
