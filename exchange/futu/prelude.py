"""What was known of a gateway's topics before an instant, and what it had answered by then."""

from __future__ import annotations

import json
from typing import Final

from bookreel.exchange.futu.known import Known
from bookreel.exchange.futu.recorded import KEPT
from bookreel.replay import Archive
from bookreel.venues.futu.endpoints import ENDPOINTS

__all__ = ["recall"]

_DAY: Final = 86_400_000_000_000
_LOOKS: Final = (60_000_000_000, 3_600_000_000_000, _DAY, 30 * _DAY)
"""How far back (ns) a topic's last message is looked for, one after the other."""
_ANSWERS: Final = 1_000
"""Of an endpoint, so many answers are looked at."""

_LISTED: Final = """
SELECT symbol, raw FROM instruments
QUALIFY row_number() OVER (
    PARTITION BY symbol
    ORDER BY epoch_ns(ts_recv) <= $at DESC, CASE WHEN epoch_ns(ts_recv) <= $at THEN -pos ELSE pos END
) = 1
ORDER BY symbol
"""
"""As of an instant; of a security that was not known yet, what was learned first."""

_LAST: Final = """
SELECT topic, max(pos), epoch_ns(arg_max(ts_recv, pos)) FROM frames
WHERE direction = 'in' AND kind = 'data' AND list_contains($topics, topic)
    AND ts_recv >= make_timestamp_ns($since) AND ts_recv < make_timestamp_ns($at)
GROUP BY topic
"""

_SERIES: Final = {
    "ticker": "SELECT pos FROM trades WHERE symbol = $symbol AND {when} ORDER BY pos DESC LIMIT $most",
    "rt": (
        "SELECT max(pos) FROM timeshare WHERE symbol = $symbol AND {when} GROUP BY minute_time "
        "ORDER BY minute_time DESC LIMIT $most"
    ),
    "kline": (
        "SELECT max(pos) FROM klines WHERE symbol = $symbol AND period = $period AND {when} GROUP BY open_time "
        "ORDER BY open_time DESC LIMIT $most"
    ),
}
"""The frames that hold the newest trades, minutes and bars."""
_WHEN: Final = "ts_recv >= make_timestamp_ns($since) AND ts_recv < make_timestamp_ns($at)"

_REPLIES: Final = """
SELECT pos FROM frames WHERE direction = 'in' AND kind = 'reply' AND list_contains($endpoints, topic) AND {when}
QUALIFY row_number() OVER (PARTITION BY topic ORDER BY pos DESC) <= $most
"""

_TEXTS: Final = """
SELECT kind, topic, payload FROM frames
WHERE {when} AND payload IS NOT NULL AND list_contains($positions, pos) ORDER BY pos
"""


def recall(archive: Archive, known: Known, at: int, *, early: bool) -> None:
    """Give ``known`` what an archive has from before ``at`` (ns); ``early``: only what is listed, for the recording
    begins there.
    """
    for symbol, raw in archive.sql(_LISTED, {"at": at}).fetchall():
        if known.wants(symbol):
            known.listed(symbol, json.loads(raw))
    if early:
        return
    positions, since = _positions(archive, known, at)
    given = {"positions": sorted(positions), "since": since, "at": at}
    for kind, topic, text in archive.sql(_TEXTS.format(when=_WHEN), given).fetchall():
        if kind == "reply":
            known.answered(text.encode())
        elif not known.noticed(topic, text.encode()):
            known.pushed(text.encode())


def _positions(archive: Archive, known: Known, at: int) -> tuple[set[int], int]:
    """The frames to look at, and when the first of them can have come."""
    topics = {topic.text: topic for topic in known.topics()}
    left, found, since = set(topics), set[int](), max(0, at - _DAY)
    for look in _LOOKS:
        if not left:
            break
        given = {"topics": [*sorted(left), "notice"], "since": max(0, at - look), "at": at}
        for text, pos, ts in archive.sql(_LAST, given).fetchall():
            found.add(pos)
            left.discard(text)
            since = min(since, ts)
    for topic in topics.values():
        feed, _, period = topic.feed.partition(".")
        if feed in _SERIES:
            more = {"period": period} if period else {}
            given = {"symbol": topic.symbol, "since": since, "at": at, "most": KEPT, **more}
            rows = archive.sql(_SERIES[feed].format(when=_WHEN), given).fetchall()
            found.update(pos for (pos,) in rows)
    given = {"endpoints": sorted(ENDPOINTS), "since": since, "at": at, "most": _ANSWERS}
    found.update(pos for (pos,) in archive.sql(_REPLIES.format(when=_WHEN), given).fetchall())
    return found, since
