"""tardis-machine's interface, asked as its clients ask it."""

from __future__ import annotations

import asyncio
import gzip
import json
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from bookreel.book.l2 import L2Book
from bookreel.replay import Archive, RecordedDelta, RecordedSnapshot
from bookreel.replay.server import Limits, Settings
from tests.replay.server.serving import Reply, Site, serving

RANGE = {"exchange": "huobi", "from": "2000-01-01", "to": "2000-12-31"}


@pytest.fixture(scope="module")
def span(recorded: Path) -> dict[str, str]:
    """The options that are of everything."""
    with Archive(recorded) as archive:
        times = [event.ts_recv for event in archive.events(tables="frames")]
    return {"exchange": "huobi", "from": str(min(times)), "to": str(max(times) + 1)}


def ask(site: Site, path: str, options: Any) -> Reply:
    return site.get(path, options=json.dumps(options))


def frames(recorded: Path, channel: str, symbol: str) -> list[str]:
    with Archive(recorded) as archive:
        return [
            event.payload
            for event in archive.events(tables="frames")
            if event.direction == "in"
            and event.kind in ("data", "reply")
            and (event.topic or "").startswith(f"market.{symbol}.{channel}")
        ]


def test_frames_come_as_they_were_received(site: Site, recorded: Path, span: dict[str, str]) -> None:
    filters = [{"channel": "mbp", "symbols": ["BTCUSDT"]}]
    reply = ask(site, "/replay", {**span, "filters": filters, "withDisconnects": True})
    assert reply.status == 200
    lines = reply.body.decode().splitlines()
    assert "" in lines, "a disconnect is an empty line"
    found = [line for line in lines if line]
    texts = frames(recorded, "mbp", "btcusdt")
    assert [
        line[len('{"localTimestamp":"2026-01-01T00:00:00.0000000Z","message":') : -1] for line in found
    ] == texts
    assert all(len(json.loads(line)["localTimestamp"]) == 28 for line in found)


def test_every_line_of_everything_is_json(site: Site, span: dict[str, str]) -> None:
    found = ask(site, "/replay", span).body.splitlines()
    assert len(found) > 500
    for line in found:
        assert json.loads(line).keys() == {"localTimestamp", "message"}


def test_normalised_messages_are_those_of_the_tables(
    site: Site, recorded: Path, span: dict[str, str]
) -> None:
    kinds = ["trade", "book_change", "quote", "trade_bar_2ticks"]
    found = ask(site, "/replay-normalized", {**span, "symbols": ["btcusdt"], "dataTypes": kinds}).lines()
    with Archive(recorded) as archive:
        trades = list(archive.events("btcusdt", "trades"))
        books = [
            event
            for event in archive.events("btcusdt", ["book_snapshots", "book_deltas"], feeds="mbp.150")
            if getattr(event, "source", "") != "keyframe" and (event.bids or event.asks)
        ]
    own = [item for item in found if item["type"] == "trade"]
    assert [(item["price"], item["amount"], item["id"]) for item in own] == [
        (trade.price, trade.size, str(trade.trade_seq)) for trade in trades
    ]
    changes = [item for item in found if item["type"] == "book_change"]
    assert [
        [[(level["price"], level["amount"]) for level in item[side]] for side in ("bids", "asks")]
        for item in changes
    ] == [[event.bids, event.asks] for event in books]
    assert sum(item["trades"] for item in found if item["type"] == "trade_bar") == len(trades) // 2 * 2
    assert {item["symbol"] for item in found} == {"BTCUSDT"}
    assert any(item["type"] == "book_snapshot" and item["name"] == "quote" for item in found)


