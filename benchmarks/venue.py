"""A venue that only sends: frames made before, as fast as they are taken or at a steady rate. A process of its own.

Started with the folder in which :func:`prepare` left the frames, a core, and frames a second (0: as fast as they are
taken). It prints its port, sends when every symbol was subscribed and asked for, and ends a second after the last
frame; then ``sent.bin`` has the wall clock (int64 ns) of each frame, in the order of one connection.
"""

from __future__ import annotations

import array
import asyncio
import gzip
import json
import os
import sys
import time
from pathlib import Path
from typing import Any, Final

from aiohttp import WSMsgType, web

__all__ = ["prepare", "symbol_names"]

_CHUNK: Final = 64
"""Frames given to the socket at once where there is no rate."""
_ROOM_BYTES: Final = 1 << 20
"""More than this does not wait to be sent."""
_SETTLE_S: Final = 1.0


def symbol_names(count: int) -> list[str]:
    """Names as long as the captured one's."""
    return [f"sym{number:04d}" for number in range(count)]


def prepare(
    folder: Path, texts: list[bytes], snapshot: bytes | None, captured: str, symbols: list[str]
) -> None:
    """Writes ``texts`` for each of ``symbols`` as they go over the wire, and the answer to its request, if one is to
    come.

    ``captured``: the symbol they have in them.
    """
    for symbol in symbols:
        frames = bytearray()
        sizes = array.array("I")
        for text in texts:
            payload = gzip.compress(text.replace(captured.encode(), symbol.encode(), 1), 6, mtime=0)
            frame = _frame(payload)
            sizes.append(len(frame))
            frames += frame
        (folder / f"{symbol}.frames").write_bytes(frames)
        (folder / f"{symbol}.sizes").write_bytes(sizes.tobytes())
        if snapshot is not None:
            (folder / f"{symbol}.reply").write_bytes(snapshot.replace(captured.encode(), symbol.encode()))


def _frame(payload: bytes) -> bytes:
    """A whole binary message of a server."""
    size = len(payload)
    head = bytes((0x82, size)) if size < 126 else b"\x82\x7e" + size.to_bytes(2, "big")
    assert size < 1 << 16, "frames are small"
    return head + payload


class Symbol:
    """The frames of one symbol, in order."""

    def __init__(self, folder: Path, name: str) -> None:
        data = (folder / f"{name}.frames").read_bytes()
        sizes = array.array("I", (folder / f"{name}.sizes").read_bytes())
        reply = folder / f"{name}.reply"
        self.reply = json.loads(reply.read_bytes()) if reply.exists() else None
        self.frames: list[bytes] = []
        at = 0
        for size in sizes:
            self.frames.append(data[at : at + size])
            at += size


class Venue:
    """Sends to each connection the frames of the symbols it subscribed, one of each in turn."""

    def __init__(self, folder: Path, rate: float) -> None:
        self._folder = folder
        self._rate = rate
        self._symbols = {path.stem: Symbol(folder, path.stem) for path in sorted(folder.glob("*.frames"))}
        # Who has what it needs before frames come.
        self._asked: set[str] = set()
        self._ready = asyncio.Event()
        self._sending = 0
        self._sent = array.array("q")
        self.done = asyncio.Event()

    async def listed(self, _: web.Request) -> web.Response:
        items = [
            {"symbol": name, "base-currency": name[:-4], "quote-currency": "usdt", "state": "online"}
            for name in self._symbols
        ]
        return web.json_response({"status": "ok", "data": items})

    async def talk(self, request: web.Request) -> web.WebSocketResponse:
        ws = web.WebSocketResponse(compress=False, max_msg_size=1 << 20)
        await ws.prepare(request)
        mine: list[str] = []
        sender = asyncio.create_task(self._send(request, mine))
        self._sending += 1
        async for message in ws:
            if message.type is WSMsgType.TEXT:
                await self._answer(ws, json.loads(message.data), mine)
        # Whoever leaves has all of it, or failed.
        sender.cancel()
        self.done.set()
        return ws

    async def _answer(self, ws: web.WebSocketResponse, said: dict[str, Any], mine: list[str]) -> None:
        now = time.time_ns() // 1_000_000
        answer: dict[str, Any] = {"id": said.get("id"), "status": "ok", "ts": now}
        if "ping" in said:
            answer = {"pong": said["ping"]}
        elif "sub" in said:
            symbol = said["sub"].split(".")[1]
            mine.append(symbol)
            if self._symbols[symbol].reply is None:
                self._asked.add(symbol)
            answer["subbed"] = said["sub"]
        elif "req" in said:
            symbol = said["req"].split(".")[1]
            answer = {**(self._symbols[symbol].reply or {}), "id": said["id"]}
            self._asked.add(symbol)
        await ws.send_bytes(gzip.compress(json.dumps(answer).encode()))
        if len(self._asked) == len(self._symbols):
            self._ready.set()

    async def _send(self, request: web.Request, mine: list[str]) -> None:
        await self._ready.wait()
        await asyncio.sleep(_SETTLE_S)
        turns = zip(*(self._symbols[name].frames for name in mine), strict=True)
        frames = [frame for turn in turns for frame in turn]
        transport = request.transport
        assert transport is not None, "the connection is open"
        if self._rate:
            await self._steady(transport, frames)
        else:
            for at in range(0, len(frames), _CHUNK):
                transport.write(b"".join(frames[at : at + _CHUNK]))
                await _room(transport, _ROOM_BYTES)
        await _room(transport, 0)
        self._sending -= 1
        if not self._sending:
            (self._folder / "sent.bin").write_bytes(self._sent.tobytes())
            await asyncio.sleep(_SETTLE_S)
            self.done.set()

    async def _steady(self, transport: asyncio.WriteTransport, frames: list[bytes]) -> None:
        """One frame at a time, each when it is due: the core is ours, so we wait in a loop."""
        interval = 1e9 / self._rate
        began = time.monotonic_ns()
        for number, frame in enumerate(frames):
            if not number % _CHUNK:
                await asyncio.sleep(0)
            while time.monotonic_ns() < began + number * interval:  # noqa: ASYNC110
                await asyncio.sleep(0)
            self._sent.append(time.time_ns())
            transport.write(frame)


async def _room(transport: asyncio.WriteTransport, most_bytes: int) -> None:
    """Let everybody else have a turn, and wait until no more than so much waits to be sent."""
    await asyncio.sleep(0)
    while transport.get_write_buffer_size() > most_bytes:  # noqa: ASYNC110
        await asyncio.sleep(0.0005)


async def _serve(folder: Path, rate: float) -> None:
    venue = Venue(folder, rate)
    app = web.Application()
    app.router.add_get("/v1/common/symbols", venue.listed)
    app.router.add_get("/feed", venue.talk)
    app.router.add_get("/ws", venue.talk)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    print(runner.addresses[0][1], flush=True)
    await venue.done.wait()
    await runner.cleanup()


if __name__ == "__main__":
    os.sched_setaffinity(0, {int(sys.argv[2])})
    asyncio.run(_serve(Path(sys.argv[1]), float(sys.argv[3])))
