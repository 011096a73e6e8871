"""Clients we did not write, used as their users use them: if they are content, the protocol is spoken right.

They are in the ``peers`` extra; without it these tests are skipped.
"""

from __future__ import annotations

import asyncio
import importlib
import shutil
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from bookreel.exchange import Exchange, ExchangeConfig, Recording
from bookreel.replay import Archive, RecordedKline, RecordedTicker, RecordedTrade

pytestmark = [pytest.mark.peers, pytest.mark.timeout(120)]

SYMBOLS = ("btcusdt", "ethusdt", "aidogeusdt", "zeneth")


def test_ccxt_pro_follows_books_trades_bars_and_tickers() -> None:
    pytest.importorskip("ccxt")
    pro = importlib.import_module("ccxt.pro")

    async def main() -> None:
        async with Exchange(ExchangeConfig(symbols=SYMBOLS, rate=60.0, seed=7)) as exchange:
            client = pro.htx(
                {"options": {"fetchMarkets": {"types": {"spot": True, "linear": False, "inverse": False}}}}
            )
            point_ccxt(client, exchange)
            try:
                await client.load_markets()
                assert client.markets["AIDOGE/USDT"]["id"] == "aidogeusdt"
                for limit, symbol in ((150, "BTC/USDT"), (20, "ETH/USDT"), (5, "ZEN/ETH")):
                    book: Any = None
                    for _ in range(25):  # an update that does not chain raises InvalidNonce
                        book = await asyncio.wait_for(client.watch_order_book(symbol, limit), 30)
                    assert book["bids"][0][0] < book["asks"][0][0]
                    assert len(book["bids"]) >= min(limit, 100)
                trades = await asyncio.wait_for(client.watch_trades("BTC/USDT"), 20)
                assert trades[-1]["side"] in {"buy", "sell"}
                assert trades[-1]["price"] > 0
                bars = await asyncio.wait_for(client.watch_ohlcv("BTC/USDT", "1m"), 20)
                assert bars[-1][3] <= bars[-1][4] <= bars[-1][2]
                ticker = await asyncio.wait_for(client.watch_ticker("BTC/USDT"), 20)
                assert ticker["last"] > 0
                rest = await client.fetch_order_book("AIDOGE/USDT")
                assert 0 < rest["bids"][0][0] < rest["asks"][0][0] < 1e-9
                assert (await client.fetch_trades("BTC/USDT", limit=5))[-1]["price"] > 0
                assert len(await client.fetch_ohlcv("BTC/USDT", "1d", limit=10)) >= 9
                assert (await client.fetch_tickers(["BTC/USDT"]))["BTC/USDT"]["bid"] > 0
            finally:
                await client.close()

    asyncio.run(main())


def point_ccxt(client: Any, exchange: Exchange) -> None:
    client.urls["api"]["ws"]["api"]["spot"] = {
        "public": exchange.ws_url,
        "private": exchange.ws_url,
        "feed": exchange.feed_url,
    }
    host = exchange.rest_url.removeprefix("http://")
    client.urls["hostnames"] = dict.fromkeys(client.urls["hostnames"], host)
    client.urls["api"] = {
        name: url.replace("https://", "http://") if isinstance(url, str) else url
        for name, url in client.urls["api"].items()
    }
    client.hostname = host


def test_cryptofeed_keeps_its_one_second_book_and_trades(trusted: tuple[Path, Path]) -> None:
    books: list[Any] = []
    trades: list[Any] = []

    async def on_book(book: Any, received: float) -> None:
        books.append((book.symbol, book.book.bids.index(0)[0], book.book.asks.index(0)[0]))

    async def on_trade(trade: Any, received: float) -> None:
        trades.append(trade)

    async def main() -> None:
        certificate, key = trusted
        config = ExchangeConfig(symbols=SYMBOLS, rate=60.0, seed=8, tls_cert=certificate, tls_key=key)
        async with (
            Exchange(config) as exchange,
            cryptofeed(exchange, ["BTC-USDT", "ZEN-ETH"], l2_book=on_book, trades=on_trade),
            asyncio.timeout(30),
        ):
            while len(books) < 8 or len(trades) < 5 or len({b[0] for b in books}) < 2:  # noqa: ASYNC110
                await asyncio.sleep(0.05)

    asyncio.run(main())
    assert all(bid < ask for _, bid, ask in books)
    assert all(t.price > 0 and t.side in {"buy", "sell"} for t in trades)


