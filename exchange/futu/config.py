"""How the gateway is set up."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import msgspec

from bookreel.exchange.config import Recording
from bookreel.exchange.errors import BadSetting
from bookreel.exchange.futu.listing import CATALOG

__all__ = ["GatewayConfig"]


class GatewayConfig(msgspec.Struct, frozen=True, kw_only=True):
    """Everything it can be told; the defaults behave as documented of the real one. Raises ``BadSetting``."""

    host: str = "127.0.0.1"
    """Where to listen: only this machine, unless told otherwise."""
    port: int = 0
    """TCP port; 0 takes any free one."""
    symbols: tuple[str, ...] = tuple(list(CATALOG)[:6])
    """Securities with a market."""
    recording: Recording | None = None
    """Played instead of a synthetic market: ``symbols``, ``rate``, ``hours``, ``faults`` and ``truth`` are of no
    account then."""
    rate: float = 5.0
    """Mean market events per second and security while its market is open."""
    seed: int = 1
    """The same seed gives the same market and the same schedule of faults."""
    hours: Literal["always", "real"] = "always"
    """``real``: trading hours, lunch break and weekends of each exchange; ``always``: open all the time."""
    faults: str = ""
    """SPEC as ``parse_faults`` reads it; nothing: no faults."""
    truth: Path | None = None
    """The truth file, overwritten; None writes none."""
    keys: dict[str, tuple[str, ...]] = {}
    """Key to its scopes. None at all: everything may be read without one."""
    strict_state: bool = False
    """Whether subscribing needs ``qot:state``; else ``qot:read`` does as well."""
    quota: int = 1000
    """Units of subscription: one for each security and kind."""
    hold_s: float = 60.0
    """So long after subscribing nothing can be unsubscribed."""
    suppress_s: float = 5.0
    """A push whose bytes were sent within this time is not sent again."""
    capacity: int = 1024
    """Pushes that wait for a client; beyond, the oldest are lost to it without a word."""
    version: str = "1.4.122"
    """The gateway's version, as it says itself."""
    pace_s: float = 0.01
    """Seconds between looks at the market."""
    lag_pushes: tuple[int, int] = (5, 50)
    """Fewest and most pushes that the fault ``lag`` takes."""
    restart_s: float = 2.0
    """How long a restart takes; meanwhile nobody can connect."""
    login_s: tuple[float, float] = (2.0, 6.0)
    """Shortest and longest loss of the login; also of what is held back or not pushed."""
    refused_s: float = 3.0
    """How long a security is refused."""

    def __post_init__(self) -> None:
        for name in ("rate", "pace_s", "capacity", "quota"):
            if not getattr(self, name) > 0:
                raise BadSetting(name, getattr(self, name), "it must be more than 0")
        for name in ("login_s", "lag_pushes"):
            least, most = getattr(self, name)
            if not 0 < least <= most:
                raise BadSetting(name, (least, most), "it must be the least and the most")
        if len(set(self.symbols)) != len(self.symbols) or not self.symbols:
            raise BadSetting("symbols", self.symbols, "each must be there once, and at least one")
