"""``/v1/replay`` as a WebSocket: the lines of HTTP in batches, and the controls of a player."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from itertools import count
from pathlib import Path
from random import Random
from typing import Any

import aiohttp
import pytest

from bookreel.replay import Archive
from bookreel.replay.selection import Choice
from bookreel.replay.server import Limits, Settings
from tests.replay.server.serving import Site, serving
from tests.replay.server.test_replay import lines, spelled

Socket = aiohttp.ClientWebSocketResponse
STREAMS = {"a": {"tables": ["trades", "gaps"]}, "b": {"symbols": ["btcusdt"]}, "c": {"tables": ["gaps"]}}


@asynccontextmanager
async def connected(site: Site, query: str = "") -> AsyncIterator[Socket]:
    async with (
        asyncio.timeout(60),
        aiohttp.ClientSession() as session,
        session.ws_connect(f"http://127.0.0.1:{site.port}/v1/replay{query}", max_msg_size=0) as socket,
    ):
        yield socket


async def messages(socket: Socket) -> list[str]:
    """Every message until the close."""
    return [message.data async for message in socket]


def events(texts: list[str]) -> bytes:
    """The lines of the batches and the end, without those that are about the connection."""
    found = "".join(texts).splitlines(keepends=True)
    return "".join(
        line
        for line in found
        if not line.startswith(('{"type":"batch"', '{"type":"ack"', '{"type":"refused"'))
    ).encode()


def run(main: Coroutine[Any, Any, Any]) -> Any:
    return asyncio.run(main)


@pytest.mark.parametrize(
    "choice", [{}, {"tables": "frames"}, {"symbols": "btcusdt", "feeds": "mbp.150,trade"}], ids=str
)
def test_it_is_the_same_bytes_as_over_http(site: Site, recorded: Path, choice: dict[str, str]) -> None:
    async def main() -> None:
        query = "&".join(f"{key}={value}" for key, value in (choice or {"speed": "max"}).items())
        async with connected(site, f"?{query}") as socket:
            texts = await messages(socket)
            assert socket.close_code == 1000
        assert events(texts) == await asyncio.to_thread(lines, recorded, **spelled(choice))
        assert json.loads(texts[0].splitlines()[-1]).keys() == {"type", "token"}

    run(main())


def test_it_is_the_same_bytes_at_every_speed_and_in_batches_of_every_size(
    site: Site, recorded: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def main() -> None:
        whole = await asyncio.to_thread(lines, recorded)
        for speed, size in (("max", 5_000), (1e6, 1 << 18), (250_000, 700)):
            monkeypatch.setattr("bookreel.replay.server.player._CHUNK_BYTES", size)
            async with connected(site) as socket:
                await socket.send_json({"op": "start", "id": 1, "speed": speed})
                texts = await messages(socket)
            assert events(texts) == whole
            # Every batch says where to go on; so does what was cut off after any of them.
            batches = [text for text in texts if '{"type":"batch"' in text]
            cut = len(batches) // 2
            token = json.loads(batches[cut].splitlines()[-1])["token"]
            rest = await asyncio.to_thread(lines, recorded, after=token)
            assert events(batches[: cut + 1]) + rest == whole

    run(main())


@pytest.mark.parametrize("seed", range(3))
def test_controls_on_the_way_change_no_byte(
    site: Site, recorded: Path, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    """Paused, sped up, slowed down and sent elsewhere at random: what comes is what is there from that place on."""
    monkeypatch.setattr("bookreel.replay.server.player._CHUNK_BYTES", 10_000)
    rng = Random(seed)
    speeds = ["max", 1e6, 250_000, 60_000]
    choice = rng.choice([{}, {"tables": ["frames"]}, {"symbols": ["btcusdt"]}])
    whole = lines(recorded, **choice).splitlines()
    times = [json.loads(line)["ts_recv"] for line in rng.sample(whole[:-1], 8)]
    wanted, at = whole, 0
    places: dict[str, tuple[list[bytes], int]] = {}
    seeks: dict[int, tuple[list[bytes], int]] = {}
    from_then = {to: lines(recorded, start=to, **choice).splitlines() for to in times}
    numbers = count()

    def control() -> dict[str, Any]:
        number, op = next(numbers), rng.choice(["speed", "speed", "seek", "token"])
        if op == "speed":
            return {"op": op, "id": number, "speed": rng.choice(speeds)}
        if op == "token" and places:
            token = rng.choice(list(places))
            seeks[number] = places[token]
            return {"op": "seek", "id": number, "token": token}
        to = rng.choice(times)
        seeks[number] = from_then[to], 0
        return {"op": "seek", "id": number, "to": to}

    async def main() -> None:
        nonlocal wanted, at
        left = 25
        async with connected(site) as socket:
            await socket.send_json({"op": "start", "speed": rng.choice(speeds), **choice})
            async for message in socket:
                for line in message.data.encode().splitlines():
                    if line.startswith(b'{"type":"batch"'):
                        places[json.loads(line)["token"]] = wanted, at
                    elif line.startswith(b'{"type":"ack"'):
                        wanted, at = seeks.pop(json.loads(line)["id"], (wanted, at))
                    else:
                        assert line == wanted[at]
                        at += 1
                if left and rng.random() < 0.5:
                    left -= 1
                    held = rng.random() < 0.5
                    for said in [{"op": "pause"}] * held + [control()] + [{"op": "resume"}] * held:
                        await socket.send_json(said)
            assert socket.close_code == 1000
        assert at == len(wanted) and not seeks and not left, "it came to the end"

    run(main())


def test_several_streams_are_merged_in_one_order(site: Site, recorded: Path) -> None:
    async def main() -> None:
        async with connected(site) as socket:
            await socket.send_json({"op": "start", "id": "x", "streams": STREAMS})
            texts = await messages(socket)
        assert json.loads(texts[0]).items() >= {"type": "ack", "id": "x", "op": "start"}.items()
        found = events(texts)
        decoded = [json.loads(line) for line in found.splitlines()[:-1]]
        for name, choice in STREAMS.items():
            tag = b'{"stream":"%s",' % name.encode()
            own = [b"{" + line.removeprefix(tag) for line in found.splitlines() if line.startswith(tag)]
            assert own == (await asyncio.to_thread(lines, recorded, **choice)).splitlines()[:-1]
        orders = [
            max(item["pos"], item.get("epoch") or 0)
            for item in decoded
            if item["pos"] is not None and (item["type"] == "book_delta")
        ]
        assert orders == sorted(orders)
        names = [(item["ts_recv"], item["pos"]) for item in decoded if item["type"] == "gap" and item["pos"]]
        assert names == sorted(names, key=lambda pair: pair[1])

        # And a token leads on in all of them.
        batches = [text for text in texts if '{"type":"batch"' in text]
        token = json.loads(batches[len(batches) // 2].splitlines()[-1])["token"]
        async with connected(site) as socket:
            await socket.send_json({"op": "start", "streams": STREAMS, "after": token})
            rest = await messages(socket)
        assert events(batches[: len(batches) // 2 + 1]) + events(rest) == found

    run(main())


def test_a_seek_in_merged_streams(site: Site) -> None:
    """Paused, told where to go, and let go on: what comes is what comes to who begins there."""

    async def main() -> None:
        async with connected(site) as socket:
            await socket.send_json({"op": "start", "streams": STREAMS})
            whole = events(await messages(socket))
        decoded = [json.loads(line) for line in whole.splitlines()[:-1]]
        to = decoded[len(decoded) // 2]["ts_recv"]
        async with connected(site) as socket:
            await socket.send_json({"op": "start", "streams": STREAMS, "from": to})
            late = events((await messages(socket))[1:])
        async with connected(site) as socket:
            await socket.send_json({"op": "start", "streams": STREAMS, "speed": 0.000001})
            await socket.receive_str()
            begin = (await socket.receive_str()).splitlines()[:-1]
            for control in ({"op": "seek", "id": 1, "to": to}, {"op": "speed", "id": 2, "speed": "max"}):
                await socket.send_json(control)
            texts = await messages(socket)
        assert [line.encode() for line in begin] == whole.splitlines()[: len(begin)]
        after = "".join(texts).partition('"id":1')[2].partition("\n")[2]
        found = events([after])
        assert found.rpartition(b'{"type":"end"')[0] == late.rpartition(b'{"type":"end"')[0]

    run(main())


def test_a_token_leads_on_after_the_server_has_restarted(recorded: Path) -> None:
    async def begin(site: Site) -> None:
        async with connected(site, "?tables=trades,bbo,gaps&speed=0.000001") as socket:
            found.append(await socket.receive_str())

    async def go_on(site: Site) -> None:
        token = json.loads(found[0].splitlines()[-1])["token"]
        async with connected(site, f"?tables=trades,bbo,gaps&after={token}") as socket:
            found.extend(await messages(socket))

    found: list[str] = []
    for part in (begin, go_on):
        with_limits(recorded, Limits(), part)
    assert events(found) == lines(recorded, tables=["trades", "bbo", "gaps"])


@pytest.mark.parametrize("size", [1, 4_000])
def test_a_token_leads_on_at_every_line(recorded: Path, size: int) -> None:
    streams = {name: Choice(**choice) for name, choice in STREAMS.items()}

    async def read(limit: int | None = None, **choice: Any) -> tuple[bytes, str]:
        with Archive(recorded) as archive:
            stream = archive.merged(streams, **choice)
            stream.chunk_bytes = size
            found = b""
            async for chunk in stream:
                found += chunk
                if limit is not None and len(found) > limit:
                    break
            token = stream.token
            stream.close()
        return found, token

    async def main() -> None:
        whole, _ = await read()
        for limit in range(1, len(whole) - 500, len(whole) // 4):
            begin, token = await read(limit)
            assert begin + (await read(after=token))[0] == whole

    run(main())


def test_controls(site: Site) -> None:
    async def main() -> None:
        # At this speed only the first moment ever comes.
        async with connected(site, "?tables=trades&speed=0.000001") as socket:
            first = await socket.receive_str()
            one = first.splitlines()[0]
            await socket.send_json({"op": "pause", "id": 1})
            await socket.send_json({"op": "speed", "id": "two", "speed": "max"})
            await socket.send_json({"op": "seek", "id": 3, "to": "1970-01-01"})
            for id_, op in ((1, "pause"), ("two", "speed"), (3, "seek")):
                answer = json.loads(await socket.receive_str())
                assert answer.items() >= {"type": "ack", "id": id_, "op": op}.items()
            await socket.send_json({"op": "resume", "id": 4})
            assert json.loads(await socket.receive_str())["id"] == 4
            again = await socket.receive_str()
            assert again.splitlines()[0] == one
            await socket.send_json(
                {"op": "seek", "id": 5, "token": json.loads(first.splitlines()[-1])["token"]}
            )
            texts = await messages(socket)
        after = "".join(texts).partition('"id":5')[2].splitlines()
        assert any(json.loads(line)["type"] == "end" for line in after[1:])

    run(main())


def test_nothing_comes_between_the_answers_to_pause_and_to_resume(site: Site) -> None:
    """However many controls come at once, and however soon something is there after them."""
    rounds = [{"op": "pause"}, {"op": "seek", "to": 0}, {"op": "speed", "speed": "max"}, {"op": "resume"}]

    async def main() -> None:
        async with connected(site, "?tables=trades&speed=0.000001") as socket:
            first = (await socket.receive_str()).splitlines()[0]
            for control in rounds * 12:
                await socket.send_json(control)
            texts = await messages(socket)
        answers = [place for place, text in enumerate(texts) if text.startswith('{"type":"ack"')]
        ops = [json.loads(texts[place])["op"] for place in answers]
        assert ops[:4] == ["pause", "seek", "speed", "resume"]
        for op, place, following in zip(ops, answers, answers[1:], strict=False):
            assert op == "resume" or following == place + 1, texts[place : following + 1]
        begun = texts[answers[ops.index("resume")] + 1 :]
        assert next(text for text in begun if not text.startswith('{"type":"ack"')).splitlines()[0] == first

    run(main())


def test_a_seek_while_the_next_one_is_awaited(site: Site) -> None:
    async def main() -> None:
        async with connected(site, "?tables=trades,bbo&speed=0.000001") as socket:
            first = await socket.receive_str()
            for _ in range(3):
                await socket.send_json({"op": "seek", "to": 0})
                assert json.loads(await socket.receive_str())["type"] == "ack"
                assert (await socket.receive_str()).splitlines()[:-1] == first.splitlines()[:-1]

    run(main())


def test_stop_ends_it_in_order(site: Site) -> None:
    async def main() -> None:
        async with connected(site, "?speed=0.000001") as socket:
            await socket.receive_str()
            await socket.send_json({"op": "stop", "id": 9})
            rest = [json.loads(text) for text in await messages(socket)]
            assert {"ack", "end"} >= {item["type"] for item in rest}
            assert next(item for item in rest if item["type"] == "end")["reason"] == "stopped"
            assert socket.close_code == 1000

    run(main())


@pytest.mark.parametrize(
    "message",
    [
        "no json",
        "[]",
        '{"id":7}',
        '{"op":"rewind","id":7}',
        '{"op":"seek","id":7}',
        '{"op":"seek","id":7,"to":"yesterday"}',
        '{"op":"seek","id":7,"token":"abc"}',
        '{"op":"speed","id":7,"speed":0}',
        '{"op":"speed","id":7,"speed":"fast"}',
        '{"op":"pause","id":7,"for":"ever"}',
        '{"op":"pause","id":{}}',
        "{",
    ],
)
def test_what_is_refused_changes_nothing(site: Site, message: str) -> None:
    async def main() -> None:
        async with connected(site, "?tables=trades&speed=0.000001") as socket:
            await socket.receive_str()
            await socket.send_str(message)
            answer = json.loads(await socket.receive_str())
            assert answer["type"] == "refused"
            assert answer["message"]
            assert answer["id"] == (7 if '"id":7' in message else None)
            await socket.send_json({"op": "stop"})
            assert '"type":"end"' in "".join(await messages(socket))

    run(main())


@pytest.mark.parametrize(
    "start",
    [
        {"op": "start", "id": 1, "symbols": ["nothere"]},
        {"op": "start", "id": 1, "streams": {}},
        {"op": "start", "id": 1, "streams": {"a": {}}, "tables": ["trades"]},
        {"op": "start", "id": 1, "streams": {"a": {"tables": ["nothing"]}}},
        {"op": "start", "id": 1, "from": "2026-01-02", "to": "2026-01-01"},
        {"op": "start", "id": 1, "speed": -1},
        {"op": "start", "id": 1, "everything": True},
        {"op": "pause", "id": 1},
    ],
    ids=str,
)
def test_a_wrong_start_is_refused(site: Site, start: dict[str, Any]) -> None:
    async def main() -> None:
        async with connected(site) as socket:
            await socket.send_json(start)
            answer = json.loads(await socket.receive_str())
            assert answer.items() >= {"type": "refused", "id": 1, "op": "start"}.items()
            assert (await socket.receive()).type is aiohttp.WSMsgType.CLOSE
            assert socket.close_code == 1008

    run(main())


def test_a_wrong_query_is_answered_before_it_is_a_websocket(site: Site) -> None:
    async def main() -> None:
        with pytest.raises(aiohttp.WSServerHandshakeError) as caught:
            async with connected(site, "?symbols=nothere"):
                pass
        assert caught.value.status == 404

    run(main())


def with_limits(archive: Path, limits: Limits, main: Callable[[Site], Awaitable[None]]) -> None:
    with serving(archive, Settings(workers=1, limits=limits)) as site:

        async def go() -> None:
            await main(site)

        asyncio.run(go())


def test_no_start_message_is_waited_for_only_so_long(recorded: Path) -> None:
    async def main(site: Site) -> None:
        async with connected(site) as socket:
            await socket.receive()
            assert socket.close_code == 1008

    with_limits(recorded, Limits(header_s=0.05), main)


@pytest.mark.parametrize(("closes", "close_s"), [(1013, 30.0), (1006, 0.1)])
def test_who_reads_nothing_is_disconnected_and_who_is_slow_is_waited_for(
    recorded: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    closes: int,
    close_s: float,
) -> None:
    async def endless(self: Any) -> bytes:
        return b'{"type":"nothing"}\n' * 50_000

    monkeypatch.setattr("bookreel.replay.stream.LineStream.__anext__", endless)

    async def main(site: Site) -> None:
        async with connected(site, "?speed=max") as socket:
            for _ in range(40):  # slower than the server could, and longer than its patience
                await socket.receive_str()
                await asyncio.sleep(0.01)
            assert socket.close_code is None
            response: Any = socket
            transport = response._response.connection.transport
            transport.pause_reading()
            while not any("takes nothing" in message for message in caplog.messages):  # noqa: ASYNC110
                await asyncio.sleep(0.02)
            # Who reads on before it is cut off is told why.
            if closes == 1006:
                await gone(site)
            transport.resume_reading()
            async for _ in socket:
                pass
            assert socket.close_code == closes

    async def gone(site: Site) -> None:
        while (await asyncio.to_thread(site.get, "/health-check")).json()["streams"]:  # noqa: ASYNC110
            await asyncio.sleep(0.02)

    monkeypatch.setattr("bookreel.replay.server.sockets.CLOSE_S", close_s)
    with_limits(recorded, Limits(reader_s=0.2), main)
