from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any, TypeAlias

import pytest

from bookreel.exchange import Exchange, ExchangeConfig

Connect: TypeAlias = Callable[[str], AbstractAsyncContextManager[Any]]
SYMBOLS = ("btcusdt", "zeneth")


def exchange(**more: Any) -> Exchange:
    return Exchange(ExchangeConfig(symbols=SYMBOLS, rate=100.0, seed=5, **more))


REFUSALS = [
    ("/ws", {"sub": "market.btcusdt.mbp.30", "id": 1}, "invalid topic market.btcusdt.mbp.30"),
    ("/ws", {"sub": "market.btcusdt.mbp.150", "id": 1}, "invalid topic market.btcusdt.mbp.150"),
    ("/feed", {"sub": "market.btcusdt.bbo", "id": "a"}, "invalid topic market.btcusdt.bbo"),
    ("/feed", {"sub": "market.*.mbp.150", "id": "a"}, "invalid topic market.*.mbp.150"),
    ("/ws", {"sub": "market.nopeusdt.bbo", "id": 1}, "invalid symbol nopeusdt"),
    ("/ws", {"sub": "market.veneth.bbo", "id": 1}, "invalid symbol veneth"),
    ("/ws", {"sub": "market.tonjpy.bbo", "id": 1}, "symbol:tonjpy trade not open now "),
    (
        "/ws",
        {"sub": "market.newtusdt.bbo", "id": 1},
        "The coin pair does not currently offer subscription services.",
    ),
    ("/feed", {"sub": "market.zeneth.mbp.20", "id": 1}, "invalid mbp.20.symbol zeneth"),
    ("/ws", {"unsub": "market.btcusdt.bbo", "id": 1}, "unsub with not subbed topic"),
    ("/ws", {"req": "market.btcusdt.bbo", "id": 1}, "invalid topic market.btcusdt.bbo"),
    ("/ws", {"hello": 1, "id": 1}, "invalid command"),
    (
        "/ws",
        {"req": "market.btcusdt.kline.1min", "from": 1, "id": 1},
        "invalid time 1: seconds between 1501174800 and 2556115200",
    ),
]


@pytest.mark.parametrize(("path", "words", "text"), REFUSALS)
def test_refusals_in_the_venues_words(connect: Connect, path: str, words: dict[str, Any], text: str) -> None:
    async def main() -> None:
        async with exchange() as ex, connect(ex.rest_url.replace("http", "ws") + path) as talker:
            await talker.say(**words)
            frame = await talker.wait(lambda f: "status" in f)
            assert list(frame) == ["status", "ts", "id", "err-code", "err-msg"]
            assert (frame["status"], frame["err-code"], frame["err-msg"]) == ("error", "bad-request", text)
            assert frame["id"] == words["id"] and type(frame["id"]) is type(words["id"])

    asyncio.run(main())


def test_what_is_not_json_is_refused_without_an_id_and_the_socket_stays(connect: Connect) -> None:
    async def main() -> None:
        async with exchange() as ex, connect(ex.ws_url) as talker:
            for text in ("{not json", "[1]", '"sub"'):
                await talker.ws.send_str(text)
                frame = await talker.wait(lambda f: "status" in f)
                assert frame["err-msg"] == "not json, is not json string" and "id" not in frame
            assert (await talker.sub("market.btcusdt.bbo"))["status"] == "ok"

    asyncio.run(main())


def test_twice_subscribed_is_two_acks_and_one_stream(connect: Connect) -> None:
    async def main() -> None:
        async with exchange() as ex, connect(ex.ws_url) as talker:
            topic = "market.btcusdt.bbo"
            assert (await talker.sub(topic, 1))["subbed"] == topic
            await talker.sub(topic, "two")
            for _ in range(20):
                await talker.push(topic)
            ids = [f["tick"]["seqId"] for f in talker.frames if f.get("ch") == topic][
                2:
            ]  # after the cached ones
            assert len(ids) == len(set(ids))
            await talker.say(unsub=topic, id=3)
            ack = await talker.wait(lambda f: "unsubbed" in f)
            assert list(ack) == ["id", "status", "unsubbed", "ts"] and ack["id"] == 3
            await talker.say(unsub=topic, id=4)
            after = len(talker.frames)
            assert (await talker.wait(lambda f: f.get("id") == 4))["status"] == "error"
            assert not any("ch" in f for f in talker.frames[after:])

    asyncio.run(main())


