from __future__ import annotations

from itertools import islice
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from bookreel.ingest.reconnect import TokenBucket, backoff

S = 1_000_000_000


@given(st.integers(), st.floats(0.01, 5), st.floats(5, 60))
def test_delays_grow_up_to_the_cap(seed: int, base_s: float, cap_s: float) -> None:
    delays = list(islice(backoff(Random(seed), base_s=base_s, cap_s=cap_s), 20))
    for number, delay in enumerate(delays):
        assert 0 <= delay <= min(cap_s, base_s * 2**number)


def test_delays_are_spread_over_the_whole_range() -> None:
    last = [list(islice(backoff(Random(seed), base_s=0.5, cap_s=30), 12))[-1] for seed in range(200)]
    assert min(last) < 3
    assert max(last) > 27


def test_the_same_seed_gives_the_same_delays() -> None:
    one, other = (list(islice(backoff(Random(3), base_s=1, cap_s=9), 9)) for _ in range(2))
    assert one == other


@given(st.lists(st.integers(0, 2 * S), max_size=60), st.floats(0.5, 50), st.integers(1, 9))
def test_the_bucket_never_gives_more_than_its_rate(pauses: list[int], rate: float, burst: int) -> None:
    bucket = TokenBucket(rate=rate, burst=burst)
    now = 7 * S
    starts = []
    for pause in pauses:
        now += pause
        starts.append(now + bucket.reserve(now))
    assert starts == sorted(starts)
    step = int(S / rate)
    for first in range(len(starts)):
        for last in range(first + burst, len(starts)):
            assert starts[last] - starts[first] >= (last - first - burst + 1) * step


def test_the_bucket_lets_a_burst_through_and_then_paces() -> None:
    young = TokenBucket(rate=10, burst=3)
    assert [young.reserve(0) for _ in range(4)] == [0, 0, 0, S // 10], "at the beginning of time, too"
    bucket = TokenBucket(rate=10, burst=3)
    assert [bucket.reserve(5 * S) for _ in range(5)] == [0, 0, 0, S // 10, S // 5]
    assert bucket.reserve(60 * S) == 0


def test_a_pause_that_the_server_asked_for_holds_everybody_and_ends_one_by_one() -> None:
    bucket = TokenBucket(rate=10, burst=5)
    assert bucket.reserve(S) == 0
    assert not bucket.held(S)
    bucket.hold(4 * S)
    bucket.hold(2 * S)
    assert bucket.held(4 * S - 1)
    waits = [bucket.reserve(S) for _ in range(3)]
    assert waits == [3 * S, 3 * S + S // 10, 3 * S + S // 5]
    assert not bucket.held(4 * S)
    later = TokenBucket(rate=10, burst=5)
    later.hold(4 * S)
    assert [later.reserve(4 * S) for _ in range(3)] == [0, S // 10, S // 5], "no burst at the end of it"
