from __future__ import annotations

from typing import get_args

import msgspec
import pytest

from bookreel.book import CAUSES, Cause, Delta, Gap


def test_every_cause_has_a_sentence() -> None:
    assert set(CAUSES) == set(get_args(Cause))
    assert all(CAUSES.values())


def test_values_are_frozen() -> None:
    delta = Delta("btcusdt", "mbp.150", 1, 3, 2, [], [])
    with pytest.raises(AttributeError):
        delta.seq = 4  # type: ignore[misc]


def test_gap_survives_a_round_trip() -> None:
    gap = Gap("btcusdt", "mbp.150", "feed-0", 7, "seq_gap", 1, 3, 10, None)
    assert msgspec.json.decode(msgspec.json.encode(gap), type=Gap) == gap
