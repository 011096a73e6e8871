"""What the exchange does with what a client says: heartbeats, ``sub``, ``unsub``, ``req``, and the refusals
in the venue's words."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from functools import partial
from typing import Any, Final

from bookreel.exchange.client import Client
from bookreel.exchange.feeds import Topic, parse_topic
from bookreel.exchange.hub import Hub
from bookreel.exchange.huobi_wire import RequestId, encode_ack, encode_error, encode_reply
from bookreel.exchange.mbp import MbpFeed
from bookreel.exchange.recorded import BookImage, RecordedBook
from bookreel.exchange.saboteur import Answer, Saboteur

__all__ = ["Desk"]

_FIRST_SECOND: Final = 1_501_174_800
_LAST_SECOND: Final = 2_556_115_200
_JITTER: Final = 0.5
"""A request may come this part of the gap early (networks jitter), but the mean pace holds."""


class Desk:
    """Answers one frame of a client at a time. ``now_ns`` is the time by which clients are judged; what they are told
    is the venue's.
    """

    def __init__(self, hub: Hub, saboteur: Saboteur, now_ns: Callable[[], int], request_gap_s: float) -> None:
        self._hub = hub
        self._saboteur = saboteur
        self._now_ns = now_ns
        self._gap_ns = int(request_gap_s * 1e9)

    def take(self, client: Client, text: str) -> None:
        """A text frame came from ``client``."""
        try:
            said = json.loads(text)
        except ValueError:
            said = None
        if not isinstance(said, dict):
            client.send_text(encode_error("not json, is not json string", None, self._now_ms()))
        elif "pong" in said:
            client.answer_pong(said["pong"])
        elif "ping" in said:
            client.keep_alive()
            client.send_text(f'{{"pong":{json.dumps(said["ping"])}}}')
        else:
            self._command(client, said)

    def _command(self, client: Client, said: dict[str, Any]) -> None:
        request_id = said.get("id")
        if not isinstance(request_id, str | int | float | None):
            request_id = json.dumps(request_id)
        for verb, action in (("sub", self._sub), ("unsub", self._unsub)):
            if verb in said:
                topics = said[verb] if isinstance(said[verb], list) else [said[verb]]
                for topic in topics:
                    action(client, str(topic), request_id)
                return
        if "req" in said:
            self._req(client, str(said["req"]), request_id, said)
        else:
            client.send_text(encode_error("invalid command", request_id, self._now_ms()))

    def _now_ms(self) -> int:
        return self._hub.source.venue_ns() // 1_000_000

    def _refuse(self, client: Client, text: str, request_id: RequestId) -> None:
        client.send_text(encode_error(text, request_id, self._now_ms()))

    def _topic(self, client: Client, text: str) -> Topic | str:
        """A topic that this path serves, or why not."""
        topic = parse_topic(text)
        if topic is None or topic.path != client.path:
            return f"invalid topic {text}"
        return self._hub.source.refusal(topic) or topic

    def _sub(self, client: Client, text: str, request_id: RequestId) -> None:
        topic = self._topic(client, text)
        if isinstance(topic, str):
            self._refuse(client, topic, request_id)
        elif self._saboteur.refuses("sub_error", client, topic):
            self._refuse(client, "request timeout", request_id)
        else:
            client.send_text(encode_ack("sub", text, request_id, self._now_ms()))
            cached = self._hub.subscribe(client, topic, self._now_ns())
            if cached is not None:
                client.send(cached.payload)

    def _unsub(self, client: Client, text: str, request_id: RequestId) -> None:
        if self._hub.unsubscribe(client, text):
            client.send_text(f"{encode_ack('unsub', text, request_id, self._now_ms())}")
        else:
            self._refuse(client, "unsub with not subbed topic", request_id)

    def _req(self, client: Client, text: str, request_id: RequestId, said: dict[str, Any]) -> None:
        topic = self._topic(client, text)
        if isinstance(topic, str):
            self._refuse(client, topic, request_id)
            return
        now_ns = self._now_ns()
        too_soon = now_ns < client.requested_ns + self._gap_ns * (1 - _JITTER)
        if too_soon or self._saboteur.refuses("rate_limit", client, topic):
            self._refuse(client, f"429 too many request topic is {text}", request_id)
            return
        client.requested_ns = max(now_ns, client.requested_ns + self._gap_ns)
        if self._saboteur.mutes(client, topic, now_ns):
            return
        feed = self._hub.feed(topic)
        if isinstance(feed, MbpFeed):
            answer = self._saboteur.answer(client, topic, feed)
            if answer.fault is not None:
                self._saboteur.consume(answer.fault, topic)
            if answer.delay_s:
                asyncio.get_running_loop().call_later(
                    answer.delay_s, self._image, client, topic, request_id, answer
                )
            else:
                self._image(client, topic, request_id, answer)
            return
        if isinstance(feed, RecordedBook):
            stream = client.streams.get(topic.text)
            feed.ask(client.number, stream, partial(self._recorded_image, client, topic, request_id))
            return
        try:
            first = _second(said.get("from", _FIRST_SECOND))
            last = _second(said.get("to", _LAST_SECOND))
        except ValueError as error:
            self._refuse(client, str(error), request_id)
            return
        data = None if topic.kind == "bbo" else feed.reply(first, last)
        if data is None:
            why = f"invalid topic {text}" if topic.kind == "bbo" else "request timeout"
            self._refuse(client, why, request_id)
        else:
            client.send_text(encode_reply(text, request_id, self._now_ms(), data))

    def _image(self, client: Client, topic: Topic, request_id: RequestId, answer: Answer) -> None:
        if client.closed or client.frozen or self._saboteur.mutes(client, topic, self._now_ns()):
            return
        data = "null" if answer.image is None else answer.image.json()
        client.send_text(encode_reply(topic.text, request_id, self._now_ms(), data))
        self._saboteur.answered(client, topic, answer)

    def _recorded_image(self, client: Client, topic: Topic, request_id: RequestId, image: BookImage) -> None:
        if client.closed or client.frozen:
            return
        ts_ms = self._now_ms() if image.ts_ms is None else image.ts_ms
        client.send_text(encode_reply(topic.text, request_id, ts_ms, image.data))
        stream = client.streams.get(topic.text)
        if stream is not None and stream.chain is not None:
            stream.chain.answered(image.seq)


def _second(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int | str) or not str(value).isdigit():
        raise ValueError(f"invalid time {value}: seconds between {_FIRST_SECOND} and {_LAST_SECOND}")
    second = int(value)
    if not _FIRST_SECOND <= second <= _LAST_SECOND:
        raise ValueError(f"invalid time {value}: seconds between {_FIRST_SECOND} and {_LAST_SECOND}")
    return second
