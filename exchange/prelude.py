"""What a recorder knew before an instant: reference data, last messages, bars, trades and books."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from contextlib import suppress
from decimal import Decimal
from typing import Final, NamedTuple

from bookreel.exchange.bars import Bar
from bookreel.exchange.feeds import Frame, bar_json
from bookreel.exchange.huobi_wire import encode_json
from bookreel.exchange.listing import split_symbol
from bookreel.exchange.recorded import RecordedBars, RecordedBook, RecordedFeed, RecordedTrades
from bookreel.replay import Archive, NoSuchFeed

__all__ = ["Listed", "derive_listing", "listed_at", "recall"]

_SECOND: Final = 1_000_000_000
_LOOKS_S: Final = (60, 3_600, 86_400, 30 * 86_400)
"""How far back (s) a topic's last message is looked for, one after the other."""
_BARS: Final = 2_000
_TRADES: Final = 2_000
_SAMPLE: Final = 2_000
"""Prices and sizes that a precision is told from."""

_BAR_S: Final = {"1min": 60, "5min": 300, "15min": 900, "30min": 1800, "60min": 3600, "4hour": 14_400}

_LISTED: Final = """
SELECT symbol, base, quote, raw FROM instruments
QUALIFY row_number() OVER (
    PARTITION BY symbol
    ORDER BY epoch_ns(ts_recv) <= $at DESC, CASE WHEN epoch_ns(ts_recv) <= $at THEN -pos ELSE pos END
) = 1
ORDER BY min(pos) OVER (PARTITION BY symbol), symbol
"""
"""As of an instant; of a symbol that was not known yet, what was learned first."""

_LAST: Final = """
SELECT topic, arg_max(payload, pos) FROM frames
WHERE direction = 'in' AND kind = 'data' AND payload IS NOT NULL AND list_contains($topics, topic)
    AND ts_recv >= make_timestamp_ns($since) AND ts_recv < make_timestamp_ns($at)
GROUP BY topic
"""

_BARS_AT: Final = """
SELECT epoch(open_time)::BIGINT, open, close, low, high, volume, turnover, count FROM klines
WHERE symbol = $symbol AND period = $period
    AND ts_recv >= make_timestamp_ns($since) AND ts_recv < make_timestamp_ns($at)
QUALIFY row_number() OVER (PARTITION BY open_time ORDER BY pos DESC) = 1
ORDER BY open_time
"""

_TRADES_AT: Final = """
FROM (
    SELECT trade_id, trade_seq, epoch_ms(ts_event) AS ms, side, price, size, ts_recv, pos FROM trades
    WHERE symbol = $symbol AND ts_recv >= make_timestamp_ns($since) AND ts_recv < make_timestamp_ns($at)
    ORDER BY pos DESC, trade_seq DESC LIMIT $limit
) ORDER BY coalesce(trade_seq, 0), pos
"""
"""Some were asked for later than those after them came."""

_NUMBERS: Final = (
    "SELECT price, size FROM trades WHERE symbol = $symbol LIMIT $limit",
    "SELECT unnest([bid, ask]) AS price, unnest([bid_size, ask_size]) FROM bbo "
    "WHERE symbol = $symbol AND bid IS NOT NULL AND ask IS NOT NULL LIMIT $limit",
    "SELECT unnest(bids || asks).price, unnest(bids || asks).size FROM book_snapshots "
    "WHERE symbol = $symbol LIMIT $limit",
)


class Listed(NamedTuple):
    """An entry of the reference data: ``raw`` is its JSON object."""

    base: str
    quote: str
    raw: str


def listed_at(archive: Archive, at: int) -> dict[str, Listed]:
    """The reference data as of an instant (ns), in the venue's order."""
    rows = archive.sql(_LISTED, {"at": at}).fetchall()
    return {symbol: Listed(*facts) for symbol, *facts in rows}


def derive_listing(archive: Archive, symbol: str) -> Listed:
    """What can be told of a symbol without reference data: its currencies by its name, precisions by what was
    recorded of it.
    """
    base, quote = split_symbol(symbol)
    precisions = [0, 0]
    for query in _NUMBERS:
        rows = archive.sql(query, {"symbol": symbol, "limit": _SAMPLE}).fetchall()
        for index, values in enumerate(zip(*rows, strict=True)):
            precisions[index] = max(precisions[index], *map(_decimals, values))
    entry = {
        "base-currency": base,
        "quote-currency": quote,
        "price-precision": precisions[0],
        "amount-precision": precisions[1],
        "symbol-partition": "main",
        "symbol": symbol,
        "state": "online",
    }
    return Listed(base, quote, encode_json(entry))


def recall(archive: Archive, feeds: Iterable[RecordedFeed], at: int) -> None:
    """Give feeds what was known of their topics before ``at`` (ns)."""
    feeds = list(feeds)
    for feed in feeds:
        if isinstance(feed, RecordedBook):
            _recall_book(archive, feed, at)
        elif isinstance(feed, RecordedBars):
            _recall_bars(archive, feed, at)
        elif isinstance(feed, RecordedTrades):
            _recall_trades(archive, feed, at)
    plain = {feed.topic.text: feed for feed in feeds if not isinstance(feed, RecordedBook)}
    for topic, text in _last_messages(archive, set(plain), at):
        plain[topic].last = Frame(text)  # its bars and trades are known from their tables


def _last_messages(archive: Archive, topics: Collection[str], at: int) -> Iterator[tuple[str, str]]:
    left = set(topics)
    for look_s in _LOOKS_S:
        if not left:
            return
        since = max(0, at - look_s * _SECOND)
        for topic, text in archive.sql(_LAST, {"topics": sorted(left), "since": since, "at": at}).fetchall():
            left.discard(topic)
            yield topic, text


def _recall_book(archive: Archive, feed: RecordedBook, at: int) -> None:
    with suppress(NoSuchFeed):
        book = archive.book(feed.topic.symbol, at - 1, feed.topic.feed)
        if book.valid and book.seq is not None:
            feed.load(book.seq, book.bids, book.asks)


def _recall_bars(archive: Archive, feed: RecordedBars, at: int) -> None:
    period = feed.topic.argument
    since = max(0, at - _BARS * _BAR_S[period] * _SECOND) if period in _BAR_S else 0
    given = {"symbol": feed.topic.symbol, "period": period, "since": since, "at": at}
    for start, *values in archive.sql(_BARS_AT, given).fetchall():
        bar = Bar(start, values[0])
        bar.close, bar.low, bar.high, bar.amount, bar.vol, bar.count = values[1:]
        feed.add(start, bar_json(bar))


def _recall_trades(archive: Archive, feed: RecordedTrades, at: int) -> None:
    given = {"symbol": feed.topic.symbol, "since": max(0, at - 86_400 * _SECOND), "at": at, "limit": _TRADES}
    for trade_id, trade_seq, ms, side, price, size, *_ in archive.sql(_TRADES_AT, given).fetchall():
        number = {} if trade_seq is None else {"tradeId": trade_seq}
        trade = {"id": int(trade_id), "ts": ms, **number, "amount": size, "price": price, "direction": side}
        feed.add(f'{{"id":{trade_seq or 0},"ts":{ms},"data":[{encode_json(trade)}]}}')


def _decimals(value: float) -> int:
    exponent = Decimal(repr(value)).normalize().as_tuple().exponent
    return max(0, -exponent) if isinstance(exponent, int) else 0
