"""An L2 book: price levels of both sides, no orders.

Each side is a plain dict of price to size. A delta touches some thirty levels and order is wanted only when
somebody looks, so a dict with the order computed on demand beats any sorted container on the hot path. Only
the two best prices are followed all the time: they tell a crossed book at once.
"""

from __future__ import annotations

from math import inf, isfinite

from bookreel.book.errors import InvariantBroken
from bookreel.book.model import Delta, Levels, Snapshot

__all__ = ["Book", "L2Book"]


class Book:
    """What every book can tell, however it keeps its levels."""

    __slots__ = ()

    bids: dict[float, float]
    asks: dict[float, float]
    """Price to size. A book that keeps its levels otherwise makes these anew each time."""
    _best_bid: float
    _best_ask: float
    """Followed all the time; -inf and inf for an empty side."""

    def load(self, bids: Levels, asks: Levels) -> None:
        """Replace the whole content. Levels of size 0 are left out."""
        raise NotImplementedError

    def replace(self, image: Snapshot) -> None:
        """:meth:`load` what an image of the book says."""
        self.load(image.bids, image.asks)

    def apply(self, delta: Delta) -> bool:
        """Set or remove the delta's levels; removing an absent one is normal. Returns :attr:`crossed`."""
        raise NotImplementedError

    @property
    def crossed(self) -> bool:
        """Whether the best bid has reached the best ask."""
        return self._best_bid >= self._best_ask

    def best(self) -> tuple[float | None, float | None, float | None, float | None]:
        """(bid, bid size, ask, ask size), None for an empty side."""
        bid, ask = self._best_bid, self._best_ask
        bid_size, ask_size = self.bids.get(bid), self.asks.get(ask)
        return bid if bid_size else None, bid_size, ask if ask_size else None, ask_size

    def top(self, depth: int | None = None) -> tuple[Levels, Levels]:
        """(bids, asks), each best first and at most ``depth`` levels (None: all)."""
        if depth == 1:
            bid, bid_size, ask, ask_size = self.best()
            return (
                [] if bid is None or bid_size is None else [(bid, bid_size)],
                [] if ask is None or ask_size is None else [(ask, ask_size)],
            )
        bids, asks = self.bids, self.asks
        # Sorting prices alone is faster than any search for the best few of some hundred pairs.
        high, low = sorted(bids, reverse=True)[:depth], sorted(asks)[:depth]
        return list(zip(high, map(bids.__getitem__, high), strict=True)), list(
            zip(low, map(asks.__getitem__, low), strict=True)
        )

    def __eq__(self, other: object) -> bool:
        """Same levels on both sides."""
        if not isinstance(other, Book):
            return NotImplemented
        return self.bids == other.bids and self.asks == other.asks

    __hash__ = None  # type: ignore[assignment]  # a book changes, so it cannot be a key

    def __repr__(self) -> str:
        bid, bid_size, ask, ask_size = self.best()
        kind, bids, asks = type(self).__name__, len(self.bids), len(self.asks)
        return f"<{kind} {bids} bids {bid}x{bid_size}, {asks} asks {ask}x{ask_size}>"

    def _check(self) -> None:
        """Raise :class:`InvariantBroken` unless every fact about the structure holds."""
        for name, side in (("bids", self.bids), ("asks", self.asks)):
            for price, size in side.items():
                # Prices and sizes are positive and finite.
                if not (0 < price < inf and 0 < size < inf and isfinite(size)):
                    raise InvariantBroken("a level that cannot be", side=name, price=price, size=size)
        # The followed best prices are the best prices.
        if self._best_bid != max(self.bids, default=-inf):
            raise InvariantBroken("best bid not followed", kept=self._best_bid, bids=self.bids)
        if self._best_ask != min(self.asks, default=inf):
            raise InvariantBroken("best ask not followed", kept=self._best_ask, asks=self.asks)


class L2Book(Book):
    """Both sides of one book. Prices in quote currency, sizes in base currency, a stored size is never 0.

    >>> book = L2Book()
    >>> book.load([(99.0, 1.0), (98.0, 2.0)], [(101.0, 3.0)])
    >>> book.apply(Delta("btcusdt", "mbp.150", 0, 2, 1, [(99.0, 0.0)], [(100.5, 4.0)]))
    False
    >>> book.best()
    (98.0, 2.0, 100.5, 4.0)
    """

    __slots__ = ("_best_ask", "_best_bid", "asks", "bids")

    def __init__(self) -> None:
        self.bids: dict[float, float] = {}
        self.asks: dict[float, float] = {}
        self._best_bid = -inf
        self._best_ask = inf

    def load(self, bids: Levels, asks: Levels) -> None:
        """Replace the whole content. Levels of size 0 are left out."""
        self.bids = {price: size for price, size in bids if size}
        self.asks = {price: size for price, size in asks if size}
        self._best_bid = max(self.bids, default=-inf)
        self._best_ask = min(self.asks, default=inf)

    def apply(self, delta: Delta) -> bool:
        """Set or remove the delta's levels; removing an absent one is normal. Returns :attr:`crossed`."""
        if delta.bids:
            bids = self.bids
            best = self._best_bid
            stale = False
            for price, size in delta.bids:
                if size:
                    bids[price] = size
                    if price > best:
                        best = price
                else:
                    bids.pop(price, None)
                    if price == best:
                        stale = True
            self._best_bid = max(bids, default=-inf) if stale else best
        if delta.asks:
            asks = self.asks
            best = self._best_ask
            stale = False
            for price, size in delta.asks:
                if size:
                    asks[price] = size
                    if price < best:
                        best = price
                else:
                    asks.pop(price, None)
                    if price == best:
                        stale = True
            self._best_ask = min(asks, default=inf) if stale else best
        return self._best_bid >= self._best_ask
