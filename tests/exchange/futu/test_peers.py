"""The venue's own message classes read what the gateway pushes, and agree on every field's number and type.

They are in PyPI's futu-api, which is large and not needed for anything else: ``pip install --no-deps futu-api``.
They run in a process of their own, since they register bare names in the process-wide pool.
"""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bookreel.venues.futu.proto import PUSHES, message_class

pytestmark = [pytest.mark.peers, pytest.mark.timeout(120)]

Make = Callable[..., Any]

MODULES = {
    "Notify": "Notify",
    "UpdateBasicQot": "Qot_UpdateBasicQot",
    "UpdateKL": "Qot_UpdateKL",
    "UpdateRT": "Qot_UpdateRT",
    "UpdateTicker": "Qot_UpdateTicker",
    "UpdateOrderBook": "Qot_UpdateOrderBook",
    "UpdateBroker": "Qot_UpdateBroker",
    "UpdatePriceReminder": "Qot_UpdatePriceReminder",
}

THEIRS = """
import base64, importlib, json, sys
sys.path.insert(0, sys.argv[1])
from google.protobuf import json_format
from google.protobuf.descriptor import FieldDescriptor
modules = json.loads(sys.argv[2])
def fields(message, seen):
    if message.full_name not in seen:
        seen[message.full_name] = {
            f.number: [f.name, f.type, f.is_repeated, f.is_required, f.message_type and f.message_type.full_name]
            for f in message.fields
        }
        for f in message.fields:
            if f.message_type:
                fields(f.message_type, seen)
    return seen
classes = {name: importlib.import_module(module + "_pb2") for name, module in modules.items()}
schema = {n: [m.S2C.DESCRIPTOR.full_name, fields(m.S2C.DESCRIPTOR, {})] for n, m in classes.items()}
print(json.dumps(schema))
for line in sys.stdin:
    name, body = json.loads(line)
    body = base64.b64decode(body)
    message = classes[name].Response.FromString(body)
    assert message.IsInitialized() and message.retType == 0
    same = message.SerializeToString(deterministic=True) == body
    print(json.dumps([same, json_format.MessageToDict(message.s2c, preserving_proto_field_name=True)]))
"""


def theirs(bodies: list[tuple[str, str]]) -> list[Any]:
    found = importlib.util.find_spec("futu")
    if found is None or found.origin is None:
        pytest.skip("needs the venue's own classes: pip install --no-deps futu-api")
    folder = Path(found.origin).parent / "common" / "pb"
    done = subprocess.run(
        [sys.executable, "-c", THEIRS, str(folder), json.dumps(MODULES)],
        input="".join(json.dumps(body) + "\n" for body in bodies),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_every_field_has_the_number_and_the_type_of_theirs() -> None:
    (schema,) = theirs([])
    for name in PUSHES.values():
        root, messages = schema[name]
        compare(message_class(name).DESCRIPTOR, root, messages)


def compare(ours: Any, their_name: str, messages: dict[str, Any]) -> None:
    for field in ours.fields:
        name, type_, repeated, required, nested = messages[their_name][str(field.number)]
        spelled = field.name.replace("_", "")
        assert (spelled, field.type, field.is_repeated, field.is_required) == (
            name.lower(), type_, repeated, required
        ), f"{ours.name}.{field.name} against {their_name}.{name}"  # fmt: skip
        if field.message_type:
            compare(field.message_type, nested, messages)


def test_they_read_every_push_of_the_gateway(desk: Make) -> None:
    one = desk(symbols=("HK.00700", "US.AAPL", "SH.600519"))
    client = one.join()
    one.subscribe(["orderbook", "ticker", "quote", "broker", "rt", "kline.1min", "kline.1day"])
    one.run(10)
    one.gateway.inflict("login_loss")
    one.run(8)
    envelopes = [json.loads(text) for text in one.frames(client)]
    _, *read = theirs([(PUSHES[e["proto_id"]], e["body_b64"]) for e in envelopes])
    assert len(read) == len(envelopes) > 500
    assert {e["proto_id"] for e in envelopes} == {1003, 3005, 3007, 3009, 3011, 3013, 3015}
    for (same, content), envelope in zip(read, envelopes, strict=True):
        assert same, f"their bytes differ: {content}"
        if envelope["proto_id"] == 3013:
            assert len(content["orderBookBidList"]) == len(content["orderBookAskList"]) == 10
        if envelope["proto_id"] == 3011:
            assert all(int(tick["sequence"]) > 2**53 for tick in content["tickerList"])
