"""A client that knows nothing but the protocol, and real frames to compare with."""

from __future__ import annotations

import asyncio
import gzip
import json
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from bookreel.exchange import Exchange, ExchangeConfig
from tests.exchange.again import SYMBOLS, record
from tests.exchange.tape import Projector, write

DATA = Path(__file__).resolve().parents[3] / "shared" / "data"
PATIENCE_S = 60.0


class Talker:
    """One socket. ``frames`` are all that could be read, in order; ``broken`` the payloads that could not."""

    def __init__(self, ws: aiohttp.ClientWebSocketResponse) -> None:
        self.ws = ws
        self.frames: list[dict[str, Any]] = []
        self.texts: list[str] = []
        self.broken: list[bytes] = []
        self.answers_pings = True
        self.closed: tuple[int | None, str] | None = None

    async def say(self, **words: Any) -> None:
        await self.ws.send_str(json.dumps(words))

    async def hear(self) -> dict[str, Any] | None:
        """The next frame that can be read; None once closed."""
        while True:
            message = await self.ws.receive()
            if message.type is not aiohttp.WSMsgType.BINARY:
                self.closed = (
                    message.data if isinstance(message.data, int) else None,
                    str(message.extra or ""),
                )
                return None
            try:
                text = gzip.decompress(message.data).decode()
                frame: dict[str, Any] = json.loads(text)
            except (zlib.error, OSError, EOFError, ValueError):
                self.broken.append(message.data)
                continue
            self.texts.append(text)
            self.frames.append(frame)
            if "ping" in frame and self.answers_pings:
                await self.say(pong=frame["ping"])
            return frame

    async def wait(
        self, wanted: Callable[[dict[str, Any]], Any], patience_s: float = PATIENCE_S
    ) -> dict[str, Any]:
        """The next frame that is wanted."""
        async with asyncio.timeout(patience_s):
            while (frame := await self.hear()) is not None:
                if wanted(frame):
                    return frame
        raise AssertionError(f"closed with {self.closed} before the frame came")

    async def sub(self, topic: str, request_id: Any = "s") -> dict[str, Any]:
        await self.say(sub=topic, id=request_id)
        return await self.wait(lambda f: f.get("id") == request_id)

    async def req(self, topic: str, request_id: Any = "r", **more: Any) -> dict[str, Any]:
        await self.say(req=topic, id=request_id, **more)
        return await self.wait(lambda f: f.get("id") == request_id)

    async def push(self, topic: str) -> dict[str, Any]:
        return await self.wait(lambda f: f.get("ch") == topic)


Connect = Callable[[str], AbstractAsyncContextManager[Talker]]


@pytest.fixture
def connect() -> Connect:
    @asynccontextmanager
    async def open_socket(url: str) -> AsyncIterator[Talker]:
        async with aiohttp.ClientSession() as session, session.ws_connect(url, max_msg_size=0) as ws:
            yield Talker(ws)

    return open_socket


@pytest.fixture
def soon() -> Callable[[Callable[[], Any]], Awaitable[Any]]:
    """Wait until a condition holds, and give what it returned."""

    async def poll(condition: Callable[[], Any]) -> Any:
        async with asyncio.timeout(PATIENCE_S):
            while not (value := condition()):  # noqa: ASYNC110
                await asyncio.sleep(0.01)
            return value

    return poll


@pytest.fixture(scope="session")
def real_frames() -> list[tuple[str, dict[str, Any], str]]:
    """(kind, frame, its text) of real spot frames."""
    path = DATA / "huobi_frame_samples.ndjson"
    if not path.exists():
        pytest.skip(f"the real frames are not there: {path}")
    found = []
    for line in path.read_text().splitlines():
        sample = json.loads(line)
        if sample["real_capture"] and sample["wire_exact"]:
            found.append((sample["kind"], json.loads(sample["raw"]), sample["raw"]))
    return found


@pytest.fixture(scope="session")
def capture() -> list[str]:
    """The texts of one real connection."""
    path = DATA / "huobi_ws_20210417.ndjson.gz"
    if not path.exists():
        pytest.skip(f"the real capture is not there: {path}")
    with gzip.open(path, "rt") as file:
        return [json.loads(line)["raw"] for line in file]


@pytest.fixture(scope="session")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Some seconds of the synthetic exchange, with every kind of feed."""
    path = tmp_path_factory.mktemp("recorded") / "archive"

    async def main() -> None:
        async with Exchange(ExchangeConfig(symbols=SYMBOLS, rate=60.0, seed=3)) as exchange:
            await record(exchange, path, lambda _: asyncio.sleep(5))

    asyncio.run(main())
    return path


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """An archive of some frames with a hole."""
    return write(tmp_path)


@pytest.fixture
def project(small: Path) -> Iterator[Callable[..., Projector]]:
    """Makes playbacks of that archive."""
    made: list[Projector] = []

    def make(**more: Any) -> Projector:
        made.append(Projector(small, **more))
        return made[-1]

    yield make
    for projector in made:
        projector.playback.stop()
