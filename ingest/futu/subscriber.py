"""Subscriptions at the gateway: in batches, a bad symbol found by halving, held against what the gateway says."""

from __future__ import annotations

import logging
from collections.abc import Iterable

import msgspec

from bookreel.ingest.futu.caller import CONN, Caller, bisect, is_refusal
from bookreel.ingest.tape import Tape
from bookreel.venues.errors import BadSymbol
from bookreel.venues.futu.errors import Refused
from bookreel.venues.futu.feeds import FEED_OF, FEEDS, make_topic
from bookreel.venues.futu.requests import batches, call, subscribe
from bookreel.venues.futu.status import SubscriptionInfo
from bookreel.venues.message import Topic

__all__ = ["Outcome", "Subscriber"]

_log = logging.getLogger(__name__)


class Outcome(msgspec.Struct, frozen=True):
    """What a subscription came to: the texts of the topics that the gateway listed when it was asked at
    ``asked_wall`` (ns), why each refused symbol was refused, and the quota in units (None where it is not told).
    """

    subscribed: frozenset[str]
    asked_wall: int
    refused: dict[str, str]
    used: int | None
    remaining: int | None


class Subscriber:
    """Subscribes with pushes: without being asked to the gateway subscribes and pushes nothing."""

    def __init__(self, caller: Caller) -> None:
        self._caller = caller

    async def listed(self, tape: Tape) -> frozenset[str]:
        """The texts of the topics that are subscribed now, by the gateway's own account. Raises as :meth:`subscribe`
        does.
        """
        return _topics(await self._info(tape, CONN, 1))

    async def subscribe(self, topics: Iterable[Topic], tape: Tape, conn: str, epoch: int) -> Outcome:
        """Subscribe topics on a line. Raises a ``GatewayError`` that is no refusal of a symbol, and
        ``FetchFailed``.
        """
        before = await self._info(tape, conn, epoch)
        refused: dict[str, str] = {}
        for feeds, symbols in _groups(topics).items():
            for batch in batches(symbols):
                await self._batch(batch, feeds, refused, tape, conn, epoch)
        asked_wall = tape.clock.wall_ns()
        after = await self._info(tape, conn, epoch)
        outcome = Outcome(_topics(after), asked_wall, refused, after.total_used_quota, after.remain_quota)
        facts = {"used_before": before.total_used_quota, "used": outcome.used, "remaining": outcome.remaining}
        tape.event("subscribed", conn, epoch, topics=len(outcome.subscribed), refused=refused, **facts)
        _log.info(
            "subscribed: line=%s topics=%d refused=%d quota_used=%s (before: %s) quota_left=%s",
            conn,
            len(outcome.subscribed),
            len(refused),
            outcome.used,
            before.total_used_quota,
            outcome.remaining,
        )
        for symbol, reason in refused.items():
            _log.warning("refused: symbol=%s reason=%s", symbol, reason)
        return outcome

    async def _batch(
        self,
        symbols: list[str],
        feeds: tuple[str, ...],
        refused: dict[str, str],
        tape: Tape,
        conn: str,
        epoch: int,
    ) -> None:
        # Prices as traded: adjusted ones change in the past whenever a dividend is paid.
        rehab = (0,) if any(feed.startswith("kline.") for feed in feeds) else None
        try:
            await self._caller.ask(subscribe(symbols, feeds, rehab_types=rehab), tape, conn, epoch)
        except Refused as error:
            if not is_refusal(error):
                raise
            if len(symbols) == 1:
                refused[symbols[0]] = error.ret_msg or "no reason given"
                return
            for half in bisect(symbols):
                await self._batch(half, feeds, refused, tape, conn, epoch)

    async def _info(self, tape: Tape, conn: str, epoch: int) -> SubscriptionInfo:
        reply = await self._caller.ask(call("query-subscription"), tape, conn, epoch)
        assert isinstance(reply, SubscriptionInfo), "that is what it answers"
        return reply


def _groups(topics: Iterable[Topic]) -> dict[tuple[str, ...], list[str]]:
    """Symbols by the feeds that they have, so that few requests do for all."""
    feeds: dict[str, list[str]] = {}
    for topic in topics:
        feeds.setdefault(topic.symbol, []).append(topic.feed)
    groups: dict[tuple[str, ...], list[str]] = {}
    for symbol, names in feeds.items():
        groups.setdefault(tuple(names), []).append(symbol)
    return groups


def _topics(info: SubscriptionInfo) -> frozenset[str]:
    """The topics that the gateway lists as subscribed; kinds and symbols that are not known are passed over."""
    found = set()
    for connection in info.conn_sub_info_list:
        for one in connection.sub_info_list:
            feed = FEED_OF.get(one.sub_type or 0)
            for security in one.security_list if feed else ():
                try:
                    found.add(make_topic(security.symbol, FEEDS[feed.name].name).text if feed else "")
                except BadSymbol:
                    continue
    return frozenset(found)
