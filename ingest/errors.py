"""What can go wrong while recording, apart from the venue's data, which is never an error but a gap."""

from __future__ import annotations

from collections.abc import Sequence

from bookreel.book.model import Cause

__all__ = [
    "ConfigError",
    "ConnectFailed",
    "Disconnected",
    "FetchFailed",
    "GatewayUnusable",
    "IngestError",
    "LineDown",
    "ReferenceUnavailable",
    "SymbolNotOnline",
]


class IngestError(Exception):
    """Base of this package's errors. ``exit_code`` is what the command line ends with."""

    exit_code = 2


class ConfigError(IngestError):
    """A setting that cannot be used. ``key`` is its name, ``near`` the right names it resembles."""

    def __init__(self, key: str, reason: str, *, near: Sequence[str] = (), source: str = "") -> None:
        self.key = key
        self.reason = reason
        self.near = list(near)
        self.source = source
        hint = f"; did you mean {', '.join(self.near)}?" if self.near else ""
        where = f"{source}: " if source else ""
        super().__init__(f"{where}{reason}{hint}")


class ConnectFailed(IngestError):
    """No connection could be made. ``status``: the HTTP status of a refusal; ``retry_after``: the pause the
    server asked for, in seconds.
    """

    def __init__(
        self, url: str, reason: str, *, status: int | None = None, retry_after: float | None = None
    ) -> None:
        self.url = url
        self.reason = reason
        self.status = status
        self.retry_after = retry_after
        super().__init__(f"cannot connect to {url}: {reason}")


class Disconnected(IngestError):
    """A connection ended. ``code`` is the WebSocket close code, None where the peer gave none."""

    def __init__(self, code: int | None, reason: str) -> None:
        self.code = code
        self.reason = reason
        super().__init__(reason if code is None else f"{code} {reason}".rstrip())


class FetchFailed(IngestError):
    """A page could not be fetched. ``status`` is the HTTP status, None where there was no answer."""

    def __init__(self, url: str, reason: str, *, status: int | None = None) -> None:
        self.url = url
        self.reason = reason
        self.status = status
        super().__init__(f"cannot fetch {url}: {reason}")


class GatewayUnusable(IngestError):
    """The gateway cannot be recorded, and trying again does not help: a key that it refuses, or no symbol that it
    knows.
    """

    def __init__(self, url: str, reason: str) -> None:
        self.url = url
        self.reason = reason
        super().__init__(f"cannot record from {url}: {reason}")


class ReferenceUnavailable(IngestError):
    """The list of symbols could not be loaded, so there is nothing to check the configured symbols
    against.
    """

    def __init__(self, url: str, reason: str, waited_s: float) -> None:
        self.url = url
        self.reason = reason
        self.waited_s = waited_s
        super().__init__(
            f"no reference data from {url} after {waited_s:.0f} s: {reason}; check the network and `rest_url`"
        )


class SymbolNotOnline(IngestError):
    """The venue lists the symbol, but does not trade it now."""

    def __init__(self, symbol: str, state: str) -> None:
        self.symbol = symbol
        self.state = state
        super().__init__(
            f"symbol {symbol!r} is listed as {state!r}, so there is nothing to record; leave it out"
        )


class LineDown(IngestError):
    """A connection is to be given up, or was lost; another follows. ``cause`` is the gap's; ``since``: the line is
    known good until then (receive time, ns), None: until its last frame.
    """

    def __init__(self, cause: Cause, detail: str, *, since: int | None = None) -> None:
        self.cause: Cause = cause
        self.detail = detail
        self.since = since
        super().__init__(f"{cause}: {detail}")