@pytest.mark.parametrize(
    ("name", "depth"), [("quote", 1), ("book_snapshot_3_0ms", 3), ("book_snapshot_500_0ms", 500)]
)
def test_books_are_the_best_of_the_book_whenever_that_changed(
    site: Site, recorded: Path, span: dict[str, str], name: str, depth: int
) -> None:
    found = ask(site, "/replay-normalized", {**span, "symbols": ["btcusdt"], "dataTypes": [name]}).lines()
    book, tops = L2Book(), []
    with Archive(recorded) as archive:
        for event in archive.events("btcusdt", ["book_snapshots", "book_deltas"], feeds="mbp.150"):
            if isinstance(event, RecordedDelta):
                book.apply(event)
            elif isinstance(event, RecordedSnapshot) and event.source != "keyframe":
                book.load(event.bids, event.asks)
            top = [sorted(book.bids.items(), reverse=True)[:depth], sorted(book.asks.items())[:depth]]
            if not tops or top != tops[-1]:
                tops.append(top)
    assert len(found) == len(tops) > 20
    for item, top in zip(found, tops, strict=True):
        for side, levels in zip((item["bids"], item["asks"]), top, strict=True):
            assert [(level["price"], level["amount"]) for level in side[: len(levels)]] == levels
            assert side[len(levels) :] == [{}] * (depth - len(levels))


@pytest.mark.parametrize(
    ("path", "options"),
    [
        ("/replay", {**RANGE, "exchange": "binance"}),
        ("/replay", {**RANGE, "from": "sdf"}),
        ("/replay", {**RANGE, "to": "1999-01-01"}),
        ("/replay", {"exchange": "huobi"}),
        ("/replay", "no options"),
        ("/replay-normalized", {**RANGE, "dataTypes": ["liquidation"]}),
        ("/replay-normalized", {**RANGE, "dataTypes": ["derivative_ticker"]}),
        ("/replay-normalized", {**RANGE, "dataTypes": []}),
        ("/replay-normalized", []),
        ("/ws-replay-normalized", []),
        ("/ws-replay-normalized", [[]]),
    ],
    ids=str,
)
def test_what_is_not_here_is_refused(site: Site, path: str, options: Any) -> None:
    reply = ask(site, path, options)
    assert reply.status == 400
    assert reply.json()["message"]


def test_the_data_feed_is_always_compressed(site: Site, span: dict[str, str]) -> None:
    query = {"from_": span["from"], "offset": 0, "sliceSize": 1440}
    reply = site.get("/v1/data-feeds/huobi", **query)
    assert reply.headers["content-encoding"] == "gzip"
    assert reply.headers["x-slice-size"] == "1440"
    lines = [line for line in gzip.decompress(reply.body).splitlines() if line]
    assert lines
    for line in lines:
        assert line[28:29] == b" "
        json.loads(line[29:])


