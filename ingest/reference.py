"""Reference data: loaded from the venue, and what was configured checked against it before anything is
recorded.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from random import Random
from typing import Final

import msgspec

from bookreel.book.model import Instrument
from bookreel.ingest.clock import Clock
from bookreel.ingest.config import RecordConfig
from bookreel.ingest.errors import FetchFailed, ReferenceUnavailable, SymbolNotOnline
from bookreel.ingest.network import Network
from bookreel.ingest.reconnect import backoff
from bookreel.venues.errors import BadSymbol, DecodeError
from bookreel.venues.message import Dialect, Topic, Venue

__all__ = ["Reference", "choose_topics", "load_reference", "topics_of"]

_ONLINE: Final = "online"
_BASE_S: Final = 0.5
_CAP_S: Final = 15.0

_log = logging.getLogger(__name__)


class Reference(msgspec.Struct, frozen=True):
    """A reply as received, at ``wall`` and ``mono`` (ns), and what it says."""

    body: bytes
    wall: int
    mono: int
    instruments: list[Instrument]


async def load_reference(
    config: RecordConfig, venue: Dialect, network: Network, clock: Clock, rng: Random, *, patience_s: float
) -> Reference:
    """Fetch and read the reference data; try again, ever more slowly, for ``patience_s`` seconds.

    Raises :class:`ReferenceUnavailable`.
    """
    url = config.rest_url.rstrip("/") + venue.symbols_path
    started = clock.mono_ns()
    for delay_s in backoff(rng, base_s=_BASE_S, cap_s=_CAP_S):
        try:
            body = await network.get(url)
            wall, mono = clock.wall_ns(), clock.mono_ns()
            return Reference(body, wall, mono, venue.decode_instruments(body))
        except (FetchFailed, DecodeError) as error:
            reason = error.reason
        waited_s = (clock.mono_ns() - started) / 1e9
        if waited_s + delay_s > patience_s:
            raise ReferenceUnavailable(url, reason, waited_s)
        _log.warning("no reference data: venue=%s error=%s retry_s=%.1f", venue.name, reason, delay_s)
        await clock.sleep(delay_s)
    raise AssertionError("delays never end")


def _is_symbol(venue: Dialect, symbol: str, config: RecordConfig) -> bool:
    """Whether the venue could have a topic of this symbol."""
    try:
        venue.topic(symbol, config.feeds[0])
    except BadSymbol:
        return False
    return True


def choose_topics(config: RecordConfig, venue: Dialect, instruments: Iterable[Instrument]) -> list[Topic]:
    """The topics to record, by symbol and then in the order of the feeds.

    Raises ``UnknownFeed``, ``BadSymbol`` (both name near ones) or :class:`SymbolNotOnline`.
    """
    states = {instrument.symbol: instrument.state for instrument in instruments}
    if config.symbols == "all":
        symbols: list[str] = sorted(symbol for symbol, state in states.items() if state == _ONLINE)
        strange = [symbol for symbol in symbols if not _is_symbol(venue, symbol, config)]
        if strange:
            # Whoever asks for all must not be without all for a name that no topic can have.
            _log.warning("not recorded: %d names are no symbols, such as %.80r", len(strange), strange[0])
            symbols = [symbol for symbol in symbols if symbol not in set(strange)]
    else:
        symbols = list(dict.fromkeys(config.symbols))
    for symbol in symbols:
        state = states.get(symbol)
        if state is None:
            raise BadSymbol(symbol, venue.near_symbols(symbol, states))
        if state != _ONLINE:
            raise SymbolNotOnline(symbol, state)
    return topics_of(venue, symbols, config.feeds)


def topics_of(venue: Venue, symbols: Iterable[str], feeds: Iterable[str]) -> list[Topic]:
    """Each topic once, by symbol and then in the order of the feeds. Raises ``UnknownFeed``, ``BadSymbol``."""
    names = list(feeds)
    topics = (venue.topic(symbol, feed) for symbol in symbols for feed in names)
    return list({topic.text: topic for topic in topics}.values())
