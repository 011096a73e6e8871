"""The whole recorder against a whole exchange on the loopback interface."""

from __future__ import annotations

import asyncio
import json
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from bookreel.book.model import Delta, Snapshot
from bookreel.book.sync import BookSync
from bookreel.exchange import Exchange, ExchangeConfig
from bookreel.ingest.collector import Collector
from bookreel.ingest.config import load_config
from bookreel.ingest.errors import ConfigError, ReferenceUnavailable, SymbolNotOnline
from bookreel.storage.errors import ArchiveOwned
from bookreel.storage.record import Direction, Kind, Record, decode_event
from bookreel.storage.segment import SegmentReader, list_segments
from bookreel.venues.errors import BadSymbol, UnknownFeed, VenueError
from bookreel.venues.huobi import Huobi
from bookreel.venues.message import Ack, Data, Refusal, Reply

VENUE = Huobi()
Run = Callable[..., Collector]
Until = Callable[..., Any]
BTC = "market.btcusdt.mbp.150"


def records(collector: Collector) -> list[Record]:
    found = []
    for segment in list_segments(collector.archive):
        for record in SegmentReader(segment.path).read():
            assert isinstance(record, Record), f"damage: {record}"
            found.append(record)
    return found


def events(found: list[Record], name: str) -> list[dict[str, Any]]:
    decoded = [(record.conn, decode_event(record.payload)) for record in found if record.kind is Kind.EVENT]
    return [{"conn": conn, **event} for conn, event in decoded if event["event"] == name]


def messages(found: list[Record]) -> list[tuple[Record, Any]]:
    """What the venue said, as far as it can be read."""
    decoded = []
    for record in found:
        if record.direction is Direction.IN and record.kind is Kind.COMPRESSED:
            try:
                decoded.append((record, VENUE.decode(VENUE.inflate(record.payload))))
            except VenueError:
                decoded.append((record, None))
    return decoded


def check_books(collector: Collector, at_least: int = 1) -> None:
    """Rebuild the books from the journal alone: they must be the true ones, and at the end the live ones."""
    truth: dict[tuple[str, str], dict[int, Any]] = defaultdict(dict)
    for line in (collector.archive.parent / "truth.ndjson").read_bytes().splitlines():
        told = msgspec.json.decode(line)
        if told["type"] == "book":
            truth[told["symbol"], told["feed"]][told["seq"]] = (told["bids"], told["asks"])
    books: dict[tuple[str, str], BookSync] = {}
    compared = 0
    for record in records(collector):
        if record.kind is Kind.EVENT:
            event = decode_event(record.payload)
            for sync in books.values():
                dead = event["event"] == "silence" and f"market.{sync.symbol}.{sync.feed}" in event["topics"]
                if (event["event"] == "disconnect" and sync.conn == record.conn) or dead:
                    sync.lost(event.get("cause", "silence"), record.ts_recv)
        if record.direction is not Direction.IN or record.kind is not Kind.COMPRESSED:
            continue
        try:
            message = VENUE.decode(VENUE.inflate(record.payload))
        except VenueError:
            continue
        if not isinstance(message, Ack | Data | Reply) or message.topic.coverage != "sequenced":
            continue
        key = message.topic.symbol, message.topic.feed
        sync = books.setdefault(key, BookSync(*key))
        if isinstance(message, Ack):
            if message.kind == "sub":
                sync.subscribed(record.conn)
        elif isinstance(message, Data):
            (delta,) = message.events
            assert isinstance(delta, Delta)
            sync.delta(delta, record.pos, record.ts_recv)
        else:
            snapshot = message.events[0] if message.events else None
            assert snapshot is None or isinstance(snapshot, Snapshot)
            sync.snapshot(snapshot, record.pos, record.ts_recv)
        if sync.valid and sync.last_seq in truth[key]:
            bids, asks = sync.book.top()
            assert [list(level) for level in bids] == truth[key][sync.last_seq][0]
            assert [list(level) for level in asks] == truth[key][sync.last_seq][1]
            compared += 1
    assert compared >= at_least
    for key, sync in books.items():
        live = collector.books.get(*key)
        assert live is not None
        assert (live.state, live.last_seq, live.book) == (sync.state, sync.last_seq, sync.book)


def check_counts(collector: Collector) -> None:
    """Nothing was received that is not durable, and nothing is durable that was not received."""
    assert collector.journal is not None
    counts = collector.journal.counts()
    assert counts.received == counts.durable + counts.in_flight + counts.shed
    assert (counts.in_flight, counts.shed) == (0, 0)
    found = records(collector)
    assert len(found) == counts.durable
    frames = sum(record.direction is Direction.IN and record.kind is Kind.COMPRESSED for record in found)
    assert frames == sum(session.stats.frames for session in collector.sessions)


