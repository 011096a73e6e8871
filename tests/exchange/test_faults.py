from __future__ import annotations

import pytest

from bookreel.exchange.errors import BadFaultSpec, UnknownFault
from bookreel.exchange.faults import FAULT_KINDS, FaultSchedule, parse_faults

MINUTE_NS = 60 * 10**9


def test_spec() -> None:
    assert parse_faults("") == parse_faults("none") == {}
    assert parse_faults("all") == FAULT_KINDS
    assert parse_faults("lost_delta=5, disconnect") == {
        "lost_delta": 5.0,
        "disconnect": FAULT_KINDS["disconnect"],
    }
    assert parse_faults("all,silence=0")["lost_delta"] == FAULT_KINDS["lost_delta"]
    assert "silence" not in parse_faults("all,silence=0")
    assert set(parse_faults("all=9").values()) == {9.0}
    assert parse_faults("Lost-Delta=2") == {"lost_delta": 2.0}


def test_a_misspelt_kind_names_the_nearest() -> None:
    with pytest.raises(UnknownFault) as caught:
        parse_faults("lost_dleta=5")
    assert caught.value.near[0] == "lost_delta"
    assert "did you mean lost_delta" in str(caught.value)


@pytest.mark.parametrize("spec", ["lost_delta=", "lost_delta=many", "lost_delta=-1", "lost_delta=nan"])
def test_a_bad_number_is_refused(spec: str) -> None:
    with pytest.raises(BadFaultSpec):
        parse_faults(spec)


def test_the_schedule_is_seeded_and_keeps_its_rate() -> None:
    def run(seed: int, steps: int) -> list[str]:
        schedule = FaultSchedule({"lost_delta": 30.0, "silence": 6.0}, seed, 0)
        return [k for i in range(1, steps + 1) for k in schedule.due(i * 20 * MINUTE_NS // steps)]

    assert run(1, 1) == run(1, 700)
    assert run(1, 1) != run(2, 1)
    assert run(1, 1).count("lost_delta") == pytest.approx(600, rel=0.15)
    assert run(1, 1).count("silence") == pytest.approx(120, rel=0.3)
