"""How an exchange is set up."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import msgspec

from bookreel.exchange.errors import BadSetting
from bookreel.exchange.listing import CATALOG

__all__ = ["ExchangeConfig", "Recording"]


class Recording(msgspec.Struct, frozen=True, kw_only=True):
    """An archive that is played instead of a synthetic market. Raises ``BadSetting``."""

    archive: Path
    """Its folder."""
    symbols: tuple[str, ...] | None = None
    """Those that are offered; None: all."""
    start: int | None = None
    """Receive time (ns) at which the venue's time begins; None: where the archive begins."""
    end: int | None = None
    """Receive time (ns) of the end, exclusive; None: where the archive ends."""
    speed: float | None = 1.0
    """How many times as fast as it was received; None: as fast as the clients take it."""
    gaps: Literal["break", "disconnect"] = "break"
    """What is shown of a hole: that the chain is broken after it; or that the connections that carry the stream end
    where it begins."""
    wait_s: float | None = None
    """The venue's time stands while nobody is subscribed, and begins so many seconds after the newest subscription.
    None: it runs from the start."""

    def __post_init__(self) -> None:
        if self.speed is not None and not 0 < self.speed < float("inf"):
            raise BadSetting("speed", self.speed, "it must be more than 0")


class ExchangeConfig(msgspec.Struct, frozen=True, kw_only=True):
    """Everything an exchange can be told; the defaults behave as the venue does. Raises ``BadSetting``."""

    host: str = "127.0.0.1"
    """Where to listen: only this machine, unless told otherwise."""
    port: int = 0
    """TCP port; 0 takes any free one."""
    symbols: tuple[str, ...] = tuple(list(CATALOG)[:8])
    """Symbols with a market: by default thick, thin and tiny-priced ones."""
    recording: Recording | None = None
    """Played instead of a synthetic market: ``symbols`` and ``rate`` are of no account then."""
    rate: float = 20.0
    """Mean market events per second and symbol."""
    seed: int = 1
    """The same seed gives the same market and the same schedule of faults."""
    faults: str = ""
    """SPEC as ``parse_faults`` reads it; nothing: no faults."""
    truth: Path | None = None
    """The truth file, overwritten; None writes none."""
    truth_book_s: float = 1.0
    """Least seconds between two true books of a topic in the truth file."""
    ping_s: float = 5.0
    """Seconds between pings. One unanswered for twice this long closes the socket."""
    pace_s: float = 0.01
    """Seconds between looks at the market."""
    request_gap_s: float = 0.1
    """Least seconds between two ``req`` of a socket; closer ones are refused (429)."""
    send_queue_bytes: int = 8 << 20
    """A client that lets more than this wait for it is disconnected."""
    tls_cert: Path | None = None
    """PEM certificate chain: with it the URLs are wss and https, for clients that insist on that."""
    tls_key: Path | None = None
    """PEM private key of ``tls_cert``, if that file does not hold it."""
    spared_s: float = 3.0
    """So long after connecting a socket is spared disconnects, silences and half-open states."""
    silence_s: tuple[float, float] = (40.0, 90.0)
    """Shortest and longest silence of a stream that nobody subscribes anew."""
    half_open_s: float = 60.0
    """After this long a half-open socket is torn down."""

    def __post_init__(self) -> None:
        for name in ("rate", "ping_s", "pace_s", "send_queue_bytes", "half_open_s"):
            if not getattr(self, name) > 0:
                raise BadSetting(name, getattr(self, name), "it must be more than 0")
        if not 0 < self.silence_s[0] <= self.silence_s[1]:
            raise BadSetting("silence_s", self.silence_s, "it must be the shortest and the longest")
        if not self.symbols:
            raise BadSetting("symbols", self.symbols, "name at least one")
        if not 0 <= self.port <= 65535:
            raise BadSetting("port", self.port, "it must be between 0 and 65535")
