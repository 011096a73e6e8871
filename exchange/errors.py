"""What can be wrong with the way an exchange is started or asked."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

__all__ = [
    "BadFaultSpec",
    "BadSetting",
    "BadTruth",
    "ExchangeError",
    "NothingRecorded",
    "OtherVenue",
    "PortInUse",
    "UnknownFault",
    "UnknownSymbol",
]


class ExchangeError(Exception):
    """Base of this package's errors. ``exit_code`` is what the command line exits with."""

    exit_code: ClassVar[int] = 2


class NothingRecorded(ExchangeError):
    """An archive without a frame to play."""

    def __init__(self, archive: Path) -> None:
        self.archive = archive
        super().__init__(
            f"{archive} has nothing of these symbols and times to play: `bookreel info --archive {archive}` "
            "says what it has"
        )


class OtherVenue(ExchangeError):
    """An archive of another venue than the one whose protocol is to be spoken."""

    def __init__(self, archive: Path, venue: str, spoken: str) -> None:
        self.archive = archive
        self.venue = venue
        self.spoken = spoken
        super().__init__(
            f"{archive} is of {venue}, and cannot be played by the protocol of {spoken}; "
            f"`bookreel exchange --archive {archive}` plays it by its own"
        )


class PortInUse(ExchangeError):
    """Somebody else listens on the port."""

    def __init__(self, port: int, host: str = "127.0.0.1") -> None:
        self.port = port
        self.host = host
        super().__init__(f"port {port} on {host} is in use: choose another one, or 0 for any free port")


class UnknownFault(ExchangeError, ValueError):
    """A fault kind that does not exist."""

    def __init__(self, kind: str, near: list[str]) -> None:
        self.kind = kind
        self.near = near
        hint = f"did you mean {', '.join(near)}?" if near else "use 'all' for every kind"
        super().__init__(f"unknown fault {kind!r}: {hint}")


class BadFaultSpec(ExchangeError, ValueError):
    """A faults SPEC that cannot be read."""

    def __init__(self, part: str, reason: str) -> None:
        self.part = part
        self.reason = reason
        super().__init__(
            f"cannot read {part!r} in the faults: {reason}; write 'all' or 'lost_delta=5,disconnect=2' (per minute)"
        )


class BadSetting(ExchangeError, ValueError):
    """A setting outside its range."""

    def __init__(self, name: str, value: object, reason: str) -> None:
        self.name = name
        self.value = value
        self.reason = reason
        super().__init__(f"{name} = {value!r} cannot work: {reason}")


class UnknownSymbol(ExchangeError, ValueError):
    """A symbol the exchange cannot make a market for."""

    def __init__(self, symbol: str, near: list[str]) -> None:
        self.symbol = symbol
        self.near = near
        hint = (
            f"did you mean {', '.join(near)}?"
            if near
            else "write it as base and quote together, such as btcusdt"
        )
        super().__init__(f"unknown symbol {symbol!r}: {hint}")


class BadTruth(ExchangeError):
    """A truth file with a line that cannot be read."""

    exit_code: ClassVar[int] = 3

    def __init__(self, path: str, line: int, reason: str) -> None:
        self.path = path
        self.line = line
        self.reason = reason
        super().__init__(
            f"{path} line {line} is not a truth record ({reason}): was it written by 'bookreel exchange'?"
        )
