"""Clients of tardis-machine that we did not write, used as their users use them.

They are in the ``peers`` extra; without it these tests are skipped.
"""

from __future__ import annotations

import asyncio
import importlib
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from bookreel.replay import Archive
from tests.replay.server.serving import Site

pytestmark = [pytest.mark.peers, pytest.mark.timeout(120)]

TRADES = "market.btcusdt.trade.detail"


@pytest.fixture(scope="module")
def frames(recorded: Path) -> list[tuple[int, str]]:
    """Every trade frame of one symbol, with its receive time."""
    with Archive(recorded) as archive:
        return [
            (event.ts_recv, event.payload)
            for event in archive.events("btcusdt", "frames")
            if event.kind == "data" and event.topic == TRADES
        ]


def test_tardis_client_replays_minutes(site: Site, frames: list[tuple[int, str]], tmp_path: Path) -> None:
    """More of them than streams may be under way: it asks for sixty at once."""
    client_class = pytest.importorskip("tardis_client").TardisClient
    channel = importlib.import_module("tardis_client").Channel
    begin = datetime.fromtimestamp(frames[0][0] // 10**9, UTC).replace(second=0, tzinfo=None)
    end = begin + timedelta(minutes=70)
    wanted = [json.loads(text) for ts, text in frames if ts < end.replace(tzinfo=UTC).timestamp() * 1e9]
    assert len(wanted) > 20

    async def main() -> list[Any]:
        client = client_class(endpoint=f"http://127.0.0.1:{site.port}", cache_dir=str(tmp_path))
        return [
            message
            async for _, message in client.replay(
                exchange="huobi",
                from_date=begin.isoformat(),
                to_date=end.isoformat(),
                filters=[channel(name="trade", symbols=["btcusdt"])],
            )
        ]

    assert asyncio.run(main()) == wanted


def test_ccxt_pro_follows_trades_of_a_session(
    site: Site, frames: list[tuple[int, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of what it follows that needs nothing but pushes: a replay answers no requests."""
    pytest.importorskip("ccxt")
    pro = importlib.import_module("ccxt.pro")
    network_error = importlib.import_module("ccxt").NetworkError
    monkeypatch.setattr("bookreel.replay.server.tardis_sockets.START_DELAY_S", 0.5)
    trades = [trade for _, text in frames for trade in json.loads(text)["tick"]["data"]]
    wanted = {str(trade["id"]): trade["price"] for trade in trades}
    market = {"id": "btcusdt", "symbol": "BTC/USDT", "base": "BTC", "quote": "USDT", "type": "spot"}
    market |= {
        "spot": True,
        "contract": False,
        "swap": False,
        "future": False,
        "linear": None,
        "inverse": None,
    }
    market |= {"baseId": "btc", "quoteId": "usdt", "active": True, "precision": {}, "limits": {}}

    async def main() -> dict[str, float]:
        client = pro.htx({"newUpdates": True, "options": {"tradesLimit": 100_000}})
        client.set_markets([market])
        query = f"exchange=huobi&from={frames[0][0]}&to={frames[-1][0] + 1}&session=ccxt"
        url = f"ws://127.0.0.1:{site.port}/ws-replay?{query}"
        client.urls["api"]["ws"]["api"]["spot"] = {"public": url, "private": url, "feed": url}
        try:
            while True:
                assert await asyncio.wait_for(client.watch_trades("BTC/USDT"), 30)
        except network_error:  # the replay has come to its end
            return {trade["id"]: trade["price"] for trade in client.trades["BTC/USDT"]}
        finally:
            await client.close()

    assert asyncio.run(main()) == wanted
