"""Which topics go over which connections."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec

from bookreel.ingest.config import RecordConfig
from bookreel.venues.message import Dialect, Topic

__all__ = ["Line", "plan"]


class Line(msgspec.Struct, frozen=True):
    """One connection that is kept up: its name, such as ``feed-0``, where it leads, and what it brings."""

    name: str
    url: str
    topics: tuple[Topic, ...]


def plan(
    topics: Iterable[Topic], config: RecordConfig, venue: Dialect, *, used: Mapping[str, int] | None = None
) -> list[Line]:
    """Spread topics evenly over as few connections as the limits allow, a symbol's topics together where they
    fit.

    Incremental books have a host path and a limit of their own: each needs a paced request after a reconnect.
    ``used`` tells how many lines of each kind (``feed``, ``ws``) exist already, so that new ones get new
    names.
    """
    urls = {"feed": config.feed_url, "ws": config.ws_url}
    limits = {"feed": config.books_per_connection, "ws": config.topics_per_connection}
    kinds: dict[str, dict[str, list[Topic]]] = {}
    for topic in topics:
        kind = venue.path(topic).strip("/")
        assert kind in urls, f"no setting says where {venue.name} serves {kind}"
        kinds.setdefault(kind, {}).setdefault(topic.symbol, []).append(topic)
    lines: list[Line] = []
    for kind in sorted(kinds):
        first = (used or {}).get(kind, 0)
        for number, share in enumerate(_shares(kinds[kind].values(), limits[kind]), first):
            lines.append(Line(f"{kind}-{number}", urls[kind], tuple(share)))
    return lines


def _shares(groups: Iterable[list[Topic]], limit: int) -> list[list[Topic]]:
    groups = list(groups)
    total = sum(len(group) for group in groups)
    target = -(-total // -(-total // limit))
    shares: list[list[Topic]] = [[]]
    for group in groups:
        for start in range(0, len(group), limit):
            part = group[start : start + limit]
            room = limit - len(shares[-1])
            if shares[-1] and (len(part) > room or len(shares[-1]) >= target):
                shares.append([])
            shares[-1].extend(part)
    return shares
