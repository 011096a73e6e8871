from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any, TypeAlias

from bookreel.exchange import Exchange, ExchangeConfig, read_truth
from bookreel.exchange.client import Chain
from bookreel.exchange.feeds import Frame

Connect: TypeAlias = Callable[[str], AbstractAsyncContextManager[Any]]
SECOND_NS = 10**9


def test_pings_come_and_keep_the_socket_when_answered(connect: Connect) -> None:
    async def main() -> None:
        async with (
            Exchange(ExchangeConfig(symbols=("zeneth",), ping_s=0.1)) as ex,
            connect(ex.ws_url) as talker,
        ):
            values = [(await talker.wait(lambda f: "ping" in f))["ping"] for _ in range(8)]
            assert values == sorted(values)
            assert abs(values[-1] / 1000 - time.time()) < 60

    asyncio.run(main())


def test_two_missed_pings_close_with_1003(connect: Connect, tmp_path: Path) -> None:
    async def main() -> None:
        config = ExchangeConfig(symbols=("zeneth",), ping_s=0.3, truth=tmp_path / "t")
        async with Exchange(config) as ex, connect(ex.ws_url) as talker:
            talker.answers_pings = False
            while await talker.hear():
                pass
            assert talker.closed is not None
            code, reason = talker.closed
            assert code == 1003
            assert reason.startswith("ping check expired, session: ") and len(reason.split()[-1]) == 36
            pings = [f["ping"] for f in talker.frames if "ping" in f]
            gaps = [b - a for a, b in itertools.pairwise(pings)]
            assert len(pings) >= 5
            assert gaps[0] > 2 * min(gaps[1:]), "after the first miss pings come faster"

    asyncio.run(main())
    close = next(r for r in read_truth(tmp_path / "t") if type(r).__name__ == "TruthClose")
    assert "1003" in str(close)


def test_a_wrong_pong_does_not_count_but_a_ping_of_the_client_does(connect: Connect) -> None:
    async def main() -> None:
        async with Exchange(ExchangeConfig(symbols=("zeneth",), ping_s=0.1)) as ex:
            async with connect(ex.ws_url) as talker:
                talker.answers_pings = False
                while (frame := await talker.hear()) is not None:
                    if "ping" in frame:
                        await talker.say(pong=1)
                assert talker.closed is not None and talker.closed[0] == 1003
            async with connect(ex.ws_url) as talker:
                talker.answers_pings = False
                for i in range(10):
                    await talker.say(ping=i)
                    assert await talker.wait(lambda f: "pong" in f) == {"pong": i}
                    await talker.wait(lambda f: "ping" in f)

    asyncio.run(main())


def test_who_does_not_read_is_cut_off(
    connect: Connect, soon: Callable[[Callable[[], Any]], Awaitable[Any]], tmp_path: Path
) -> None:
    async def main() -> None:
        config = ExchangeConfig(
            symbols=("btcusdt",),
            rate=3000.0,
            truth=tmp_path / "t",
            send_queue_bytes=20_000,
            request_gap_s=0.0,
        )
        async with Exchange(config) as ex, connect(ex.ws_url) as talker:
            await talker.sub("market.btcusdt.bbo")
            for i in range(400):  # answers nobody reads
                await talker.say(req="market.btcusdt.kline.1min", id=i)
                if not ex.connections:
                    break
            await soon(lambda: ex.connections == 0)

    asyncio.run(main())
    assert any("does not read" in str(r) for r in read_truth(tmp_path / "t"))


def test_a_chain_is_settled_only_when_a_break_could_be_told_apart() -> None:
    def delta(seq: int) -> Frame:
        return Frame("", seq, seq - 1)

    chain = Chain(need_seq=10)
    now_ns = 100 * SECOND_NS
    for seq in (11, 12, 13, 14):
        chain.sent(delta(seq))
    assert not chain.settled(now_ns), "no image yet"
    chain.answered(9)
    assert not chain.usable, "an image too old to be joined"
    chain.answered(12)
    assert chain.usable and not chain.settled(now_ns), "no delta after the image yet"
    for seq in (15, 16, 17):
        chain.sent(delta(seq))
    assert chain.settled(now_ns)
    chain.broke(delta(18), now_ns)
    assert chain.healing(now_ns + 9 * SECOND_NS) and not chain.healing(now_ns + 11 * SECOND_NS)
    for seq in (19, 20, 21):
        chain.sent(delta(seq))
    chain.answered(17)
    assert not chain.settled(now_ns + 5 * SECOND_NS)
    chain.answered(20)
    assert not chain.healing(now_ns + SECOND_NS)
    for seq in (22, 23, 24):
        chain.sent(delta(seq))
    assert not chain.settled(now_ns + SECOND_NS // 2), "twice within a second"
    assert chain.settled(now_ns + SECOND_NS)
