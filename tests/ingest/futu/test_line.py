"""What the gateway's news mean to a line: no socket, no calls."""

from __future__ import annotations

import base64
import json
import random
from typing import Any

from bookreel import venues
from bookreel.ingest.config import load_config
from bookreel.ingest.futu.caller import Caller
from bookreel.ingest.futu.line import PushLine
from bookreel.ingest.network import AioNetwork
from bookreel.ingest.tape import Tape
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