def live(collector: Collector, books: int = 2) -> bool:
    return collector.books.live == books == collector.books.total


def deltas(collector: Collector, symbol: str) -> int:
    """The number the live book is at, 0 while it is not live."""
    sync = collector.books.get(symbol, "mbp.150")
    return sync.last_seq or 0 if sync is not None and sync.valid else 0


async def some_more(collector: Collector, until: Until, frames: int = 40) -> None:
    """Until so many more frames came on each line."""
    start = {session.line.name: session.stats.frames for session in collector.sessions}
    await until(lambda: all(s.stats.frames >= start[s.line.name] + frames for s in collector.sessions))


def test_a_market_without_faults(run_recorder: Run, until: Until) -> None:
    async def scenario(exchange: Exchange, collector: Collector) -> None:
        await until(lambda: live(collector))
        truth = collector.archive.parent / "truth.ndjson"
        await until(lambda: truth.read_bytes().count(b'"type":"book"') >= 6)
        await some_more(collector, until)
        assert not exchange.inflicted

    collector = run_recorder(scenario, seal=False)
    check_books(collector, at_least=2)
    check_counts(collector)
    found = records(collector)
    assert [decode_event(record.payload)["event"] for record in found[:1]] == ["start"]
    assert found[1].kind is Kind.REFERENCE
    assert decode_event(found[-1].payload)["event"] == "stop"
    start = events(found, "start")[0]
    assert (start["venue"], start["config"]["symbols"]) == ("huobi", ["btcusdt", "ethusdt"])
    assert len(start["run"]) == 16
    feeds = {message.topic.feed for _, message in messages(found) if isinstance(message, Data)}
    assert feeds == set(collector.config.feeds)
    assert not [message for _, message in messages(found) if isinstance(message, Refusal)]
    for kind in ("disconnect", "silence", "resync", "refused"):
        assert events(found, kind) == []
    lines = {session.line.name: session.stats for session in collector.sessions}
    assert lines.keys() == {"feed-0", "ws-0"}
    assert lines["feed-0"].sent["sub"] == 2
    assert lines["ws-0"].sent["sub"] >= 10, "and once more for each that is silent for a moment"


def test_one_lost_delta_costs_one_book(run_recorder: Run, until: Until) -> None:
    async def scenario(exchange: Exchange, collector: Collector) -> None:
        await until(lambda: live(collector))
        # Until the exchange, too, takes the stream for settled: three deltas after its last image.
        exchange.inflict("lost_delta", BTC)
        await until(lambda: exchange.inflicted.get("lost_delta"))
        await until(lambda: collector.books.gaps["seq_gap"] == 1)
        await until(lambda: live(collector))
        await some_more(collector, until, 10)

    collector = run_recorder(scenario)
    check_books(collector)
    (event,) = events(records(collector), "resync")
    assert event["topic"] == BTC
    eth = [m for _, m in messages(records(collector)) if isinstance(m, Reply) and m.topic.symbol == "ethusdt"]
    assert len(eth) == 1, "nobody asked for the other book again"


@pytest.mark.parametrize("kind", ["null_snapshot", "stale_snapshot", "straddling_snapshot", "late_snapshot"])
def test_useless_snapshots(run_recorder: Run, until: Until, kind: str) -> None:
    async def scenario(exchange: Exchange, collector: Collector) -> None:
        await until(lambda: live(collector))
        exchange.inflict(kind, BTC)
        # An image inside a delta needs a delta that spans several numbers: not every request finds one.
        for lost in range(1, 20):
            exchange.inflict("lost_delta", BTC)
            await until(lambda lost=lost: exchange.inflicted.get("lost_delta") == lost)
            await until(lambda lost=lost: collector.books.gaps.total() >= lost)
            await until(lambda: live(collector))
            if exchange.inflicted.get(kind):
                break
        assert exchange.inflicted.get(kind)
        await some_more(collector, until, 10)

    collector = run_recorder(scenario, req_timeout_ms=1500)
    check_books(collector)
    assert collector.books.resync_counts


