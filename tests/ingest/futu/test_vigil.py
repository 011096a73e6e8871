from __future__ import annotations

import pytest

from bookreel.ingest.futu.vigil import Vigil, open_markets
from bookreel.venues.futu.status import GlobalState, PushHealth

WELL = GlobalState(qot_logined=True)


def health(trips: int = 0, total: int = 0, *, healthy: bool = True) -> PushHealth:
    return PushHealth(push_stream_healthy=healthy, circuit_breaker_trips=trips, total_pushes_received=total)


def test_pushes_that_stop_are_lost_until_they_go_on() -> None:
    vigil = Vigil(0)
    assert vigil.look(health(), WELL, 0, 10) is None and vigil.since == 10
    assert vigil.look(health(1, healthy=False), WELL, 0, 20) == "lost" and vigil.since == 10
    assert vigil.look(health(1, healthy=False), WELL, 0, 30) is None
    assert vigil.look(health(1), WELL, 0, 40) == "back" and vigil.since == 40
    assert vigil.look(health(1), WELL, 0, 50) is None


def test_a_stop_between_two_looks_is_known_by_its_count() -> None:
    vigil = Vigil(0)
    vigil.look(health(3), WELL, 0, 10)
    assert vigil.look(health(4), WELL, 0, 20) == "lost" and vigil.since == 10
    assert vigil.look(health(4), WELL, 0, 30) == "back"


def test_a_lost_login_is_lost() -> None:
    vigil = Vigil(0)
    assert vigil.look(health(), GlobalState(qot_logined=False), 0, 10) == "lost"
    assert vigil.look(health(), WELL, 0, 20) == "back"


def test_a_socket_that_brings_nothing_of_what_is_pushed_is_deaf() -> None:
    vigil = Vigil(0)
    looks = [vigil.look(health(total=total), WELL, 5, total) for total in (1, 2, 3, 4)]
    assert looks == [None, None, None, "deaf"]
    vigil = Vigil(0)
    looks = [
        vigil.look(health(total=total), WELL, frames, 0) for total, frames in ((1, 5), (2, 5), (3, 6), (4, 6))
    ]
    assert looks == [None, None, None, None]


def test_silence_at_lunch_is_nothing() -> None:
    vigil = Vigil(0)
    assert [vigil.look(health(total=7), WELL, 7, at) for at in range(9)] == [None] * 9


def test_no_answer_says_nothing() -> None:
    vigil = Vigil(5)
    assert vigil.look(None, None, 0, 10) is None and vigil.since == 5


@pytest.mark.parametrize(
    ("hk", "us", "trading"),
    [(3, 6, {"HK"}), (4, 5, {"US"}), (None, 10, {"US"}), (6, 6, set()), (5, 3, {"HK", "US"})],
)
def test_which_markets_trade_the_gateway_says(hk: int | None, us: int, trading: set[str]) -> None:
    state = GlobalState(market_hk=hk, market_us=us)
    assert open_markets(state, ["HK.00700", "US.AAPL", "CC.BTCUSD"]) == trading