def test_the_last_message_follows_each_ack_except_for_incremental_books(connect: Connect) -> None:
    async def main() -> None:
        async with exchange() as ex:
            async with connect(ex.ws_url) as talker:
                await talker.sub("market.zeneth.trade.detail", 0)
                await talker.push("market.zeneth.trade.detail")
                for feed in (
                    "kline.1day",
                    "depth.step0",
                    "bbo",
                    "trade.detail",
                    "detail",
                    "ticker",
                    "mbp.refresh.5",
                ):
                    topic = f"market.zeneth.{feed}"
                    await talker.sub(topic, feed)
                    at = len(talker.frames)
                    following = await talker.wait(lambda f: "ch" in f)
                    assert following["ch"] == topic or len(talker.frames) > at + 1
                    last = (
                        await talker.wait(lambda f, t=topic: f.get("ch") == t)
                        if following["ch"] != topic
                        else following
                    )
                    assert last["ts"] > 0
            async with connect(ex.feed_url) as talker:
                await talker.sub("market.btcusdt.mbp.150")
                first = await talker.push("market.btcusdt.mbp.150")
                assert "prevSeqNum" in first["tick"]

    asyncio.run(main())


def test_several_topics_in_one_sub(connect: Connect) -> None:
    async def main() -> None:
        async with exchange() as ex, connect(ex.ws_url) as talker:
            await talker.say(sub=["market.btcusdt.bbo", "market.zeneth.bbo"], id="x")
            acks = [(await talker.wait(lambda f: "subbed" in f))["subbed"] for _ in range(2)]
            assert acks == ["market.btcusdt.bbo", "market.zeneth.bbo"]

    asyncio.run(main())


def test_requests_that_come_too_close_are_refused(connect: Connect) -> None:
    async def main() -> None:
        async with exchange(request_gap_s=1000.0) as ex, connect(ex.ws_url) as talker:
            for i in range(12):
                await talker.say(req="market.btcusdt.kline.5min", id=i)
            answers = [await talker.wait(lambda f, n=i: f.get("id") == n) for i in range(12)]
            assert [a["status"] for a in answers] == ["ok"] + ["error"] * 11
            assert {a["err-msg"] for a in answers[1:]} == {
                "429 too many request topic is market.btcusdt.kline.5min"
            }
        async with exchange(request_gap_s=0.1) as ex, connect(ex.ws_url) as talker:
            for i in range(5):
                await asyncio.sleep(0.1)  # the pace the venue asks for
                assert (await talker.req("market.btcusdt.kline.5min", f"p{i}"))["status"] == "ok"

    asyncio.run(main())


def test_replies(connect: Connect) -> None:
    async def main() -> None:
        async with exchange(request_gap_s=0.0) as ex:
            async with connect(ex.ws_url) as talker:
                frame = await talker.req("market.btcusdt.kline.1min", 9)
                assert list(frame) == ["id", "status", "ts", "rep", "data"] and frame["id"] == 9
                ids = [bar["id"] for bar in frame["data"]]
                assert len(ids) == 300 and ids == sorted(ids)
                some = await talker.req("market.btcusdt.kline.1min", **{"from": ids[10], "to": ids[20]})
                assert [bar["id"] for bar in some["data"]] == ids[10:21]
                depth = (await talker.req("market.btcusdt.depth.step0"))["data"]
                assert len(depth["bids"]) == 150 and depth["bids"][0][0] < depth["asks"][0][0]
                assert next(iter((await talker.req("market.btcusdt.detail"))["data"])) == "id"
                await talker.sub("market.btcusdt.trade.detail")
                await talker.push("market.btcusdt.trade.detail")
                assert (await talker.req("market.btcusdt.trade.detail"))["data"][-1]["direction"] in {
                    "buy",
                    "sell",
                }
                assert len((await talker.req("market.btcusdt.mbp.refresh.10"))["data"]["bids"]) == 10
            async with connect(ex.feed_url) as talker:
                for levels in (5, 20, 150, 400):
                    data = (await talker.req(f"market.btcusdt.mbp.{levels}"))["data"]
                    assert list(data) == ["seqNum", "bids", "asks"] and len(data["bids"]) == levels

    asyncio.run(main())


def test_an_image_is_normally_older_than_the_newest_delta_and_sometimes_current(connect: Connect) -> None:
    async def main() -> None:
        older = current = 0
        topic = "market.btcusdt.mbp.5"
        async with exchange(request_gap_s=0.0) as ex, connect(ex.feed_url) as talker:
            await talker.sub(topic)
            await talker.push(topic)
            for i in range(40):
                seq = (await talker.req(topic, i))["data"]["seqNum"]
                newest = max(f["tick"]["seqNum"] for f in talker.frames if f.get("ch") == topic)
                assert seq <= newest
                older += seq < newest
                current += seq == newest
        assert older > current > 0

    asyncio.run(main())
