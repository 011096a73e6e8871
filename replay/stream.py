"""A replay in progress: at its own pace or as fast as possible, with the controls of a player.

The pace is that of the receive times: what was received a second after the first event comes ``1 / speed`` seconds
after it. A consumer that is slow is waited for, and what is late then comes at once. Where the wall clock stepped
back nothing waits for it to catch up.
"""

from __future__ import annotations

import asyncio
import threading
from bisect import bisect_right
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from itertools import accumulate
from types import TracebackType
from typing import Any, Final, Generic, TypeVar

from bookreel.replay.errors import BadSpeed
from bookreel.replay.events import End
from bookreel.replay.kinds import Recorded
from bookreel.replay.ndjson import Failure, Lines, encode_line
from bookreel.replay.pages import Form, Page, Pages, Reader
from bookreel.replay.source import Origin
from bookreel.replay.times import Time, to_ns
from bookreel.replay.tokens import Place, Tokens

__all__ = ["CHUNK_BYTES", "POLL_S", "Events", "LineStream", "Replay", "Stream"]

_T = TypeVar("_T")

POLL_S: Final = 0.05
"""Seconds between two looks at a journal that is being written."""

CHUNK_BYTES: Final = 1 << 20
"""Of lines at once: as much as is worth a system call, and no more than one client may hold back."""

_SECOND: Final = 1_000_000_000
_EARLY_NS: Final = 1_000
"""An event may come this much (ns of replay time) early: clocks in seconds are no finer."""


class Events(Iterator[Recorded]):
    """Recorded events as an iterator, as fast as possible. Raises CorruptFile, Unsettled on the way."""

    def __init__(
        self,
        pages: Pages[list[Recorded]],
        tokens: Tokens,
        sleep: Callable[[float], None],
    ) -> None:
        self._pages = pages
        self._tokens = tokens
        self._sleep = sleep
        self._page: Page[list[Recorded]] | None = None
        self._given = 0
        self._start = pages.place.start
        self._run = self._read()

    def __iter__(self) -> Iterator[Recorded]:
        return self._run

    def __next__(self) -> Recorded:
        return next(self._run)

    @property
    def token(self) -> str:
        """Resumes after the newest event that was given."""
        page = self._page
        place = self._pages.place if page is None else page.place(self._given, self._start)
        return self._tokens.write(place)

    def _read(self) -> Iterator[Recorded]:
        while not self._pages.done:
            page = self._pages.read()
            if page is None:
                if not self._pages.done:
                    self._sleep(POLL_S)
                continue
            self._page = page
            for self._given, event in enumerate(page.items[page.first :], page.first + 1):
                yield event
            self._page = None


