"""The controls of a replay, used at the moments at which it is busy with something else."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest

from bookreel.replay import REPLAY_TABLES, Archive, LineStream
from bookreel.replay.selection import Choice
from tests.replay.market import Market
from tests.replay.test_replay import Clock, everything, inline, is_open

pytestmark = pytest.mark.usefixtures("small_pieces")

STREAMS = {
    "a": Choice(tables=["trades", "gaps"]),
    "b": Choice(symbols=["btcusdt"], tables=list(REPLAY_TABLES)),
    "c": Choice(tables=["gaps"]),
}


def between(archive: Archive, whole: list[Any], at: int) -> list[Any]:
    """What a replay gives from the receive time of an item on."""
    return everything(archive, start=whole[at].ts_recv)


def test_a_seek_while_the_next_item_is_waited_for(archive: Archive) -> None:
    """It is not the item that was waited for, though that is due by then."""
    whole = everything(archive)
    at = next(at for at in range(40, len(whole)) if whole[at].ts_recv > max(e.ts_recv for e in whole[:at]))
    clock = Clock()
    woken = asyncio.Event()

    async def sleep(seconds: float) -> None:
        clock.now += seconds
        woken.set()
        await asyncio.sleep(0)

    async def run() -> list[Any]:
        stream = archive.stream(tables=REPLAY_TABLES, speed=1.0, clock=clock, sleep=sleep, offload=inline)
        assert [await anext(stream) for _ in range(at)] == whole[:at]
        woken.clear()
        waiting = asyncio.ensure_future(anext(stream))
        await woken.wait()
        assert not waiting.done()
        stream.seek(whole[0].ts_recv)
        return [await waiting, *[await anext(stream) for _ in range(at)]]

    assert asyncio.run(run()) == whole[: at + 1]


@pytest.mark.parametrize("control", ["seek", "seek_token", "stop"])
def test_a_control_while_a_page_is_read(archive: Archive, control: str) -> None:
    """Whenever that is: the page that is being read is of before it."""
    whole = everything(archive)
    target = len(whole) // 2

    async def run(turn: int) -> tuple[list[Any], Any]:
        """The control is used at so many pages; gives what came after that."""
        pages = 0
        used: list[int] = []
        found: list[Any] = []

        async def offload(call: Callable[..., Any], *arguments: Any) -> Any:
            nonlocal pages
            answer = call(*arguments)
            pages += 1
            if pages == turn:
                used.append(len(found))
                getattr(stream, control)(*argument)
            return answer

        stream = archive.stream(tables=REPLAY_TABLES, speed=None, offload=offload)
        argument = {"seek": [whole[target].ts_recv], "seek_token": [token], "stop": []}[control]
        async for item in stream:
            found.append(item)  # noqa: PERF401 - its length is looked at meanwhile
        end = found.pop()
        assert found[: used[0]] == whole[: used[0]]
        return found[used[0] :], end

    events = archive.events(tables=REPLAY_TABLES)
    for _ in range(target):
        next(events)
    token = events.token
    rest = {"seek": between(archive, whole, target), "seek_token": whole[target:], "stop": []}[control]
    for turn in (1, 2, 7):
        after, end = asyncio.run(run(turn))
        assert after == rest
        assert end.reason == ("stopped" if control == "stop" else "complete")


def test_a_seek_while_the_tail_is_followed(market: Market, archive: Archive) -> None:
    whole = [event for event in everything(archive) if not is_open(event)]

    async def run() -> list[Any]:
        looked = asyncio.Event()

        async def sleep(seconds: float) -> None:
            looked.set()
            await asyncio.Event().wait()

        stream = archive.stream(tables=REPLAY_TABLES, speed=None, follow=True, sleep=sleep, offload=inline)
        assert [await anext(stream) for _ in whole] == whole
        waiting = asyncio.ensure_future(anext(stream))
        await looked.wait()
        stream.seek(whole[0].ts_recv)
        found = [await waiting, *[await anext(stream) for _ in whole[1:]]]
        stream.close()
        return found

    assert asyncio.run(run()) == whole


async def lines(stream: LineStream, size: int = 1_000) -> list[bytes]:
    """Its lines, without the last, which is the end."""
    stream.chunk_bytes = size
    return b"".join([bytes(chunk) async for chunk in stream]).splitlines()[:-1]


def test_merged_streams_are_in_the_order_of_the_journal(archive: Archive) -> None:
    """Whatever pages each of them is read in."""

    def place(line: bytes) -> int | None:
        said = json.loads(line)
        return max(said["pos"], said["epoch"]) if said["type"] == "book_delta" else said["pos"]

    found = asyncio.run(lines(archive.merged(STREAMS, offload=inline)))
    places = [known for known in map(place, found) if known is not None]
    assert places == sorted(places)
    for name, choice in STREAMS.items():
        tag = b'{"stream":"%s",' % name.encode()
        own = asyncio.run(lines(archive.lines(choice.symbols, choice.tables, offload=inline)))
        assert [b"{" + line.removeprefix(tag) for line in found if line.startswith(tag)] == own


@pytest.mark.parametrize("speed", [None, 1e5])
def test_a_seek_in_merged_streams(archive: Archive, speed: float | None) -> None:
    """All of them go where it leads, to a time and to a token."""
    times = sorted({event.ts_recv for event in everything(archive)})
    clock = Clock()
    choice: dict[str, Any] = {"clock": clock, "sleep": clock.sleep, "offload": inline, "speed": speed}

    async def run() -> None:
        whole = await lines(archive.merged(STREAMS, **choice))
        for far in (1, 2, 5):
            stream = archive.merged(STREAMS, **choice)
            stream.chunk_bytes = 500
            begin = b"".join([bytes(await anext(stream)) for _ in range(far)]).splitlines()
            assert begin == whole[: len(begin)]
            token = stream.token
            for to in (times[0], times[len(times) // 2], times[-1]):
                stream.seek(to)
                part = bytes(await anext(stream)).splitlines()
                assert part == (await lines(archive.merged(STREAMS, start=to, **choice)))[: len(part)]
            stream.seek_token(token)
            assert await lines(stream) == whole[len(begin) :]

    asyncio.run(run())


def test_a_seek_back_while_merged_streams_end(archive: Archive) -> None:
    """Gaps that are open come at each end."""

    async def run() -> None:
        whole = await lines(archive.merged(STREAMS, offload=inline))
        stream = archive.merged(STREAMS, offload=inline)
        found: list[bytes] = []
        while len(found) < len(whole):
            found += bytes(await anext(stream)).splitlines()
        assert found == whole
        stream.seek(0)
        assert await lines(stream) == whole

    asyncio.run(run())
