from __future__ import annotations

import base64
import json
from collections.abc import Callable
from typing import Any, TypeAlias

import pytest

from bookreel.venues.futu.proto import PUSHES, message_class

Frame: TypeAlias = Callable[..., bytes]

VECTOR = bytes.fromhex(
    "080022490a0908011205303037303012390a17323032362d30312d30322030393a33303a30302e313233108380808080808080401801"
    "213333333333c37240286431000000000051dd401a0154"
)
"""A whole ticker push, made with the protocol's own classes."""


@pytest.fixture
def vector() -> bytes:
    return VECTOR


@pytest.fixture
def frame() -> Frame:
    """A frame of ``/ws`` around a body; keywords change or (None) remove the envelope's keys."""

    def make(body: bytes, **keys: Any) -> bytes:
        envelope = {
            "type": "quote",
            "proto_id": 3011,
            "sec_key": "1_00700",
            "sub_type": 4,
            "rehab_type": 0,
            "body_b64": base64.b64encode(body).decode(),
        } | keys
        return json.dumps({key: value for key, value in envelope.items() if value is not None}).encode()

    return make


@pytest.fixture
def body() -> Callable[..., bytes]:
    """The body of a push from its message's fields, as a whole response or bare."""

    def make(proto_id: int, *, whole: bool = True, **fields: Any) -> bytes:
        name = PUSHES[proto_id]
        message = message_class(name)(**fields)
        if not whole:
            return bytes(message.SerializeToString())
        return bytes(message_class(f"{name}Response")(ret_type=0, s2c=message).SerializeToString())

    return make