def test_a_session_is_merged_and_ends_in_order(
    site: Site, recorded: Path, span: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bookreel.replay.server.tardis_sockets.START_DELAY_S", 0.5)
    query = "&".join(f"{key}={value}" for key, value in span.items())
    url = f"http://127.0.0.1:{site.port}/ws-replay?{query}"

    async def read(socket: aiohttp.ClientWebSocketResponse) -> list[str]:
        return [message.data async for message in socket]

    async def main() -> None:
        async with asyncio.timeout(60), aiohttp.ClientSession() as http:
            one = await http.ws_connect(f"{url}&session=both")
            two = await http.ws_connect(f"{url}&session=both")
            await one.send_json({"sub": "market.btcusdt.trade.detail", "id": "1"})
            await two.send_json({"sub": "market.ethusdt.bbo", "id": "1"})
            found = await asyncio.gather(read(one), read(two))
            assert (one.close_code, two.close_code) == (1000, 1000)
            silent = await http.ws_connect(url)
            assert await read(silent) == []
            assert silent.close_code == 1011
        assert found[0] == await asyncio.to_thread(frames, recorded, "trade", "btcusdt")
        assert found[1] == await asyncio.to_thread(frames, recorded, "bbo", "ethusdt")

    asyncio.run(main())


def test_normalised_messages_over_a_websocket(site: Site, span: dict[str, str]) -> None:
    options = {**span, "symbols": ["btcusdt"], "dataTypes": ["trade"]}
    expected = ask(site, "/replay-normalized", options).body.decode().splitlines()

    async def main() -> None:
        url = f"http://127.0.0.1:{site.port}/ws-replay-normalized"
        async with (
            asyncio.timeout(60),
            aiohttp.ClientSession() as http,
            http.ws_connect(url, params={"options": json.dumps(options)}) as socket,
        ):
            assert [message.data async for message in socket] == expected
            assert socket.close_code == 1000

    asyncio.run(main())


def endless(*_: object) -> Iterator[tuple[int, bytes]]:
    """Messages that come for ever, and where each stands."""
    return ((number, b'{"number":%d}' % number + b" " * 50_000) for number in count())


def socket_url(site: Site, span: dict[str, str], session: str) -> str:
    query = "&".join(f"{key}={value}" for key, value in span.items())
    return f"http://127.0.0.1:{site.port}/ws-replay?{query}&session={session}"


async def subscribed(http: aiohttp.ClientSession, url: str) -> aiohttp.ClientWebSocketResponse:
    socket = await http.ws_connect(url)
    await socket.send_json({"sub": "market.btcusdt.trade.detail", "id": "1"})
    return socket


async def let_go(site: Site, streams: int) -> None:
    """Wait until no more than so many streams are under way."""
    while (await asyncio.to_thread(site.get, "/health-check")).json()["streams"] > streams:  # noqa: ASYNC110
        await asyncio.sleep(0.02)


def transport_of(socket: aiohttp.ClientWebSocketResponse) -> Any:
    response: Any = socket
    return response._response.connection.transport


def test_who_comes_to_a_session_late_is_told_so(
    site: Site, span: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those that are in it go on, and another session begins as ever."""
    monkeypatch.setattr("bookreel.replay.server.tardis_sockets.START_DELAY_S", 0.05)
    monkeypatch.setattr("bookreel.replay.server.tardis_sockets.one_by_one", endless)

    async def main() -> None:
        async with asyncio.timeout(60), aiohttp.ClientSession() as http:
            first = await subscribed(http, socket_url(site, span, "one"))
            assert json.loads(await first.receive_str()) == {"number": 0}
            late = await subscribed(http, socket_url(site, span, "one"))
            closed = await late.receive(timeout=60)
            assert (closed.type, closed.data) == (aiohttp.WSMsgType.CLOSE, 1011)
            assert closed.extra == "trying to add new WS connection to replay session that already started"
            assert json.loads(await first.receive_str()) == {"number": 1}
            other = await subscribed(http, socket_url(site, span, "two"))
            assert json.loads(await other.receive_str()) == {"number": 0}
        await let_go(site, 0)

    asyncio.run(main())


def test_who_reads_nothing_is_disconnected_and_the_session_goes_on(
    recorded: Path, span: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bookreel.replay.server.tardis_sockets.START_DELAY_S", 0.3)
    monkeypatch.setattr("bookreel.replay.server.tardis_sockets.one_by_one", endless)
    monkeypatch.setattr("bookreel.replay.server.sockets.CLOSE_S", 0.2)

    async def main(site: Site) -> None:
        async with asyncio.timeout(60), aiohttp.ClientSession() as http:
            url = socket_url(site, span, "both")
            slow, reader = await subscribed(http, url), await subscribed(http, url)
            await slow.receive_str()
            transport_of(slow).pause_reading()

            # One order for both: beyond what the buffers of its connection hold, nobody is ahead of the slow one.
            for number in range(300):
                assert json.loads(await reader.receive_str())["number"] == number
            await reader.close()
            await let_go(site, 0)
            transport_of(slow).resume_reading()
            rest = [message.type async for message in slow]
            assert set(rest) <= {aiohttp.WSMsgType.TEXT}
            assert slow.close_code in (1006, 1013)

    with serving(recorded, Settings(workers=1, limits=Limits(reader_s=0.2))) as site:
        asyncio.run(main(site))


def test_who_reads_no_normalised_messages_is_disconnected(
    recorded: Path, span: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def lines(*_: object) -> Iterator[bytes]:
        return (b'{"number":%d,"text":"%b"}\n' % (number, b" " * 50_000) for number in count())

    monkeypatch.setattr("bookreel.replay.server.tardis_sockets.normal_lines", lines)
    options = {**span, "symbols": ["btcusdt"], "dataTypes": ["trade"]}

    async def main(site: Site) -> None:
        url = f"http://127.0.0.1:{site.port}/ws-replay-normalized"
        async with (
            asyncio.timeout(60),
            aiohttp.ClientSession() as http,
            http.ws_connect(url, params={"options": json.dumps(options)}) as socket,
        ):
            for number in range(10):
                assert json.loads(await socket.receive_str())["number"] == number
            transport_of(socket).pause_reading()
            await let_go(site, 0)

    with serving(recorded, Settings(workers=1, limits=Limits(reader_s=0.1))) as site:
        asyncio.run(main(site))
