from __future__ import annotations

import msgspec
import pytest

from bookreel import venues
from bookreel.storage.checkpoint import BadState, decode_checkpoint
from bookreel.storage.normalize import Normalizer

VENUE = venues.get("huobi")


def test_what_was_saved_is_known_again() -> None:
    saved = decode_checkpoint(Normalizer(VENUE).state(), "huobi")
    assert (saved.venue, saved.last_pos, saved.clocked) == ("huobi", 0, True)


def test_a_checkpoint_of_another_kind_is_refused() -> None:
    state = Normalizer(VENUE).state()
    saved = msgspec.msgpack.decode(state)
    for bad in (b"", state[:-1], msgspec.msgpack.encode(saved | {"version": 99})):
        with pytest.raises(BadState, match="seal without it"):
            decode_checkpoint(bad, "huobi")
    with pytest.raises(BadState, match="venue 'other'"):
        decode_checkpoint(msgspec.msgpack.encode(saved | {"venue": "other"}), "huobi")