def test_cryptofeed_takes_an_archive_for_the_venue(trusted: tuple[Path, Path], recorded: Path) -> None:
    """It gets what was recorded, each of it once, with every digit."""
    found: dict[str, list[Any]] = {"books": [], "trades": [], "candles": [], "tickers": []}

    async def on_book(book: Any, received: float) -> None:
        sides = (book.book.bids, book.book.asks)
        best = tuple((float(price), float(size)) for price, size in (side.index(0) for side in sides))
        found["books"].append((venue_symbol(book), *best))

    async def on_trade(trade: Any, received: float) -> None:
        found["trades"].append((venue_symbol(trade), int(trade.id), trade.side, trade.price, trade.amount))

    async def on_candle(bar: Any, received: float) -> None:
        found["candles"].append((venue_symbol(bar), bar.start, bar.trades, bar.close, bar.volume))

    async def on_ticker(ticker: Any, received: float) -> None:
        found["tickers"].append((venue_symbol(ticker), ticker.bid, ticker.ask))

    async def main() -> None:
        certificate, key = trusted
        recording = Recording(archive=recorded, speed=None, wait_s=1.0)
        config = ExchangeConfig(recording=recording, tls_cert=certificate, tls_key=key)
        async with (
            Exchange(config) as exchange,
            cryptofeed(
                exchange,
                ["BTC-USDT", "AIDOGE-USDT"],
                l2_book=on_book,
                trades=on_trade,
                candles=on_candle,
                ticker=on_ticker,
            ),
            asyncio.timeout(60),
        ):
            await exchange.ended()

    asyncio.run(main())
    with Archive(recorded) as archive:
        events = list(archive.events(numbers="decimal", tables=["trades", "klines", "tickers"]))
        books = list(archive.events(tables=["book_snapshots"], feeds="depth.step0"))
    of_kind = {kind: [event for event in events if type(event) is kind] for kind in map(type, events)}
    # Those of one message come in the venue's order, and are stored by their number.
    assert sorted(found["trades"]) == sorted(
        (event.symbol, event.trade_seq, event.side, event.price, event.size)
        for event in of_kind[RecordedTrade]
    )
    assert found["candles"] == [
        (event.symbol, event.open_time // 10**9, event.count, event.close, event.volume)
        for event in of_kind[RecordedKline]
        if event.period == "1min"
    ]
    assert found["tickers"] == [
        (event.symbol, event.bid, event.ask) for event in of_kind[RecordedTicker] if event.feed == "ticker"
    ]
    assert found["books"] == [
        (event.symbol, event.bids[0], event.asks[0]) for event in books if event.source == "push"
    ]
    assert all(len(of_it) > 5 for of_it in found.values())


def venue_symbol(value: Any) -> str:
    return str(value.symbol).replace("-", "").lower()


@pytest.fixture
def trusted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    """Certificate and key of a server that this process trusts."""
    certificate, key = make_certificate(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate))
    return certificate, key


@asynccontextmanager
async def cryptofeed(exchange: Exchange, symbols: list[str], **callbacks: Any) -> AsyncIterator[None]:
    """Its handler, with an unmodified Huobi feed, which runs meanwhile; ``callbacks`` by the channels' names."""
    pytest.importorskip("cryptofeed")
    connection = importlib.import_module("cryptofeed.connection")
    huobi = importlib.import_module("cryptofeed.exchanges").Huobi
    importlib.import_module("cryptofeed.symbols").Symbols.clear()

    class Local(huobi):  # type: ignore[misc, valid-type]
        websocket_endpoints = [connection.WebsocketEndpoint(exchange.ws_url)]  # noqa: RUF012
        rest_endpoints = [  # noqa: RUF012
            connection.RestEndpoint(exchange.rest_url, routes=connection.Routes("/v1/common/symbols"))
        ]

    # the constructor fetches the symbols with a blocking client: not in the loop that serves them
    feed = await asyncio.to_thread(Local, symbols=symbols, channels=list(callbacks), callbacks=callbacks)
    handler = importlib.import_module("cryptofeed").FeedHandler(
        config={"log": {"disabled": True}, "uvloop": False}
    )
    handler.add_feed(feed)
    handler.run(start_loop=False, install_signal_handlers=False)
    try:
        yield
    finally:
        await handler.stop_async(loop=asyncio.get_running_loop())


def make_certificate(folder: Path) -> tuple[Path, Path]:
    """cryptofeed takes only wss:// addresses."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("needs openssl to make a certificate")
    certificate, key = folder / "cert.pem", folder / "key.pem"
    subject = ["-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1", "-days", "2"]
    files = ["-keyout", str(key), "-out", str(certificate)]
    subprocess.run(
        [openssl, "req", "-x509", "-newkey", "rsa:2048", "-nodes", *subject, *files],
        check=True,
        capture_output=True,
    )
    return certificate, key