def test_disconnects_on_both_paths(run_recorder: Run, until: Until) -> None:
    async def scenario(exchange: Exchange, collector: Collector) -> None:
        await until(lambda: live(collector))
        for topic in (BTC, "market.btcusdt.bbo"):
            exchange.inflict("disconnect", topic)
        await until(lambda: all(session.stats.epoch == 2 for session in collector.sessions))
        await until(lambda: live(collector))
        await some_more(collector, until, 10)

    collector = run_recorder(scenario)
    check_books(collector)
    check_counts(collector)
    found = records(collector)
    assert {event["conn"] for event in events(found, "disconnect")} == {"feed-0", "ws-0"}
    assert {event["cause"] for event in events(found, "disconnect")} == {"disconnect"}
    assert sorted(event["conn"] for event in events(found, "connect")) == ["feed-0", "feed-0", "ws-0", "ws-0"]
    asked = {
        message.topic.text
        for _, message in messages(found)
        if isinstance(message, Reply) and message.topic.feed == "trade.detail"
    }
    assert asked == {"market.btcusdt.trade.detail", "market.ethusdt.trade.detail"}


def test_a_half_open_connection(run_recorder: Run, until: Until) -> None:
    async def scenario(exchange: Exchange, collector: Collector) -> None:
        await until(lambda: live(collector))
        await some_more(collector, until, 40)
        books = collector.sessions[0].stats
        for given_up in range(books.epoch, books.epoch + 5):
            exchange.inflict("half_open", BTC)
            await until(lambda given_up=given_up: books.epoch > given_up)
            await until(lambda: live(collector))
            if collector.books.gaps["half_open"]:  # and not a silence before: then it is another line now
                break

    # A busy machine that stands still for a second must not look like a dead line.
    collector = run_recorder(scenario, silence_floor_ms=3000, ask_timeout_ms=2000)
    check_books(collector)
    found = [(event["conn"], event["cause"]) for event in events(records(collector), "disconnect")]
    assert found[-1] == ("feed-0", "half_open")


def test_a_silent_book(run_recorder: Run, until: Until) -> None:
    async def scenario(exchange: Exchange, collector: Collector) -> None:
        await until(lambda: live(collector))
        await some_more(collector, until, 60)
        exchange.inflict("silence", BTC)
        await until(lambda: collector.books.gaps["silence"] == 1)
        await until(lambda: live(collector))
        await some_more(collector, until, 10)

    collector = run_recorder(scenario, silence_floor_ms=3000, ask_timeout_ms=2000)
    check_books(collector)
    found = records(collector)
    assert events(found, "silence")[0]["topics"] == [BTC]
    assert events(found, "disconnect") == []


def test_a_silent_feed_that_cannot_be_requested(run_recorder: Run, until: Until) -> None:
    topic = "market.btcusdt.bbo"

    async def scenario(exchange: Exchange, collector: Collector) -> None:
        (session,) = [s for s in collector.sessions if s.line.name == "ws-0"] or [None]
        await until(lambda: live(collector) and len(collector.sessions) == 2)
        session = collector.sessions[1]
        await some_more(collector, until, 60)
        exchange.inflict("silence", topic)
        await until(lambda: session.stats.silences or session.stats.disconnects)
        await until(lambda: topic in session.stats.acked)

    collector = run_recorder(
        scenario, silence_floor_ms=500, feeds=["mbp.150", "bbo", "trade"], exchange={"rate": 60.0}
    )
    found = records(collector)
    dead = events(found, "silence")
    assert any(topic in event["topics"] for event in dead) or "silence" in {
        event["cause"] for event in events(found, "disconnect")
    }


def test_the_venues_limit_is_kept_with_many_books(run_recorder: Run, until: Until) -> None:
    symbols = ["btcusdt", "ethusdt", "xrpusdt", "ltcusdt", "eosusdt", "bchusdt", "trxusdt", "adausdt"]

    async def scenario(exchange: Exchange, collector: Collector) -> None:
        count = len(collector.config.symbols)
        await until(lambda: live(collector, count))
        exchange.inflict("disconnect", f"market.{collector.config.symbols[0]}.mbp.150")
        await until(lambda: any(session.stats.epoch == 2 for session in collector.sessions))
        await until(lambda: live(collector, count))

    from bookreel.exchange.listing import CATALOG

    chosen = [symbol for symbol in symbols if symbol in CATALOG] or list(CATALOG)[:8]
    collector = run_recorder(
        scenario, exchange={"symbols": tuple(chosen)}, symbols=chosen, feeds=["mbp.150"], audit_interval_s=1
    )
    refusals = [message for _, message in messages(records(collector)) if isinstance(message, Refusal)]
    assert refusals == []
    check_books(collector, at_least=0)


