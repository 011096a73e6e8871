"""Where an exchange's frames come from: what hub, desk and REST ask, whoever makes the market.

:class:`~bookreel.exchange.synthetic.Synthetic` makes one up, :class:`~bookreel.exchange.playback.Playback` has one
from an archive. JSON text is as the venue writes it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Protocol

from bookreel.exchange.feeds import Feed, Frame, Topic

__all__ = ["Source", "SymbolPage"]


class SymbolPage(Protocol):
    """What REST gives of one symbol. None: it is not known."""

    @property
    def symbol(self) -> str: ...

    def bars(self, period: str, first: int, last: int, size: int) -> Sequence[str] | None:
        """The newest ``size`` bars that begin in [first, last] (seconds), oldest first."""
        ...

    def trades(self, size: int) -> Sequence[str] | None:
        """The newest ``size`` ticks of trades, newest first, as REST spells them."""
        ...

    def depth(self, step: int, levels: int) -> str | None:
        """The book, prices joined to 10**step ticks, at most ``levels`` a side."""
        ...

    def day(self) -> tuple[int, dict[str, object]] | None:
        """A number of the symbol's sequence, and the last 24 hours as one bar."""
        ...

    def best(self) -> tuple[float, float, float, float] | None:
        """Best bid, its size, best ask, its size."""
        ...


class Source(Protocol):
    """A market, moved on by who asks."""

    @property
    def symbols(self) -> Mapping[str, SymbolPage]:
        """Those with a market."""
        ...

    @property
    def notes(self) -> list[str]:
        """What is not as at the venue, a sentence each."""
        ...

    @property
    def next_ns(self) -> int:
        """When something is due, on the exchange's steady time."""
        ...

    @property
    def ended(self) -> bool:
        """Whether nothing will come any more."""
        ...

    @property
    def behind(self) -> bool:
        """Whether more is due than the last turn took."""
        ...

    @property
    def patient(self) -> bool:
        """Whether clients that are slow are waited for."""
        ...

    def stop(self) -> None:
        """Let go what is open."""
        ...

    def venue_ns(self) -> int:
        """The venue's time, ns since the UNIX epoch."""
        ...

    def refusal(self, topic: Topic) -> str | None:
        """Why the venue does not offer a topic, in its words."""
        ...

    def open(self, topic: Topic, now_ns: int) -> Feed:
        """Somebody subscribed: make the topic's frames from now on."""
        ...

    def close(self, topic: Topic) -> None:
        """Nobody is subscribed any more."""
        ...

    def feed(self, topic: Topic) -> Feed:
        """The feed of a topic for a request: the open one, or one for the moment."""
        ...

    def advance(self, now_ns: int) -> Iterator[tuple[str, Frame | None]]:
        """The frames of open topics up to ``now_ns``, in order; None: the connections that carry the topic end. A
        patient source gives nothing after that: who was cut off is waited for.
        """
        ...

    def reference(self) -> Iterable[str]:
        """The entries of ``/v1/common/symbols``."""
        ...

    def currencies(self) -> Mapping[str, Mapping[str, object]]:
        """The entries of ``/v2/reference/currencies`` by name."""
        ...
