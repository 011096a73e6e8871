"""The document has every route, and says what they take and give."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bookreel.replay.server import Settings
from tests.replay.server.serving import Site, serving

TOKEN = "0123456789abcdef-token"


def references(value: Any) -> list[str]:
    if isinstance(value, dict):
        own = [value["$ref"]] if "$ref" in value else []
        return own + [name for part in value.values() for name in references(part)]
    return [name for part in value for name in references(part)] if isinstance(value, list) else []


def test_every_route_is_in_it(site: Site) -> None:
    document = site.get("/v1/openapi.json").json()
    assert document["openapi"] == "3.1.0"
    listed = set(site.get("/nothing").json()["allowed"])
    assert document["paths"].keys() == listed
    assert {"/v1/book", "/v1/trades", "/v1/replay", "/v1/sql", "/v1/openapi.json"} <= listed
    for reference in references(document):
        assert reference.rpartition("/")[2] in document["components"]["schemas"]


def test_what_it_says_is_required_is(site: Site) -> None:
    document = site.get("/v1/openapi.json").json()
    for path, operations in document["paths"].items():
        for parameter in operations.get("get", {"parameters": []})["parameters"]:
            if parameter["required"]:
                reply = site.get(path)
                assert (reply.status, reply.json()["error"]) == (400, "bad_request"), path


def test_its_examples_are_accepted(site: Site) -> None:
    document = site.get("/v1/openapi.json").json()
    for path, operations in document["paths"].items():
        if path.startswith("/ws-"):
            continue  # those are asked in another way
        for parameter in operations.get("get", {"parameters": []})["parameters"]:
            if parameter["name"] in ("cursor", "after", "symbol", "feed", "symbols", "feeds", "options"):
                continue  # those are of an archive
            required = [known for known in operations["get"]["parameters"] if known["required"]]
            query = {known["name"]: known["example"] for known in required}
            query |= {parameter["name"]: parameter["example"]}
            if parameter["name"] in ("follow", "speed"):
                continue  # it would not end, or not soon
            reply = site.get(path, **query)
            assert reply.status in (200, 409), (path, query, reply.body)


def test_a_token_is_described(recorded: Path) -> None:
    with serving(recorded, Settings(workers=1, token=TOKEN)) as site:
        document = site.get("/v1/openapi.json").json()
        assert document["paths"]["/v1/symbols"]["get"]["security"] == [{"token": []}]
        assert "401" in document["paths"]["/v1/symbols"]["get"]["responses"]
        assert "security" not in document["paths"]["/health-check"]["get"]


@pytest.mark.parametrize("path", ["/v1/symbols", "/v1/tables", "/health-check"])
def test_answers_have_what_their_schema_requires(site: Site, path: str) -> None:
    document = site.get("/v1/openapi.json").json()
    schema = document["paths"][path]["get"]["responses"]["200"]["content"]["application/json"]["schema"]
    found = site.get(path).json()
    if schema.get("type") == "array":
        schema, found = schema["items"], found[0]
    named = document["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
    assert set(named["required"]) <= found.keys() <= named["properties"].keys()
