from __future__ import annotations

import asyncio
import contextlib
from typing import Any

from bookreel.ingest.pulse import Pulse
from bookreel.ingest.tape import Tape
from bookreel.storage.histogram import Histogram


def beat(
    pulse: Pulse, tape: Tape, journal: Any, then: Any, times: dict[str, Histogram] | None = None
) -> None:
    """Run the pulse until ``then``, called at each sleep, raises CancelledError."""

    async def main() -> None:
        with contextlib.suppress(asyncio.CancelledError):
            await pulse.run(tape, journal, times)

    clock: Any = tape.clock
    sleep = clock.sleep

    async def stepped(seconds: float) -> None:
        await sleep(seconds)
        then()

    clock.sleep = stepped
    asyncio.run(main())


def test_how_late_the_loop_turns(clock: Any, journal: Any) -> None:
    pulse = Pulse(clock)
    lates = iter([0.0, 1.5, 0.0])

    def then() -> None:
        late = next(lates, None)
        if late is None:
            raise asyncio.CancelledError
        clock.advance(late)

    beat(pulse, Tape(journal, clock), journal, then)
    assert pulse.lag_s < 0.01
    assert abs(pulse.lag_max_s - 1.5) < 0.01


def test_a_step_of_the_wall_clock_is_told_once(clock: Any, journal: Any) -> None:
    pulse = Pulse(clock)
    steps = iter([0, 0, -3600 * 10**9, 1_000_000, 0])

    def then() -> None:
        step = next(steps, None)
        if step is None:
            raise asyncio.CancelledError
        clock.offset += step

    beat(pulse, Tape(journal, clock), journal, then)
    assert [event["step_ns"] for event in journal.events("clock")] == [-3600 * 10**9]
    assert pulse.clock_steps == 1


def test_how_far_the_disk_lags(clock: Any, journal: Any) -> None:
    pulse = Pulse(clock)
    lags: list[float] = []

    def then() -> None:
        lags.append(pulse.durable_lag_s)
        journal.append(0, 0, "", 0, 0, 1, b"")
        if len(lags) == 9:
            journal.durable_pos = journal.next_pos - 1
        if len(lags) == 12:
            raise asyncio.CancelledError

    beat(pulse, Tape(journal, clock), journal, then)
    assert lags[0] == 0
    assert 1.5 <= lags[8] <= 2.0
    assert lags[9] == 0


def test_each_minute_tells_what_was_new_in_it(clock: Any, journal: Any) -> None:
    times = Histogram((0.1, 1.0))
    beats = iter(range(3 * 240 + 2))

    def then() -> None:
        number = next(beats, None)
        if number is None:
            raise asyncio.CancelledError
        if number in (1, 2, 300):
            times.add(0.5)

    beat(Pulse(clock), Tape(journal, clock), journal, then, {"updated": times})
    assert [event["updated"]["counts"] for event in journal.events("latency")] == [
        [0, 2, 0],
        [0, 1, 0],
        [0, 0, 0],
    ]
    assert journal.events("latency")[0]["updated"]["bounds_s"] == [0.1, 1.0]
