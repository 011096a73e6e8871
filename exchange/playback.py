"""An archive as a source: what was recorded, pushed again as it was received, at the pace of the replay's clock."""

from __future__ import annotations

import json
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import closing
from typing import Any, Final

from bookreel import venues
from bookreel.exchange.bars import PERIODS, join_bars
from bookreel.exchange.config import Recording
from bookreel.exchange.errors import NothingRecorded, OtherVenue
from bookreel.exchange.feeds import Frame, Topic, bar_json, parse_topic
from bookreel.exchange.huobi_wire import encode_json
from bookreel.exchange.prelude import Listed, derive_listing, listed_at, recall
from bookreel.exchange.recorded import (
    RecordedBars,
    RecordedBook,
    RecordedFeed,
    RecordedTrades,
    level_texts,
    make_recorded,
)
from bookreel.exchange.reel import Cursor, Record, ReplayClock
from bookreel.replay import Archive
from bookreel.storage.disk import OsDisk
from bookreel.storage.layout import read_meta
from bookreel.storage.tail import Tail

__all__ = ["Playback"]

_SPOKEN: Final = "huobi"
_TURN: Final = 1_000
"""Records that are taken in one turn: others of the event loop's want theirs."""
_PATIENCE_S: Final = 2.0
"""Without a pace, so long is waited for the question of who subscribed to a book, or was told of a hole in it: later
it would be answered with a book beyond what was pushed meanwhile."""
_NO_SERVICE: Final = "The coin pair does not currently offer subscription services."
_DAY: Final = ("open", "high", "low", "close", "amount", "vol", "count")
_GAPS: Final = "SELECT symbol, feed, epoch_ns(start) FROM gaps WHERE start IS NOT NULL ORDER BY start"
_NS_A_MS: Final = 1_000_000
_SECOND: Final = 1_000_000_000


