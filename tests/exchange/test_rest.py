from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

import aiohttp
import pytest

from bookreel.exchange import Exchange, ExchangeConfig

Ask = Callable[..., Awaitable[Any]]


def ask(check: Callable[[Ask], Awaitable[None]]) -> None:
    async def main() -> None:
        config = ExchangeConfig(symbols=("btcusdt", "aidogeusdt"), rate=200.0, seed=4)
        async with Exchange(config) as ex, aiohttp.ClientSession(ex.rest_url) as session:

            async def get(path: str, **query: str) -> Any:
                async with session.get(path, params=query) as response:
                    assert response.status == 200
                    assert response.content_type == "application/json"
                    return json.loads(await response.text())

            async with asyncio.timeout(60):
                while (await get("/market/trade", symbol="btcusdt"))["tick"] is None:  # noqa: ASYNC110
                    await asyncio.sleep(0.2)
            await check(get)

    asyncio.run(main())


def test_reference_data() -> None:
    async def check(get: Ask) -> None:
        symbols = await get("/v1/common/symbols")
        assert symbols["status"] == "ok"
        assert [s["symbol"] for s in symbols["data"] if s["state"] == "online"] == ["btcusdt", "aidogeusdt"]
        assert any(s["state"] == "offline" for s in symbols["data"])
        currencies = await get("/v1/common/currencys")
        assert "btc" in currencies["data"]
        assert (await get("/v1/common/timestamp"))["data"] > 1.7e12
        chains = await get("/v2/reference/currencies", currency="usdt")
        assert chains["code"] == 200 and chains["data"][0]["currency"] == "usdt"
        assert (await get("/v2/reference/currencies", currency="nope"))["code"] == 2002

    ask(check)


def test_market_data() -> None:
    async def check(get: Ask) -> None:
        day = {"open", "high", "low", "close", "amount", "vol", "count"}
        bars = (await get("/market/history/kline", symbol="btcusdt", period="5min", size="50"))["data"]
        assert len(bars) == 50 and [b["id"] for b in bars] == sorted((b["id"] for b in bars), reverse=True)
        assert set(bars[0]) == day | {"id"}
        some = await get(
            "/market/history/candles", symbol="btcusdt", period="5min", **{"from": str(bars[3]["id"])}
        )
        assert [b["id"] for b in some["data"]] == [b["id"] for b in bars[:4]]
        assert len((await get("/market/history/kline", symbol="btcusdt", period="1day"))["data"]) == 150
        merged = (await get("/market/detail/merged", symbol="btcusdt"))["tick"]
        assert set(merged) == day | {"id", "version", "bid", "ask"} and merged["bid"][0] < merged["ask"][0]
        tickers = (await get("/market/tickers"))["data"]
        assert {t["symbol"] for t in tickers} == {"btcusdt", "aidogeusdt"}
        assert set(tickers[0]) == day | {"symbol", "bid", "bidSize", "ask", "askSize"}
        assert set((await get("/market/detail", symbol="aidogeusdt"))["tick"]) == day | {"id", "version"}
        last = (await get("/market/trade", symbol="btcusdt"))["tick"]
        assert set(last["data"][0]) == {"id", "ts", "trade-id", "amount", "price", "direction"}
        history = (await get("/market/history/trade", symbol="btcusdt", size="3"))["data"]
        assert [t["id"] for t in history] == sorted((t["id"] for t in history), reverse=True)

    ask(check)


def test_depth_has_the_real_shape(real_frames: list[tuple[str, dict[str, Any], str]]) -> None:
    real = next(f for kind, f, _ in real_frames if "REST" in kind)

    async def check(get: Ask) -> None:
        depth = await get("/market/depth", symbol="btcusdt", type="step0")
        assert list(depth) == list(real) and list(depth["tick"]) == list(real["tick"])
        assert len(depth["tick"]["bids"]) == 150
        assert (
            len((await get("/market/depth", symbol="btcusdt", type="step0", depth="5"))["tick"]["asks"]) == 5
        )
        assert len((await get("/market/depth", symbol="btcusdt", type="step2"))["tick"]["asks"]) <= 20

    ask(check)


@pytest.mark.parametrize(
    ("path", "query"),
    [
        ("/market/depth", {"symbol": "nope"}),
        ("/market/depth", {"symbol": "btcusdt", "type": "step9"}),
        ("/market/depth", {"symbol": "btcusdt", "depth": "7"}),
        ("/market/history/kline", {"symbol": "btcusdt", "period": "2min"}),
        ("/market/history/kline", {"symbol": "btcusdt", "period": "1min", "size": "2001"}),
        ("/market/history/trade", {"symbol": "btcusdt", "size": "x"}),
        ("/market/detail", {"symbol": "veneth"}),
    ],
)
def test_refusals_have_the_venues_envelope(path: str, query: dict[str, str]) -> None:
    async def check(get: Ask) -> None:
        answer = await get(path, **query)
        assert (answer["status"], answer["err-code"], answer["data"]) == ("error", "invalid-parameter", None)
        assert answer["err-msg"].startswith("invalid ")

    ask(check)


def test_a_get_with_a_body_is_forbidden() -> None:
    async def main() -> None:
        async with (
            Exchange(ExchangeConfig(symbols=("btcusdt",))) as ex,
            aiohttp.ClientSession() as session,
            session.get(ex.rest_url + "/market/tickers", data=b"x") as response,
        ):
            assert response.status == 403

    asyncio.run(main())
