"""Bytes as received to typed values."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Callable
from typing import Any

import pytest
from frames import Frames

from bookreel.book.l2 import Book, L2Book
from bookreel.book.packed import PackedBook
from bookreel.ingest.frames import FrameReader
from bookreel.venues.huobi import Huobi
from bookreel.venues.message import Data


def measure(benchmark: Any, step: Callable[[Any], object], inputs: list[Any]) -> None:
    """All inputs, once a round."""

    def whole() -> None:
        for given in inputs:
            step(given)

    benchmark.extra_info["units"] = {"frame": len(inputs)}
    benchmark.pedantic(whole, rounds=15, warmup_rounds=1)


@pytest.fixture
def deltas(frames: Frames) -> list[Any]:
    return frames.of("mbp.150")


def test_inflate(benchmark: Any, deltas: list[Any]) -> None:
    measure(benchmark, Huobi.inflate, [frame.payload for frame in deltas])


def test_inflate_zlib(benchmark: Any, deltas: list[Any]) -> None:
    measure(
        benchmark, lambda payload: zlib.decompress(payload, zlib.MAX_WBITS | 16), [f.payload for f in deltas]
    )


def test_inflate_gzip(benchmark: Any, deltas: list[Any]) -> None:
    measure(benchmark, gzip.decompress, [frame.payload for frame in deltas])


def test_typed(benchmark: Any, deltas: list[Any]) -> None:
    measure(benchmark, Huobi.decode, [frame.text for frame in deltas])


def test_json_dict(benchmark: Any, deltas: list[Any]) -> None:
    def step(text: bytes) -> tuple[dict[float, float], dict[float, float]]:
        tick = json.loads(text)["tick"]
        return dict(tick["bids"]), dict(tick["asks"])

    measure(benchmark, step, [frame.text for frame in deltas])


def depth_book(payload: bytes, read: Callable[[bytes], Any], book: Book) -> Book:
    message = read(payload)
    assert isinstance(message, Data), "these are pushes"
    book.replace(message.events[0])  # type: ignore[arg-type]
    return book


def learned(frames: Frames) -> Callable[[bytes], Any]:
    """What reads frames as a recorder's line does for a topic that it has a book of."""
    reader = FrameReader(Huobi())
    for frame in frames.depth:
        reader.read(frame.payload)
    return lambda payload: reader.read(payload)[1]


def plainly(payload: bytes) -> Any:
    return Huobi.decode(Huobi.inflate(payload))


def test_depth(benchmark: Any, frames: Frames) -> None:
    read = learned(frames)
    measure(
        benchmark,
        lambda payload: depth_book(payload, read, PackedBook()),
        [frame.payload for frame in frames.depth],
    )


def test_depth_plain(benchmark: Any, frames: Frames) -> None:
    measure(
        benchmark,
        lambda payload: depth_book(payload, plainly, L2Book()),
        [frame.payload for frame in frames.depth],
    )


def test_depth_cryptofeed(frames: Frames, measure_peer: Callable[..., None]) -> None:
    bid, _, ask, _ = depth_book(frames.depth[-1].payload, learned(frames), PackedBook()).best()
    measure_peer("cryptofeed", {"frame": len(frames.depth)}, (bid, ask))