class Playback:
    """A :class:`~bookreel.exchange.source.Source`. ``notes`` says what the archive lacks.

    Raises ``NothingRecorded``, ``OtherVenue`` and what opening and reading an archive raises.
    """

    def __init__(self, recording: Recording, now_ns: Callable[[], int]) -> None:
        self._recording = recording
        self._now_ns = now_ns
        venue = read_meta(recording.archive, OsDisk()).venue
        if venue != _SPOKEN:
            raise OtherVenue(recording.archive, venue, _SPOKEN)
        self._venue = venues.get(venue)
        self._feeds: dict[str, RecordedFeed] = {}
        self._open: dict[str, RecordedFeed] = {}
        self._opened_ns = 0
        self._awaited: dict[RecordedBook, int] = {}
        """Books that a client is about to ask for, and since when (ns)."""
        self.behind = False
        self.notes: list[str] = []
        self._cursor = Cursor(recording.archive, recording.symbols, recording.start, recording.end)
        try:
            with Archive(recording.archive) as archive:
                self._look(archive)
        except BaseException:
            self.stop()
            raise
        self.symbols: dict[str, _Page] = {}
        for feed in self._feeds.values():
            symbol = feed.topic.symbol
            self.symbols.setdefault(symbol, _Page(symbol, self._feeds))

    def _look(self, archive: Archive) -> None:
        """Find out what there is, and what was known when the replay begins."""
        recording = self._recording
        with closing(Tail(recording.archive)) as tail:
            contents = tail.look()
        wanted = recording.symbols
        streams = [s for s in contents.streams if wanted is None or s.symbol in wanted]
        first = self._cursor.due
        if not streams or first is None:
            raise NothingRecorded(recording.archive)
        start = recording.start
        early = start is None or start < min(stream.since for stream in streams)
        if start is None or early:  # nobody wants to wait for the first of it
            start = first
        self._clock = ReplayClock(start, recording.speed)
        for stream in streams:
            topic = parse_topic(self._venue.topic(stream.symbol, stream.feed).text)
            if topic is not None:
                self._feeds[topic.text] = make_recorded(topic, self._venue)
        if not early:
            recall(archive, self._feeds.values(), start)
        self._listed = listed_at(archive, start)
        for symbol in sorted({stream.symbol for stream in streams} - self._listed.keys()):
            self._listed[symbol] = derive_listing(archive, symbol)
            self.notes.append(
                f"the archive has no reference data of {symbol}: its currencies are told from its name, its "
                "precisions from what was recorded"
            )
        gaps = archive.sql(_GAPS).fetchall() if recording.gaps == "disconnect" else []
        self._holes = [(start_, f"market.{symbol}.{feed}") for symbol, feed, start_ in reversed(gaps)]
        while self._holes and self._holes[-1][0] < start:
            self._holes.pop()

    # Time

    @property
    def next_ns(self) -> int:
        now_ns = self._now_ns()
        due = self._cursor.due
        return now_ns if due is None else self._clock.when(due, now_ns)

    @property
    def ended(self) -> bool:
        return self._cursor.ended

    @property
    def taken(self) -> int:
        """Records so far."""
        return self._cursor.taken

    @property
    def patient(self) -> bool:
        """Whether slow clients are waited for."""
        return not self._clock.paced

    def venue_ns(self) -> int:
        return self._clock.at(self._now_ns())

    def stop(self) -> None:
        self._cursor.stop()

    # What there is

    def refusal(self, topic: Topic) -> str | None:
        if topic.text in self._feeds:
            return None
        if topic.symbol in self.symbols:
            return f"invalid topic {topic.text}"
        return _NO_SERVICE if topic.symbol in self._listed else f"invalid symbol {topic.symbol}"

    def open(self, topic: Topic, now_ns: int) -> RecordedFeed:
        self._opened_ns = now_ns
        feed = self._open[topic.text] = self._feeds[topic.text]
        if not self._clock.paced and isinstance(feed, RecordedBook) and feed.book() is not None:
            feed.awaited = True
            self._awaited[feed] = now_ns
        return feed

    def close(self, topic: Topic) -> None:
        del self._open[topic.text]
        if not self._open and self._recording.wait_s is not None:
            self._clock.stand(self._now_ns())

    def feed(self, topic: Topic) -> RecordedFeed:
        return self._feeds[topic.text]

    def reference(self) -> Iterator[str]:
        return (listed.raw for listed in self._listed.values())

    def currencies(self) -> Mapping[str, Mapping[str, object]]:
        names = dict.fromkeys(
            name for listed in self._listed.values() for name in (listed.quote, listed.base)
        )
        return {name: {"currency": name, "chains": [], "instStatus": "normal"} for name in names}

    # What comes

    def advance(self, now_ns: int) -> Iterator[tuple[str, Frame | None]]:
        if not self._clock.running and not self._begin(now_ns):
            return
        limit = self._clock.at(now_ns)
        self.behind = False
        if self._awaits(now_ns):
            return
        for _ in range(_TURN):
            record = self._cursor.head()
            if record is None:
                return
            if self._clock.paced and record.ts > limit:
                yield from self._break_off(limit)
                return
            ended = yield from self._break_off(record.ts)
            if ended and not self._clock.paced:
                return
            self._cursor.step()
            self._clock.reach(record.ts)
            frame = self._take(record)
            if frame is not None and record.topic in self._open:
                yield record.topic, frame
            feed = self._open.get(record.topic)
            if not self._clock.paced and isinstance(feed, RecordedBook) and feed.awaited:
                self._awaited[feed] = now_ns
                return
        self.behind = True

    def _awaits(self, now_ns: int) -> bool:
        """Whether a client is about to ask for a book."""
        for feed, since_ns in tuple(self._awaited.items()):
            if feed.awaited and feed.topic.text in self._open and now_ns - since_ns < _PATIENCE_S * _SECOND:
                return True
            feed.awaited = False
            del self._awaited[feed]
        return False

    def _begin(self, now_ns: int) -> bool:
        """Let the clock run, unless it has to wait."""
        wait_s = self._recording.wait_s
        if wait_s is not None and (not self._open or now_ns - self._opened_ns < wait_s * _SECOND):
            return False
        self._clock.run(now_ns)
        return True

    def _break_off(self, until: int) -> Generator[tuple[str, None], None, bool]:
        """The topics whose holes begin before ``until`` (ns), those that are open; whether there were any."""
        found = False
        while self._holes and self._holes[-1][0] < until:
            topic = self._holes.pop()[1]
            if topic in self._open:
                found = True
                yield topic, None
        return found

    def _take(self, record: Record) -> Frame | None:
        """Note what was received; the frame to push, if it was one."""
        if record.kind == "instrument":
            known = json.loads(record.text or "{}")
            base, quote = (str(known.get(f"{side}-currency", "")) for side in ("base", "quote"))
            self._listed[record.topic] = Listed(base, quote, record.text or "{}")
            return None
        feed = self._feeds.get(record.topic)
        if feed is None:
            return None
        if record.kind == "ack":
            feed.acked()
            return None
        if record.kind == "reply":
            return feed.take_reply(record.text or "", record.pos, record.ts)
        if feed.echoes(record.text or ""):
            return None
        frame = Frame(record.text or "", payload=record.payload or b"")
        if record.kind == "data":
            feed.take(frame, record.pos, record.ts)
        return frame


