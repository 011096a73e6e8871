"""The recorder of the gateway: what is listed, one socket, polled endpoints."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Mapping, Sequence
from random import Random
from typing import Any, Final

import msgspec

from bookreel import venues
from bookreel.ingest.config import RecordConfig
from bookreel.ingest.errors import ConfigError, FetchFailed, GatewayUnusable, LineDown, ReferenceUnavailable
from bookreel.ingest.futu.caller import Caller, bisect, may_pass, read_token
from bookreel.ingest.futu.line import PushLine
from bookreel.ingest.futu.polls import calls_of, run_poll
from bookreel.ingest.metrics import MetricsServer
from bookreel.ingest.network import AioNetwork
from bookreel.ingest.reconnect import backoff
from bookreel.ingest.recorder import Recorder
from bookreel.ingest.reference import topics_of
from bookreel.ingest.tape import Tape
from bookreel.venues.futu.errors import GatewayError, Refused
from bookreel.venues.futu.exchanges import answered_text
from bookreel.venues.futu.replies import read
from bookreel.venues.futu.requests import batches, call
from bookreel.venues.message import Topic

__all__ = ["GatewayRecorder"]

_SILENT_S: Final = 60.0
"""Of all stocks that are recorded together, one is traded in this time."""
_LAST_LOOK_S: Final = 2.0
_BASE_S: Final = 0.5
_CAP_S: Final = 5.0

_log = logging.getLogger(__name__)


class _Listed(msgspec.Struct, frozen=True):
    """An answer about what is listed, received at ``wall`` and ``mono`` (ns)."""

    body: bytes
    wall: int
    mono: int


class GatewayRecorder(Recorder):
    """A :class:`~bookreel.ingest.recorder.Recorder` of the gateway. ``environment`` is where a key may be."""

    def __init__(
        self, config: RecordConfig, *, environment: Mapping[str, str] | None = None, **outside: Any
    ) -> None:
        super().__init__(config, venues.get(config.venue), **outside)
        token = read_token(config, os.environ if environment is None else environment)
        self._headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        self._lines: list[PushLine] = []
        self._network: AioNetwork | None = None
        self._caller: Caller | None = None
        self._topics = _topics(config)
        self._symbols = list(dict.fromkeys(topic.symbol for topic in self._topics))
        self._polls = [(poll, calls_of(poll, self._symbols)) for poll in config.poll]

    @property
    def lines(self) -> Sequence[PushLine]:
        return self._lines

    def doubts(self) -> list[str]:
        """A silence in trading hours; at lunch, at night and on holidays it is none."""
        now = self.clock.wall_ns()
        found = []
        for line in self._lines:
            silent_s = (now - line.heard_wall) / 1e9
            if line.open_markets and silent_s > _SILENT_S:
                markets = ", ".join(sorted(line.open_markets))
                found.append(f"line {line.stats.name} is silent for {silent_s:.0f} s while {markets} trades")
        return found

    async def run(self) -> None:
        """Record. Returns when everything is durable, and sealed where that is wanted.

        Raises before anything is recorded: :class:`GatewayUnusable`, :class:`ReferenceUnavailable`, and errors of the
        archive. Later: :class:`GatewayUnusable`, ``NotDurable``, ``JournalFailed``.
        """
        config = self.config
        network = self._network = AioNetwork(
            connect_timeout_s=config.connect_timeout_ms / 1e3,
            max_frame_bytes=config.max_frame_bytes,
            headers=self._headers,
        )
        self._caller = Caller(config.rest_url, network)
        try:
            listed = await self._unless_stopped(self._list())
            if listed is not None:
                async with MetricsServer(self, config.metrics_port):
                    await self._record(lambda tape: self._begin(tape, listed))
        finally:
            self.phase = "stopped"
            await network.close()

    def _begin(self, tape: Tape, listed: Sequence[_Listed]) -> None:
        self._started(tape, self._topics)
        for one in listed:
            tape.reference(one.body, one.wall, one.mono)

    def _launch(self, tape: Tape, group: asyncio.TaskGroup, *, recover: bool) -> None:
        assert self._network is not None and self._caller is not None, "made before anything is recorded"
        line = PushLine(
            self._topics,
            config=self.config,
            caller=self._caller,
            network=self._network,
            tape=tape,
            rng=Random(self._rng.getrandbits(64)),
            recover=recover,
        )
        self._lines.append(line)
        group.create_task(line.run(), name=line.stats.name)
        group.create_task(self._refresh(tape), name="reference")
        for poll, calls in self._polls:
            group.create_task(run_poll(poll, calls, self._caller, tape), name=f"poll {poll.endpoint}")

    async def _look_back(self) -> None:
        """See whether everything was pushed until now; a gateway that does not answer is not waited for."""
        try:
            async with asyncio.timeout(_LAST_LOOK_S):
                for line in self._lines:
                    await line.last_look()
        except (TimeoutError, LineDown, GatewayUnusable) as error:
            _log.warning("no last look: error=%r", error)

    async def _refresh(self, tape: Tape) -> None:
        """Note down again and again what is listed."""
        while True:
            await self.clock.sleep(self.config.reference_interval_s)
            try:
                listed = await self._list()
            except ReferenceUnavailable as error:
                _log.warning("reference data not refreshed: error=%s", error)
                continue
            for one in listed:
                tape.reference(one.body, one.wall, one.mono)

    async def _list(self) -> list[_Listed]:
        """What the gateway says of the symbols, and a word about those it does not know."""
        found: list[_Listed] = []
        refused: list[str] = []
        for batch in batches(self._symbols):
            await self._list_batch(batch, found, refused)
        if refused:
            _log.warning("the gateway does not list: %s", ", ".join(refused))
        if len(refused) == len(self._symbols):
            raise GatewayUnusable(self.config.rest_url, f"it lists none of {', '.join(refused[:5])}")
        return found

    async def _list_batch(self, symbols: list[str], found: list[_Listed], refused: list[str]) -> None:
        try:
            found.append(await self._ask_listed(symbols))
        except Refused:
            if len(symbols) == 1:
                refused.append(symbols[0])
                return
            for half in bisect(symbols):
                await self._list_batch(half, found, refused)

    async def _ask_listed(self, symbols: list[str]) -> _Listed:
        """One batch; asked again, ever more slowly, where that may help."""
        assert self._caller is not None, "made before anything is asked"
        clock, started = self.clock, self.clock.mono_ns()
        request = call("static-info", symbols=symbols)
        for delay_s in backoff(self._rng, base_s=_BASE_S, cap_s=_CAP_S):
            try:
                status, body = await self._caller.raw(request)
                wall, mono = clock.wall_ns(), clock.mono_ns()
                read(request, status, body)
                return _Listed(answered_text(request, status, body), wall, mono)
            except (GatewayError, FetchFailed) as error:
                if not may_pass(error):
                    if isinstance(error, Refused):
                        raise
                    raise GatewayUnusable(self.config.rest_url, str(error)) from error
                reason = error.reason
            waited_s = (clock.mono_ns() - started) / 1e9
            if waited_s + delay_s > self.config.rest_timeout_s:
                raise ReferenceUnavailable(self.config.rest_url, reason, waited_s)
            _log.warning("the gateway does not answer: error=%s retry_s=%.1f", reason, delay_s)
            await clock.sleep(delay_s)
        raise AssertionError("delays never end")


def _topics(config: RecordConfig) -> list[Topic]:
    """The topics to record, by symbol and then in the order of the feeds. Raises ``UnknownFeed``, ``BadSymbol``."""
    if config.symbols == "all":
        raise ConfigError(
            "symbols", "setting 'symbols': this venue wants them named, such as HK.00700,US.AAPL"
        )
    return topics_of(venues.get(config.venue), config.symbols, config.feeds)
