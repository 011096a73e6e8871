"""The incremental book topics: chained deltas between images of the best N levels.

Levels 5 and 20 go tick by tick and leave the unchanged side out; 150 and 400 are the difference of two
images 100 ms apart, both sides always there, and both empty where only the sequence moved on. A level that
leaves the best N is sent with size 0.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections import deque
from itertools import pairwise
from random import Random
from typing import Final, NamedTuple

from bookreel.exchange.feeds import Frame, MarketFeed, Topic
from bookreel.exchange.huobi_wire import encode_push, join_levels
from bookreel.exchange.ladder import Ladder
from bookreel.exchange.market import MarketEvent, SymbolMarket

__all__ = ["Image", "MbpFeed"]

_OLD_NS: Final = 5_000_000_000
_SLOT_NS: Final = 100_000_000


class Image(NamedTuple):
    """The best N levels at ``seq``: key -> level text, in any order."""

    seq: int
    bids: dict[int, str]
    asks: dict[int, str]

    def json(self) -> str:
        """The data of a ``req``'s answer."""
        return f'{{"seqNum":{self.seq},{self.sides()}}}'

    def sides(self) -> str:
        """``"bids":[..],"asks":[..]``."""
        bids, asks = self.bids, self.asks
        return f'"bids":{join_levels(_texts(bids))},"asks":{join_levels(_texts(asks))}'


class _Side:
    """The best N levels of one side, and what changed in them: looks only at levels that were touched."""

    __slots__ = ("_bound", "_changes", "_ladder", "_levels", "image")

    def __init__(self, ladder: Ladder, levels: int) -> None:
        self._ladder = ladder
        self._levels = levels
        self.image = ladder.image(levels)
        self._bound = self._worst()
        self._changes = ladder.changes

    def _worst(self) -> float:
        """Key of the last level that belongs to the image."""
        keys = self._ladder.keys
        return keys[self._levels - 1] if len(keys) >= self._levels else math.inf

    def advance(self) -> dict[int, str]:
        """Bring ``image`` up to date (a new one, if anything changed): the changes, key -> level text."""
        ladder, before = self._ladder, self.image
        touched = ladder.changed(self._changes)
        self._changes = ladder.changes
        keys, levels = ladder.keys, self._levels
        last, self._bound = self._bound, self._worst()
        bound = self._bound
        if touched is None:
            touched = {*before, *keys[:levels]}
        elif bound > last:  # levels came into reach, or went out of it, untouched
            touched.update(keys[bisect_right(keys, last) : levels])
        elif bound < last:
            touched.update(keys[levels : bisect_right(keys, last)])
        changes: dict[int, str] = {}
        image: dict[int, str] | None = None
        for key in touched:
            if key <= bound and key in ladder.lots:
                text = ladder.text(key)
                if before.get(key) == text:
                    continue
                image = before.copy() if image is None else image
                image[key] = changes[key] = text
            elif key in before:
                image = before.copy() if image is None else image
                changes[key] = ladder.gone(key)
                del image[key]
        if image is not None:
            self.image = image
        return changes


class MbpFeed(MarketFeed):
    """One symbol's ``mbp.N``. ``images`` holds the newest images that a delta ended in, the last one the
    present."""

    def __init__(self, topic: Topic, market: SymbolMarket) -> None:
        super().__init__(topic, market)
        self.levels = int(topic.argument)
        self.tick_by_tick = self.levels < 100
        self._bids = _Side(market.bids, self.levels)
        self._asks = _Side(market.asks, self.levels)
        first = Image(market.seq, self._bids.image, self._asks.image)
        self.images: deque[Image] = deque([first], 200 if self.tick_by_tick else 24)
        self._old = [(market.last_ns, self.images[0])]
        self.period_ns = 0 if self.tick_by_tick else _SLOT_NS

    @property
    def seq(self) -> int:
        return self.images[-1].seq

    def present(self) -> Image:
        """The image of the book as it is now."""
        market = self.market
        return Image(market.seq, market.bids.image(self.levels), market.asks.image(self.levels))

    def oldest(self) -> Image:
        """An image five to ten seconds old, or the first one."""
        return self._old[0][1]

    def on_event(self, event: MarketEvent, now_ms: int) -> Frame | None:
        return self._delta(now_ms) if self.tick_by_tick and event.book else None

    def on_slot(self, now_ms: int) -> Frame | None:
        if self.tick_by_tick or self.market.seq == self.images[-1].seq:
            return None
        return self._delta(now_ms)

    def cached(self, now_ms: int) -> None:
        """Nothing: no image comes with an ack, a client has to ask for it."""
        return

    def straddled(self, seq: int, rng: Random) -> Image | None:
        """An image whose number lies inside the delta that ended in ``seq``, None if there is no number inside.

        One level differs from the image before the delta: it changed before that instant and back after it, so
        the delta does not list it, and whoever joins this image to the delta is left with a wrong size.
        """
        found = next(((a, b) for a, b in pairwise(self.images) if b.seq == seq and b.seq - a.seq > 1), None)
        if found is None:
            return None
        before, after = found
        kept = sorted(key for key, text in before.bids.items() if after.bids.get(key) == text)
        if not kept:
            return None
        bids = dict(before.bids)
        key = rng.choice(kept)
        price = bids[key].partition(",")[0]
        bids[key] = f"{price},{rng.randint(1, 999)}.125]"
        return Image(rng.randint(before.seq + 1, seq - 1), bids, before.asks)

    def _delta(self, now_ms: int) -> Frame | None:
        before, seq = self.images[-1], self.market.seq
        bids, asks = _texts(self._bids.advance()), _texts(self._asks.advance())
        if self.tick_by_tick:
            if not bids and not asks:
                return None
            sides = (f',"bids":{join_levels(bids)}' if bids else "") + (
                f',"asks":{join_levels(asks)}' if asks else ""
            )
        else:
            sides = f',"bids":{join_levels(bids)},"asks":{join_levels(asks)}'
        now = Image(seq, self._bids.image, self._asks.image)
        self.images.append(now)
        newest_ns = self._old[-1][0]
        if self.market.last_ns - newest_ns >= _OLD_NS:
            self._old = [self._old[-1], (self.market.last_ns, now)]
        tick = f'{{"seqNum":{now.seq},"prevSeqNum":{before.seq}{sides}}}'
        return Frame(encode_push(self.topic.text, now_ms, tick), now.seq, before.seq)


def _texts(changes: dict[int, str]) -> list[str]:
    """Level texts, best first."""
    return [changes[key] for key in sorted(changes)]
