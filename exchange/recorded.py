"""What an archive has of one topic, as of the replay's clock: the last message, and the answer to a ``req``."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from typing import Any, Final, NamedTuple, TypeAlias

import msgspec
from msgspec import Raw

from bookreel.book.model import Delta, Levels, Snapshot
from bookreel.book.sync import BookSync, Outcome
from bookreel.exchange.bars import Bar
from bookreel.exchange.client import Stream
from bookreel.exchange.feeds import MAX_REPLY, Feed, Frame, Topic
from bookreel.exchange.huobi_wire import encode_push, java_double, join_levels
from bookreel.venues import Venue
from bookreel.venues.message import Data, Reply

__all__ = [
    "BookImage",
    "RecordedBars",
    "RecordedBook",
    "RecordedFeed",
    "RecordedTrades",
    "level_texts",
    "make_recorded",
]

_KEPT: Final = 2_000
"""Bars and trades of a topic that are kept: REST gives no more."""

_JOINABLE: Final = 1_024
"""A client has kept so many deltas at least while it waited for a book."""


class _Push(msgspec.Struct):
    tick: Raw


class _Answer(msgspec.Struct):
    ts: int
    data: Raw


class _Numbered(msgspec.Struct):
    id: int


class _Trades(msgspec.Struct):
    data: list[Raw]


class _Trade(msgspec.Struct):
    ts: int = 0
    number: int | None = msgspec.field(default=None, name="tradeId")


_push: Final = msgspec.json.Decoder(_Push).decode
_answer: Final = msgspec.json.Decoder(_Answer).decode
_numbered: Final = msgspec.json.Decoder(_Numbered).decode
_trades: Final = msgspec.json.Decoder(_Trades).decode
_trade: Final = msgspec.json.Decoder(_Trade).decode
_bar: Final = msgspec.json.Decoder(dict[str, float]).decode


class BookImage(NamedTuple):
    """A whole book at ``seq``: the data of an answer, and the time (ms) it told, None for the present."""

    seq: int
    data: str
    ts_ms: int | None


_Give: TypeAlias = Callable[[BookImage], None]


class RecordedFeed(Feed):
    """A topic of which every message stands for itself."""

    def __init__(self, topic: Topic) -> None:
        super().__init__(topic)
        self._acked = False

    def acked(self) -> None:
        """The recorder's subscription was acknowledged: its connection may get the last message once more."""
        self._acked = True

    def echoes(self, text: str) -> bool:
        """Whether a message is only what the venue sent again after it acknowledged: nothing that was pushed."""
        acked, self._acked = self._acked, False
        return acked and self.last is not None and self.last.text == text

    def take(self, frame: Frame, pos: int, ts_recv: int) -> None:
        """The next message, journal position and receive time (ns) with it."""
        self.last = frame

    def take_reply(self, text: str, pos: int, ts_recv: int) -> Frame | None:
        """The recorder asked, and this was the answer; a push of what is new in it."""
        return None

    def tick(self) -> str | None:
        """The content of the last message."""
        return None if self.last is None else _text(_push(self.last.text).tick)

    def reply(self, first: int, last: int) -> str | None:
        return self.tick()


class RecordedBars(RecordedFeed):
    """``kline.P``: the last push of each bar."""

    def __init__(self, topic: Topic) -> None:
        super().__init__(topic)
        self._bars: dict[int, str] = {}

    def take(self, frame: Frame, pos: int, ts_recv: int) -> None:
        self.last = frame
        tick = _push(frame.text).tick
        self.add(_numbered(tick).id, _text(tick))

    def add(self, start: int, tick: str) -> None:
        """A push of the bar that begins at ``start`` (s)."""
        self._bars[start] = tick
        if len(self._bars) > _KEPT:
            del self._bars[next(iter(self._bars))]

    def between(self, first: int, last: int, size: int) -> list[str]:
        """The newest ``size`` bars that begin in [first, last], oldest first."""
        return [self._bars[start] for start in sorted(self._bars) if first <= start <= last][-size:]

    def reply(self, first: int, last: int) -> str:
        return f"[{','.join(self.between(first, last, MAX_REPLY))}]"

    def parts(self) -> Iterable[Bar]:
        """All bars as values, oldest first, to be joined to longer ones."""
        for start in sorted(self._bars):
            tick = _bar(self._bars[start])
            bar = Bar(start, tick["open"])
            bar.close, bar.high, bar.low = tick["close"], tick["high"], tick["low"]
            bar.amount, bar.vol, bar.count = tick["amount"], tick["vol"], int(tick["count"])
            yield bar


class RecordedTrades(RecordedFeed):
    """``trade.detail``: the newest ticks."""

    def __init__(self, topic: Topic) -> None:
        super().__init__(topic)
        self._ticks: deque[str] = deque(maxlen=_KEPT)

    def take(self, frame: Frame, pos: int, ts_recv: int) -> None:
        self.last = frame
        self.add(_text(_push(frame.text).tick))

    def add(self, tick: str) -> None:
        """A tick; the venue sends the last one again after each subscription."""
        if not self._ticks or self._ticks[-1] != tick:
            self._ticks.append(tick)

    def take_reply(self, text: str, pos: int, ts_recv: int) -> Frame | None:
        """Trades that the recorder asked for after a hole: those that did not reach it take their place, and are
        pushed now, for at the venue they were pushed as well.
        """
        known = {_trade(item).number for tick in self._ticks for item in _trades(tick).data}
        known.add(None)
        missed = [item for item in _trades(text).data if _trade(item).number not in known]
        if not missed:
            return None
        ticks = [*self._ticks, *(_tick([item]) for item in missed)]
        self._ticks = deque(sorted(ticks, key=_first_number), _KEPT)
        return Frame(encode_push(self.topic.text, _answer(text).ts, _tick(missed)))

    def newest(self, size: int) -> list[str]:
        """The newest ``size`` ticks, newest first."""
        return list(dict.fromkeys(reversed(self._ticks)))[:size]

    def reply(self, first: int, last: int) -> str:
        """The newest trades, oldest first."""
        newest: list[str] = []
        for tick in self.newest(MAX_REPLY):
            items = _trades(tick).data
            newest += map(_text, sorted(items, key=_trade_number, reverse=True))
            if len(newest) >= MAX_REPLY:
                break
        return f"[{','.join(reversed(newest[:MAX_REPLY]))}]"