def test_a_refused_subscription_is_tried_again(run_recorder: Run, until: Until) -> None:
    async def scenario(exchange: Exchange, collector: Collector) -> None:
        exchange.inflict("sub_error", BTC)
        exchange.inflict("sub_error", "market.btcusdt.bbo")
        await until(lambda: exchange.inflicted.get("sub_error") == 2)
        await until(
            lambda: live(collector) and all(len(s.stats.acked) == s.stats.topics for s in collector.sessions)
        )

    collector = run_recorder(scenario)
    assert len(events(records(collector), "refused")) == 2


def test_what_cannot_be_read_is_kept_and_costs_one_book(run_recorder: Run, until: Until) -> None:
    async def scenario(exchange: Exchange, collector: Collector) -> None:
        await until(lambda: live(collector))
        for kind in ("broken_gzip", "broken_json"):
            exchange.inflict(kind, BTC)
            await until(lambda kind=kind: exchange.inflicted.get(kind))
        await until(lambda: collector.sessions[0].stats.decode_errors == 2)
        await until(lambda: live(collector))
        await some_more(collector, until, 10)

    collector = run_recorder(scenario)
    check_books(collector)
    check_counts(collector)
    assert sum(message is None for _, message in messages(records(collector))) == 2


def test_a_second_run_goes_on_and_asks_for_missed_trades(run_recorder: Run, until: Until) -> None:
    async def scenario(exchange: Exchange, collector: Collector) -> None:
        await until(lambda: live(collector))
        await some_more(collector, until, 5)

    first = run_recorder(scenario)
    before = len(records(first))
    second = run_recorder(scenario)
    found = records(second)
    assert [event["event"] for event in (decode_event(r.payload) for r in found[before : before + 1])] == [
        "start"
    ]
    assert [record.pos for record in found] == list(range(1, len(found) + 1))
    asked = [
        m for r, m in messages(found[before:]) if isinstance(m, Reply) and m.topic.feed == "trade.detail"
    ]
    assert len(asked) == 2


def test_the_exchange_goes_away_and_comes_back(until: Until, tmp_path: Path) -> None:
    async def main() -> Collector:
        async with asyncio.timeout(110), asyncio.TaskGroup() as tasks:
            async with Exchange(ExchangeConfig(symbols=("btcusdt", "ethusdt"))) as exchange:
                settings = {
                    "symbols": ["btcusdt", "ethusdt"],
                    "archive": str(tmp_path / "archive"),
                    "ws_url": exchange.ws_url,
                    "feed_url": exchange.feed_url,
                    "rest_url": exchange.rest_url,
                    "seal": False,
                    "backoff_base_ms": 50,
                    "backoff_cap_ms": 500,
                }
                collector = Collector(load_config(None, settings))
                tasks.create_task(collector.run())
                await until(lambda: live(collector))
            await until(lambda: all(session.stats.connect_failures for session in collector.sessions))
            assert collector.books.live == 0
            async with Exchange(msgspec.structs.replace(exchange.config, port=exchange.port)):
                await until(lambda: live(collector))
                collector.stop("the test is over")
        return collector

    collector = asyncio.run(main())
    assert len(events(records(collector), "connect_failed")) >= 2
    check_counts(collector)


def test_all_symbols_that_are_online(run_recorder: Run, until: Until) -> None:
    async def scenario(exchange: Exchange, collector: Collector) -> None:
        await until(lambda: live(collector, 2))

    collector = run_recorder(scenario, symbols="all", feeds=["mbp.150"])
    assert {book.topic.symbol for book in collector.books} == {"btcusdt", "ethusdt"}


def test_reference_data_is_loaded_again(run_recorder: Run, until: Until) -> None:
    async def scenario(exchange: Exchange, collector: Collector) -> None:
        await until(lambda: collector.journal is not None)
        await until(lambda: sum(r.kind is Kind.REFERENCE for r in records(collector)) >= 2)

    run_recorder(scenario, symbols="all", feeds=["bbo"], reference_interval_s=1)


async def _nothing(exchange: Exchange, collector: Collector) -> None:
    await asyncio.sleep(60)
    raise AssertionError("it should have been refused")


@pytest.mark.parametrize(
    ("settings", "error", "near"),
    [
        ({"symbols": ["btcusd"]}, BadSymbol, "btcusdt"),
        ({"feeds": ["mbp.15"]}, UnknownFeed, "mbp.150"),
    ],
)
def test_wrong_names_are_refused_before_anything_is_recorded(
    run_recorder: Run, tmp_path: Path, settings: dict[str, Any], error: type[Exception], near: str
) -> None:
    with pytest.raises(BaseExceptionGroup) as caught:
        run_recorder(_nothing, **settings)
    (found,) = caught.value.exceptions
    assert isinstance(found, error)
    assert near in str(found)
    assert not (tmp_path / "archive").exists()


