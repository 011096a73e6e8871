from __future__ import annotations

import asyncio

from bookreel.ingest.clock import SystemClock


def test_both_clocks_are_ns_and_run_with_the_loops_timers() -> None:
    clock = SystemClock()

    async def main() -> None:
        loop = asyncio.get_running_loop()
        before, at = clock.mono_ns(), loop.time()
        await clock.sleep(0.01)
        assert clock.mono_ns() - before >= 10_000_000
        # asyncio's timeouts and this clock must agree on what a second is, and when it began.
        assert abs((clock.mono_ns() / 1e9 - loop.time()) - (before / 1e9 - at)) < 1

    asyncio.run(main())
    assert clock.wall_ns() > 1_700_000_000 * 10**9