class RecordedBook(RecordedFeed):
    """``mbp.N``: its chain, and the book, by the rule that every recorder follows."""

    def __init__(self, topic: Topic, venue: Venue) -> None:
        super().__init__(topic)
        self._venue = venue
        self._sync = BookSync(topic.symbol, topic.feed)
        self.ts_ms = 0
        """Receive time (ms) of the newest message."""
        self._seq = 0
        self._run = 0
        self._first: BookImage | None = None
        self._since = 0
        self._loose = 0
        self.awaited = False
        """Whoever follows the chain was told of a break in it, the book is known again, and nobody asked for it."""
        self._waiting: dict[int, tuple[Stream | None, _Give]] = {}

    @property
    def seq(self) -> int:
        return self._seq

    def load(self, seq: int, bids: Levels, asks: Levels) -> None:
        """Begin with a book that is known."""
        book = Snapshot(self.topic.symbol, self.topic.feed, 0, seq, bids, asks, "refresh")
        self._sync.snapshot(book, 0, 0)
        self._seq = seq

    def take(self, frame: Frame, pos: int, ts_recv: int) -> None:
        message = self._venue.decode(frame.text.encode())
        assert isinstance(message, Data), "a push"
        for delta in message.events:
            assert isinstance(delta, Delta), "a sequenced topic pushes deltas"
            self._sync.delta(delta, pos, ts_recv)
            self.ts_ms = ts_recv // 1_000_000
            self._since += 1
            self._loose += not self._sync.valid
            self._seq = frame.seq = delta.seq
            frame.prev_seq = delta.prev_seq

    def take_reply(self, text: str, pos: int, ts_recv: int) -> Frame | None:
        message = self._venue.decode(text.encode())
        assert isinstance(message, Reply), "an answer"
        for book in message.events:
            assert isinstance(book, Snapshot), "a sequenced topic is answered with a whole book"
            if self._sync.snapshot(book, pos, ts_recv) is Outcome.ADOPTED and book.seq is not None:
                answer = _answer(text)
                self._run += 1
                self._since = 0
                self._first = BookImage(book.seq, _text(answer.data), answer.ts)
                waiting, self._waiting = self._waiting, {}
                self.awaited, self._loose = self._loose > 0 and not waiting, 0
                for stream, give in waiting.values():
                    give(self._image(stream))
        return None

    def book(self) -> tuple[int, Levels, Levels] | None:
        """Number and levels of the book, best first; None inside a hole."""
        sync = self._sync
        if not sync.valid or sync.last_seq is None:
            return None
        return sync.last_seq, *sync.book.top()

    def cached(self, now_ms: int) -> None:
        """Nothing: no image comes with an ack, a client has to ask for it."""
        return

    def ask(self, asker: int, stream: Stream | None, give: _Give) -> None:
        """``give`` the book, at once, or inside a hole when it is known again. A second question of one ``asker``
        stands for the first.
        """
        self.awaited = False
        if self._sync.valid:
            give(self._image(stream))
        else:
            self._waiting[asker] = stream, give

    def _image(self, stream: Stream | None) -> BookImage:
        """The book as it is. A stream that had none yet in this run gets the image that the recorder got, if it can
        join that to what it was sent: so whoever records it again begins where the archive does.
        """
        first = self._first
        if first is not None and stream is not None and stream.chain is not None and stream.run != self._run:
            stream.run = self._run
            if stream.chain.need_seq <= first.seq and self._since <= _JOINABLE:
                return first
        found = self.book()
        assert found is not None, "the book is known"
        seq, bids, asks = found
        return BookImage(
            seq, f'{{"seqNum":{seq},"bids":{level_texts(bids)},"asks":{level_texts(asks)}}}', None
        )


def level_texts(levels: Levels) -> str:
    """Levels as JSON."""
    return join_levels(f"[{java_double(price)},{java_double(size)}]" for price, size in levels)


def make_recorded(topic: Topic, venue: Venue) -> RecordedFeed:
    """The feed of a topic."""
    if topic.kind == "mbp":
        return RecordedBook(topic, venue)
    kinds: dict[str, type[RecordedFeed] | Any] = {"kline": RecordedBars, "trade.detail": RecordedTrades}
    feed: RecordedFeed = kinds.get(topic.kind, RecordedFeed)(topic)
    return feed


def _text(raw: Raw) -> str:
    return bytes(raw).decode()


def _tick(items: list[Raw]) -> str:
    """Trades as the tick of a push: numbered and timed as the last of them."""
    last = _trade(items[-1])
    return f'{{"id":{last.number},"ts":{last.ts},"data":[{",".join(map(_text, items))}]}}'


def _first_number(tick: str) -> int:
    return min(map(_trade_number, _trades(tick).data), default=0)


def _trade_number(item: Raw) -> int:
    return _trade(item).number or 0
