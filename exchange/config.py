"""How an exchange is set up."""

from __future__ import annotations

from pathlib import Path

import msgspec

from bookreel.exchange.listing import CATALOG

__all__ = ["ExchangeConfig"]


class ExchangeConfig(msgspec.Struct, frozen=True, kw_only=True):
    """Everything an exchange can be told; the defaults behave as the venue does."""

    host: str = "127.0.0.1"
    """Where to listen: only this machine, unless told otherwise."""
    port: int = 0
    """TCP port; 0 takes any free one."""
    symbols: tuple[str, ...] = tuple(list(CATALOG)[:8])
    """Symbols with a market: by default thick, thin and tiny-priced ones."""
    rate: float = 20.0
    """Mean market events per second and symbol."""
    seed: int = 1
    """The same seed gives the same market and the same schedule of faults."""
    faults: str = ""
    """SPEC as ``parse_faults`` reads it; nothing: no faults."""
    truth: Path | None = None
    """The truth file, overwritten; None writes none."""
    ping_s: float = 5.0
    """Seconds between pings. One unanswered for twice this long closes the socket."""
    pace_s: float = 0.01
    """Seconds between looks at the market."""
    request_gap_s: float = 0.1
    """Least seconds between two ``req`` of a socket; closer ones are refused (429)."""
    send_queue_bytes: int = 8 << 20
    """A client that lets more than this wait for it is disconnected."""
    half_open_s: float = 60.0
    """After this long a half-open socket is torn down."""
