"""Patience with a client that takes what is sent slowly, or not at all."""

from __future__ import annotations

import asyncio
from itertools import count

import pytest

from bookreel.replay.server.outlet import SlowReader, patiently

PATIENCE_S = 0.005


def test_who_takes_nothing_is_given_up() -> None:
    ended: list[str] = []

    async def stuck() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            ended.append("sending")

    async def main() -> None:
        async with asyncio.timeout(60):
            with pytest.raises(SlowReader):
                await patiently(stuck(), lambda: 1, PATIENCE_S)
        assert ended == ["sending"], "it is over before anything else is sent"

    asyncio.run(main())


def test_who_takes_anything_is_waited_for() -> None:
    looks = count()
    taken = asyncio.Event()

    def measure() -> int:
        look = next(looks)
        if look == 5:
            taken.set()
        return look

    async def sending() -> None:
        await taken.wait()

    async def main() -> None:
        async with asyncio.timeout(60):
            await patiently(sending(), measure, PATIENCE_S)

    asyncio.run(main())
    assert next(looks) == 6


def test_what_fails_is_told() -> None:
    async def gone() -> None:
        raise ConnectionResetError

    async def main() -> None:
        with pytest.raises(ConnectionResetError):
            await patiently(gone(), lambda: 1, PATIENCE_S)

    asyncio.run(main())