class _Page:
    """A :class:`~bookreel.exchange.source.SymbolPage`."""

    def __init__(self, symbol: str, feeds: Mapping[str, RecordedFeed]) -> None:
        self.symbol = symbol
        self._feeds = feeds

    def bars(self, period: str, first: int, last: int, size: int) -> Sequence[str] | None:
        feed = self._feed(f"kline.{period}")
        if isinstance(feed, RecordedBars):
            return feed.between(first, last, size)
        for shorter in reversed(PERIODS[: PERIODS.index(period)]):
            feed = self._feed(f"kline.{shorter}")
            if isinstance(feed, RecordedBars):
                found = [bar for bar in join_bars(period, feed.parts()) if first <= bar.id <= last]
                return [bar_json(bar) for bar in found[-size:]]
        return None

    def trades(self, size: int) -> Sequence[str] | None:
        feed = self._feed("trade.detail")
        if not isinstance(feed, RecordedTrades):
            return None
        return [tick.replace('"tradeId":', '"trade-id":') for tick in feed.newest(size)]

    def depth(self, step: int, levels: int) -> str | None:
        tick = self._tick(f"depth.step{step}")
        if tick is not None:
            sides = {side: tick[side][:levels] for side in ("bids", "asks")}
            return encode_json({**tick, **sides})
        book = None if step else self._book()
        if book is None:
            return None
        seq, bids, asks, ts_ms = book
        return (
            f'{{"bids":{level_texts(bids[:levels])},"asks":{level_texts(asks[:levels])},'
            f'"version":{seq},"ts":{ts_ms}}}'
        )

    def day(self) -> tuple[int, dict[str, object]] | None:
        tick = self._tick("detail") or self._tick("ticker")
        if tick is None:
            return None
        return int(tick.get("id", 0)), {name: tick[name] for name in _DAY}

    def best(self) -> tuple[float, float, float, float] | None:
        for feed in ("bbo", "ticker"):
            tick = self._tick(feed) or {}
            found = [tick.get(name) for name in ("bid", "bidSize", "ask", "askSize")]
            if None not in found:
                bid, bid_size, ask, ask_size = (float(str(value)) for value in found)
                return bid, bid_size, ask, ask_size
        book = self._book()
        if book is None or not book[1] or not book[2]:
            return None
        return *book[1][0], *book[2][0]

    def _feed(self, name: str) -> RecordedFeed | None:
        return self._feeds.get(f"market.{self.symbol}.{name}")

    def _tick(self, name: str) -> dict[str, Any] | None:
        """The content of a topic's last message."""
        feed = self._feed(name)
        text = None if feed is None else feed.tick()
        found: dict[str, Any] | None = None if text is None else json.loads(text)
        return found

    def _book(self) -> tuple[int, list[tuple[float, float]], list[tuple[float, float]], int] | None:
        """The deepest book that is known: number, bids, asks, time (ms)."""
        for levels in (400, 150, 20, 5):
            feed = self._feed(f"mbp.{levels}")
            book = feed.book() if isinstance(feed, RecordedBook) else None
            if book is not None and isinstance(feed, RecordedBook):
                return *book, feed.ts_ms
        for name in ("depth.step0", "mbp.refresh.20", "mbp.refresh.10", "mbp.refresh.5"):
            tick = self._tick(name)
            if tick is not None:
                bids, asks = ([(level[0], level[1]) for level in tick[side]] for side in ("bids", "asks"))
                return tick.get("version", tick.get("seqNum", 0)), bids, asks, tick.get("ts", 0)
        return None