class Replay(Generic[_T]):
    """What :class:`Stream` and :class:`LineStream` have in common: the pace and the controls.

    The controls may be called at any time, also while the next item is awaited, and take effect at once. All of it
    belongs to one event loop; ``offload`` runs the reading beside it.
    """

    def __init__(
        self,
        source: Origin[_T],
        form: Form[_T],
        place: Place,
        *,
        follow: bool,
        speed: float | None,
        clock: Callable[[], float],
        sleep: Callable[[float], Awaitable[None]],
        offload: Callable[..., Awaitable[Any]],
    ) -> None:
        self._source = source
        self._form = form
        self._follow = follow
        # Its own: what others of this archive read goes on in their threads.
        self._scanner = source.scanner()
        self._tail = source.tail()
        self._reading = threading.Lock()
        self._arrived: tuple[Reader[_T], Page[_T] | None] | None = None
        self._clock = clock
        self._sleep = sleep
        self._offload = offload
        self._speed = _checked(speed)
        self._changed = asyncio.Event()
        self._paused = self._stopped = self._over = False
        self._anchor: tuple[float, int] | None = None
        """A reading of the clock, and the replay time (ns) then."""
        self._before = place
        self._page: Page[_T] | None = None
        self._given = self._ready = 0
        """Items of the page that were given, and that may be given now."""
        self._times: list[int] = []
        """When the items of the page are due, ns of replay time; made when they are needed."""
        self._restart(place)

    # Controls

    @property
    def speed(self) -> float | None:
        """How many times as fast as it was received; None is as fast as possible."""
        return self._speed

    @speed.setter
    def speed(self, speed: float | None) -> None:
        now = self._now()
        self._speed = _checked(speed)
        if now is not None:
            self._anchor = (self._clock(), now)
        self._change()

    @property
    def paused(self) -> bool:
        """Whether it waits for :meth:`resume`."""
        return self._paused

    def pause(self) -> None:
        """Give nothing more until :meth:`resume`."""
        now = None if self._paused else self._now()
        if now is not None:
            self._anchor = (self._clock(), now)
        self._paused = True
        self._change()

    def resume(self) -> None:
        """Go on where it was paused."""
        if self._paused and self._anchor is not None:
            self._anchor = (self._clock(), self._anchor[1])
        self._paused = False
        self._change()

    def seek(self, to: Time) -> None:
        """Go on with the first record received at ``to`` or later; the range's end stays. Raises BadTime."""
        self._jump(Place(start=to_ns(to)))

    def seek_token(self, token: str) -> None:
        """Go on after the item that was the newest when the token was given. Raises BadToken."""
        self._jump(self._source.tokens.read(token))

    def stop(self) -> None:
        """End: only :class:`~bookreel.replay.events.End` comes after this."""
        self._stopped = True
        self._change()

    @property
    def over(self) -> bool:
        """Whether the last item was given."""
        return self._over

    @property
    def token(self) -> str:
        """Resumes after the newest item that was given."""
        return self._source.tokens.write(self._place)

    @property
    def position(self) -> int:
        """Everything that stands before this position of the journal was given."""
        return self._place.pos

    @property
    def _place(self) -> Place:
        page = self._page
        if page is None or self._given == page.first:
            return self._before
        return page.place(self._given, self._before.start)

    def close(self) -> None:
        """Let go what is open. A stream that came to its end did so itself."""
        self._over = self._stopped = True
        self._change()
        with self._reading:
            self._tail.close()

    async def aclose(self) -> None:
        """As :meth:`close`."""
        self.close()

    # Reading

    async def _due(self) -> bool:
        """Wait until there are items to give: those from ``_given`` to ``_ready``. False: it is over."""
        while not self._stopped:
            if self._paused:
                await self._wait(None)
                continue
            page = self._page
            if page is None or self._given == len(page.order):
                if not await self._turn():
                    return False
                continue
            self._ready = await self._reach(page)
            if self._ready > self._given:
                return True
        return False

    async def _turn(self) -> bool:
        """Go to the next page, or wait for it. False: there is none."""
        await self._offload(self._read, self._pages)
        assert self._arrived is not None, "a page was read"
        (pages, page), self._arrived = self._arrived, None
        if pages is not self._pages:
            return True
        if self._page is not None:
            self._before = self._page.place(len(self._page.order), self._before.start)
        self._page = page
        if page is None:
            self._before = pages.place
            if not pages.done:
                await self._wait(POLL_S)
            return not pages.done
        self._given = self._ready = page.first
        self._times = []
        return True

    def _read(self, pages: Reader[_T]) -> None:
        """Read the next page, unless one that nobody waited for to its end is there."""
        with self._reading:
            if self._arrived is None:
                self._arrived = pages, pages.read()

    async def _reach(self, page: Page[_T]) -> int:
        """Up to which item of the page the replay is now; waits for one if there is none."""
        if self._speed is None:
            return len(page.order)
        if len(self._times) != len(page.order):
            self._times = list(accumulate(page.ts, max))
        now = self._now()
        if now is None:
            now = self._times[self._given]
            self._anchor = (self._clock(), now)
        ready = bisect_right(self._times, now + _EARLY_NS, self._given)
        if ready == self._given:
            await self._wait((self._times[ready] - now) / _SECOND / self._speed)
            return self._given  # it may be another page by now
        return ready

    def _now(self) -> int | None:
        """Replay time, ns; None before the first event and where there is no pace."""
        if self._anchor is None or self._speed is None:
            return None
        clock, ts = self._anchor
        return ts if self._paused else ts + round((self._clock() - clock) * self._speed * _SECOND)

    async def _wait(self, seconds: float | None) -> None:
        """Wait so long, or until a control is used (None: only that)."""
        self._changed.clear()
        waits: list[asyncio.Future[Any]] = [asyncio.ensure_future(self._changed.wait())]
        if seconds is not None:
            waits.append(asyncio.ensure_future(self._sleep(seconds)))
        try:
            done, _ = await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
            for wait in done:
                wait.result()
        finally:
            for wait in waits:
                wait.cancel()

    def _change(self) -> None:
        self._ready = self._given
        self._changed.set()

    def _jump(self, place: Place) -> None:
        self._restart(place)
        self._change()

    def _restart(self, place: Place) -> None:
        self._pages = self._source.pages(self._scanner, self._tail, self._form, place, follow=self._follow)
        self._before = place
        self._page = None
        self._given = self._ready = 0
        self._anchor = None
        self._over = False

    def _end(self) -> End:
        """The last item."""
        end = End(reason="stopped" if self._stopped else "complete", token=self.token)
        self.close()
        return end


class Stream(Replay[list[Recorded]], AsyncIterator[Recorded | End]):
    """An asynchronous iterator of events; the last one is an :class:`~bookreel.replay.events.End`."""

    async def __anext__(self) -> Recorded | End:
        if self._given == self._ready and not await self._next():
            return self._end()
        page = self._page
        assert page is not None, "items of a page are ready"
        event = page.items[self._given]
        self._given += 1
        return event

    async def _next(self) -> bool:
        if self._over:
            raise StopAsyncIteration
        return await self._due()

    async def __aenter__(self) -> Stream:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class LineStream(Replay[Lines], AsyncIterator[bytes | memoryview]):
    """An asynchronous iterator of NDJSON, in chunks of whole lines: those that are due, up to ``chunk_bytes`` or one
    line. The last line is of type ``end``, or ``error`` where reading fails; the error is raised after that.
    """

    chunk_bytes: int = CHUNK_BYTES
    _error: Exception | None = None

    async def __anext__(self) -> bytes | memoryview:
        if self._error is not None:
            raise self._error
        if self._over:
            raise StopAsyncIteration
        try:
            if self._given == self._ready and not await self._due():
                return encode_line(self._end())
        except Exception as error:
            self._error = error
            return encode_line(Failure(error=type(error).__name__, message=str(error), token=self.token))
        page = self._page
        assert page is not None, "lines of a page are ready"
        stop = page.items.stop(self._given, self._ready, self.chunk_bytes)
        chunk = page.items.between(self._given, stop)
        self._given = stop
        return chunk


def _checked(speed: float | None) -> float | None:
    if speed is not None and not 0 < speed < float("inf"):
        raise BadSpeed(speed)
    return speed
