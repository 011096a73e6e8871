from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from bookreel.exchange.futu.client import Client
from bookreel.exchange.futu.config import GatewayConfig
from bookreel.exchange.futu.gateway import Gateway
from bookreel.exchange.futu.truth import TruthRecord, read_truth
from bookreel.venues.futu import decode
from bookreel.venues.futu.errors import PushError
from bookreel.venues.futu.model import Push
from bookreel.venues.futu.replies import Reply, read
from bookreel.venues.futu.requests import Call, call, subscribe

START_NS = 1_767_317_400 * 10**9
"""2026-01-02 09:30 in Hong Kong: a Friday, the opening."""


class HandClock:
    """A clock that moves when it is told to."""

    def __init__(self) -> None:
        self.ns = START_NS

    def wall_ns(self) -> int:
        return self.ns

    def mono_ns(self) -> int:
        return self.ns


class Desk:
    """A gateway without sockets, in a time of its own."""

    def __init__(self, config: GatewayConfig) -> None:
        self.clock = HandClock()
        self.config = config
        self.gateway = Gateway(config, self.clock)

    def join(self) -> Client:
        return self.gateway.join(lambda: None)

    def run(self, seconds: float, *, step_s: float = 0.05) -> None:
        for _ in range(round(seconds / step_s)):
            self.clock.ns += int(step_s * 1e9)
            self.gateway.tick()

    def ask(self, request: Call, key: str | None = None) -> Reply:
        status, body = self.gateway.answer(request.method, request.path, key, request.body or b"")
        return read(request, status, body)

    def post(self, path: str, key: str | None = None, **fields: Any) -> tuple[int, Any]:
        status, body = self.gateway.answer("POST", path, key, json.dumps(fields).encode())
        return status, json.loads(body)

    def subscribe(self, feeds: list[str], symbols: list[str] | None = None, **more: Any) -> None:
        self.ask(subscribe(symbols or list(self.config.symbols), feeds, **more))

    def frames(self, client: Client) -> list[str]:
        return list(iter(client.take, None))

    def pushes(self, client: Client) -> list[Push]:
        """What waits for a client, decoded; what cannot be is left out."""
        found = []
        for text in self.frames(client):
            try:
                push = decode(text.encode())
            except PushError:
                continue
            assert isinstance(push, Push)
            found.append(push)
        return found

    def truth(self) -> list[TruthRecord]:
        """Everything that happened; the gateway is closed."""
        self.gateway.close()
        assert self.config.truth is not None
        return list(read_truth(self.config.truth))


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Callable[..., Desk]]:
    """Makes a gateway of two securities; keywords are settings."""
    made = []

    def make(**settings: Any) -> Desk:
        settings = {"symbols": ("HK.00700", "US.AAPL"), "truth": tmp_path / "truth", "rate": 20.0} | settings
        made.append(Desk(GatewayConfig(**settings)))
        return made[-1]

    yield make
    for one in made:
        one.gateway.close()


@pytest.fixture
def asked() -> Callable[..., Call]:
    return call
