"""An archive of a synthetic gateway, recorded in a time of its own: the same every time, and made at once."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from bookreel.exchange.futu.config import GatewayConfig
from bookreel.exchange.futu.gateway import Gateway
from bookreel.storage.journal import Journal
from bookreel.storage.record import Direction, Kind, encode_event
from bookreel.venues.futu.exchanges import answered_text, asked_text
from bookreel.venues.futu.requests import Call, call, subscribe

__all__ = ["FEEDS", "START_NS", "SYMBOLS", "Shelf", "shelve"]

START_NS: Final = 1_767_317_400 * 10**9
"""2026-01-02 09:30 in Hong Kong: a Friday, the opening."""
SYMBOLS: Final = ("HK.00700", "US.AAPL")
FEEDS: Final = ("orderbook", "ticker", "quote", "broker", "rt", "kline.1min")

_STEP_NS: Final = 50_000_000


class Shelf:
    """A gateway and its recorder, whose time goes on when it is told to."""

    def __init__(self, path: Path, *, symbols: tuple[str, ...] = SYMBOLS, rate: float = 10.0) -> None:
        self.ns = START_NS
        self.gateway = Gateway(GatewayConfig(symbols=symbols, rate=rate, seed=5), self)
        self._epoch = 1
        self._client = self.gateway.join(lambda: None)
        self._journal = Journal.open(path, "futu", clock=self)
        self._event("start", "", 0, run="shelf")
        self._event("connect", "push-0", 1, url="ws://shelf/ws")

    def wall_ns(self) -> int:
        return self.ns

    def mono_ns(self) -> int:
        return self.ns

    def ask(self, request: Call, conn: str = "rest") -> None:
        """Ask, and journal both sides."""
        self._append(conn, Direction.OUT, Kind.TEXT, asked_text(request))
        status, body = self.gateway.answer(request.method, request.path, None, request.body or b"")
        self._append(conn, Direction.IN, Kind.TEXT, answered_text(request, status, body))
        self._take()

    def listed(self) -> None:
        """Ask what is listed, as a recorder does when it begins."""
        request = call("static-info", symbols=list(self.gateway.symbols))
        status, body = self.gateway.answer("POST", request.path, None, request.body or b"")
        self._append("", Direction.IN, Kind.REFERENCE, answered_text(request, status, body), epoch=0)

    def run(self, seconds: float) -> None:
        """Let time go on, and journal what is pushed."""
        for _ in range(round(seconds * 1e9 / _STEP_NS)):
            self.ns += _STEP_NS
            self.gateway.tick()
            self._take()

    def away(self, seconds: float) -> None:
        """The socket is lost, and another one comes after a while; what is subscribed stays so."""
        self._event("disconnect", "push-0", self._epoch, cause="disconnect", detail="lost")
        for _ in range(round(seconds * 1e9 / _STEP_NS)):
            self.ns += _STEP_NS
            self.gateway.tick()
            while self._client.take() is not None:
                pass
        self._epoch += 1
        self._event("connect", "push-0", self._epoch, url="ws://shelf/ws")

    def close(self) -> None:
        """The recorder stops."""
        self._event("stop", "", 0, reason="over")
        self._journal.close()
        self.gateway.close()

    def _take(self) -> None:
        while (text := self._client.take()) is not None:
            self._append("push-0", Direction.IN, Kind.TEXT, text.encode())

    def _event(self, name: str, conn: str, epoch: int, **facts: str) -> None:
        self._append(conn, Direction.INTERNAL, Kind.EVENT, encode_event(name, **facts), epoch=epoch)

    def _append(
        self, conn: str, direction: Direction, kind: Kind, payload: bytes, *, epoch: int | None = None
    ) -> None:
        self._journal.append(
            self.ns, self.ns, conn, self._epoch if epoch is None else epoch, direction, kind, payload
        )


def shelve(path: Path, *, seconds: float = 30.0, feeds: tuple[str, ...] = FEEDS) -> Path:
    """An archive of two securities, a snapshot and the gateway's state asked for after half of it."""
    shelf = Shelf(path)
    shelf.listed()
    shelf.ask(subscribe(SYMBOLS, feeds, rehab_types=(0,)), "push-0")
    shelf.run(seconds / 2)
    for request in (
        call("snapshot", symbols=list(SYMBOLS)),
        call("market-state", symbols=["HK.00700"]),
        call("global-state"),
        call("push-subscriber-info"),
        call("trading-days", market=1, begin_time="2026-01-01", end_time="2026-01-31"),
        call("orderbook", symbol="HK.00700", depth=1),
    ):
        shelf.ask(request)
    shelf.run(seconds / 2)
    shelf.close()
    return path
