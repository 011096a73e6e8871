from __future__ import annotations

import asyncio
import socket
from collections import defaultdict
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any, TypeAlias

import pytest

from bookreel.exchange import Exchange, ExchangeConfig, PortInUse, UnknownFault, UnknownSymbol, read_truth
from bookreel.exchange.truth import TruthBook, TruthStart, TruthStop, TruthTrade

Connect: TypeAlias = Callable[[str], AbstractAsyncContextManager[Any]]
Book: TypeAlias = dict[str, dict[float, float]]


def test_a_port_in_use_is_named() -> None:
    async def main() -> None:
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            port = taken.getsockname()[1]
            with pytest.raises(PortInUse) as caught:
                async with Exchange(ExchangeConfig(port=port)):
                    raise AssertionError("it opened")
            assert caught.value.port == port and caught.value.exit_code == 2

    asyncio.run(main())


def test_wrong_names_are_refused_before_anything_opens() -> None:
    with pytest.raises(UnknownSymbol):
        Exchange(ExchangeConfig(symbols=("btcusdx",)))
    with pytest.raises(UnknownFault):
        Exchange(ExchangeConfig(faults="silense"))


def test_urls_and_an_end_without_leftovers(connect: Connect) -> None:
    async def main() -> None:
        before = asyncio.all_tasks()
        async with Exchange(ExchangeConfig(symbols=("zeneth",))) as ex:
            assert ex.ws_url == f"ws://127.0.0.1:{ex.port}/ws" and ex.port > 0
            assert ex.feed_url.endswith("/feed") and ex.rest_url.startswith("http://")
            async with connect(ex.ws_url) as talker:
                await talker.sub("market.zeneth.bbo")
                assert ex.connections == 1
        assert asyncio.all_tasks() == before

    asyncio.run(main())


class OtherClock:
    """A clock at another time than the machine's."""

    def wall_ns(self) -> int:
        return 1_600_000_000 * 10**9

    def mono_ns(self) -> int:
        return int(asyncio.get_running_loop().time() * 1e9)


def test_time_is_that_of_the_clock(connect: Connect) -> None:
    async def main() -> None:
        exchange = Exchange(ExchangeConfig(symbols=("zeneth",), rate=100.0), clock=OtherClock())
        async with exchange as ex, connect(ex.ws_url) as talker:
            await talker.sub("market.zeneth.bbo")
            frame = await talker.push("market.zeneth.bbo")
            assert 1_600_000_000_000 <= frame["ts"] < 1_600_000_100_000

    asyncio.run(main())


def test_a_naive_client_has_the_true_book_at_every_book_line(connect: Connect, tmp_path: Path) -> None:
    """Sub, buffer, req until it joins, apply; at each line of the truth the books are equal."""
    topics = [f"market.{s}.mbp.{n}" for s in ("btcusdt", "aidogeusdt") for n in (5, 150, 400)] + [
        "market.btcusdt.mbp.20"
    ]
    tops: dict[tuple[str, int], Book] = {}

    async def follow(talker: Any) -> None:
        buffered: dict[str, list[Any]] = defaultdict(list)
        books: dict[str, Book] = {}
        seqs: dict[str, int] = {}
        for topic in topics:
            await talker.say(sub=topic, id=topic)
        asked: set[str] = set()
        loop = asyncio.get_running_loop()
        end = loop.time() + 80
        while loop.time() < end and (len(books) < len(topics) or min(lines(tops).values()) < 40):
            frame = await talker.hear()
            topic = frame.get("ch") or frame.get("rep")
            if frame.get("ch"):
                tick = frame["tick"]
                if topic in books:
                    assert tick["prevSeqNum"] == seqs[topic]
                    apply(books[topic], tick)
                    seqs[topic] = tick["seqNum"]
                    tops[topic, tick["seqNum"]] = {k: dict(v) for k, v in books[topic].items()}
                else:
                    buffered[topic].append(tick)
            elif frame.get("rep"):
                asked.discard(topic)
                data = frame["data"]
                kept = [t for t in buffered[topic] if t["seqNum"] > data["seqNum"]]
                if not kept or kept[0]["prevSeqNum"] == data["seqNum"]:
                    book = {side: dict(map(tuple, data[side])) for side in ("bids", "asks")}
                    seqs[topic] = data["seqNum"]
                    for tick in kept:
                        apply(book, tick)
                        seqs[topic] = tick["seqNum"]
                    books[topic] = book
            for topic in topics:
                if topic not in books and topic not in asked and buffered[topic]:
                    asked.add(topic)
                    await talker.say(req=topic, id=f"r{topic}")

    async def main() -> None:
        config = ExchangeConfig(
            symbols=("btcusdt", "aidogeusdt"), rate=150.0, seed=6, truth=tmp_path / "t", request_gap_s=0.0
        )
        async with Exchange(config) as ex, connect(ex.feed_url) as talker:
            await follow(talker)

    asyncio.run(main())
    records = list(read_truth(tmp_path / "t"))
    assert isinstance(records[0], TruthStart) and isinstance(records[-1], TruthStop)
    compared: dict[str, int] = defaultdict(int)
    for line in records:
        if isinstance(line, TruthBook):
            topic = f"market.{line.symbol}.{line.feed}"
            top = tops.get((topic, line.seq))
            if top is not None:
                assert top == {"bids": dict(line.bids), "asks": dict(line.asks)}
                assert [p for p, _ in line.bids] == sorted((p for p, _ in line.bids), reverse=True)
                compared[topic] += 1
    assert set(compared) == set(topics) and min(compared.values()) >= 1
    trades = [r for r in records if isinstance(r, TruthTrade)]
    assert len(trades) == len({(t.symbol, t.trade_seq) for t in trades}) > 5


def lines(tops: dict[tuple[str, int], Book]) -> dict[str, int]:
    counts: dict[str, int] = defaultdict(int)
    for topic, _ in tops:
        counts[topic] += 1
    return counts or {"": 0}


def apply(book: Book, tick: dict[str, Any]) -> None:
    for side in ("bids", "asks"):
        for price, size in tick.get(side, []):
            if size:
                book[side][price] = size
            else:
                book[side].pop(price, None)


def test_two_clients_of_one_seed_see_one_market(connect: Connect, tmp_path: Path) -> None:
    """The same seed and the same start: the truth of two runs tells the same trades."""

    async def run(path: Path) -> list[TruthTrade]:
        config = ExchangeConfig(symbols=("zeneth", "btcusdt"), rate=300.0, seed=11, truth=path)
        async with Exchange(config, clock=OtherClock()):
            await asyncio.sleep(0.5)
        return [r for r in read_truth(path) if isinstance(r, TruthTrade)]

    first, second = asyncio.run(run(tmp_path / "a")), asyncio.run(run(tmp_path / "b"))
    both = min(len(first), len(second))
    assert both > 5
    shifted = [(t.symbol, t.trade_id, t.price, t.size) for t in first[:both]]
    assert shifted == [(t.symbol, t.trade_id, t.price, t.size) for t in second[:both]]