def test_a_symbol_that_is_not_online_is_refused(run_recorder: Run, tmp_path: Path) -> None:
    from bookreel.exchange.listing import DELISTED

    with pytest.raises(BaseExceptionGroup) as caught:
        run_recorder(_nothing, symbols=[next(iter(DELISTED))])
    (found,) = caught.value.exceptions
    assert isinstance(found, SymbolNotOnline)
    assert not (tmp_path / "archive").exists()


def test_no_reference_data_no_recording(run_recorder: Run, tmp_path: Path) -> None:
    with pytest.raises(BaseExceptionGroup) as caught:
        run_recorder(_nothing, rest_url="http://127.0.0.1:9", rest_timeout_s=0.2)
    assert isinstance(caught.value.exceptions[0], ReferenceUnavailable)
    assert not (tmp_path / "archive").exists()


def test_a_second_recorder_is_refused(run_recorder: Run, until: Until) -> None:
    async def scenario(exchange: Exchange, collector: Collector) -> None:
        await until(lambda: live(collector))
        with pytest.raises(ArchiveOwned):
            await Collector(collector.config).run()
        await some_more(collector, until, 5)

    check_counts(run_recorder(scenario))


def test_it_stops_by_itself_and_before_it_began(run_recorder: Run) -> None:
    async def for_a_while(exchange: Exchange, collector: Collector) -> None:
        while collector.phase != "stopped":  # noqa: ASYNC110
            await asyncio.sleep(0.01)

    collector = run_recorder(for_a_while, for_seconds=0.5)
    assert collector.stop_reason == "0.5 s are over"
    assert events(records(collector), "stop")[0]["reason"] == "0.5 s are over"

    async def at_once(exchange: Exchange, collector: Collector) -> None:
        collector.stop("changed my mind")

    collector = run_recorder(at_once, rest_url="http://127.0.0.1:9")
    assert collector.journal is None


def test_numbers_and_health_over_http(run_recorder: Run, until: Until, unused_port: int) -> None:
    import aiohttp

    pages: dict[str, tuple[int, str]] = {}

    async def scenario(exchange: Exchange, collector: Collector) -> None:
        async with aiohttp.ClientSession() as client:

            async def get(path: str) -> tuple[int, str]:
                async with client.get(f"http://127.0.0.1:{unused_port}{path}") as reply:
                    return reply.status, await reply.text()

            await until(lambda: collector.phase == "recording")
            pages["early"] = await get("/readyz")
            await until(
                lambda: (
                    live(collector) and all(len(s.stats.acked) == s.stats.topics for s in collector.sessions)
                )
            )
            await some_more(collector, until, 10)
            for path in ("/metrics", "/livez", "/readyz", "/status"):
                pages[path] = await get(path)

    collector = run_recorder(scenario, metrics_port=unused_port)
    assert pages["early"][0] == 503
    assert json.loads(pages["early"][1])["reasons"]
    assert pages["/livez"][0] == 200
    assert pages["/readyz"] == (200, '{"ready": true, "reasons": []}')
    status = json.loads(pages["/status"][1])
    assert status["received"] == status["durable"] + status["in_flight"] + status["shed"] > 0
    assert (status["phase"], status["books_live"]) == ("recording", 2)
    numbers = dict(
        line.rsplit(" ", 1) for line in pages["/metrics"][1].splitlines() if line and not line.startswith("#")
    )
    value = {name: float(number) for name, number in numbers.items()}
    assert value["bookreel_records_received_total"] == (
        value["bookreel_records_durable_total"]
        + value["bookreel_records_in_flight"]
        + value["bookreel_records_shed_total"]
    )
    assert value['bookreel_book_valid{exchange="huobi",feed="mbp.150",symbol="btcusdt"}'] == 1
    assert value['bookreel_frames_received_total{exchange="huobi",line="feed-0"}'] > 0
    assert value["bookreel_resync_seconds_count"] == 2
    assert 0 < value["bookreel_durable_seconds_count"] <= value["bookreel_records_durable_total"]
    assert "bookreel_update_seconds_count" in value
    assert collector.phase == "stopped"


def test_a_metrics_port_in_use_is_told_before_anything_is_recorded(
    run_recorder: Run, tmp_path: Path, unused_port: int
) -> None:
    import socket

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", unused_port))
        taken.listen()
        with pytest.raises(BaseExceptionGroup) as caught:
            run_recorder(_nothing, metrics_port=unused_port)
    assert isinstance(caught.value.exceptions[0], ConfigError)
    assert not (tmp_path / "archive").exists()
