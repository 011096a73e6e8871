"""What can be wrong with the gateway's frames and replies."""

from __future__ import annotations

from typing import ClassVar, Literal, TypeAlias

from bookreel.venues.errors import DecodeError, VenueError

__all__ = [
    "BadReply",
    "Forbidden",
    "GatewayError",
    "NoSuchEndpoint",
    "PushError",
    "Refused",
    "Stage",
    "TimedOut",
    "Unauthorized",
    "Unavailable",
]

Stage: TypeAlias = Literal["json", "base64", "protobuf", "missing", "refused", "value"]
"""Where reading a push failed: its envelope; its body's base64; the body's bytes; a required field that is not there;
a body that reports the gateway's own failure; a number or a name that cannot be right."""


class PushError(DecodeError):
    """A push that could not be read. ``missing`` names the required fields that are not there."""

    def __init__(
        self,
        stage: Stage,
        reason: str,
        text: bytes,
        *,
        proto_id: int | None = None,
        sec_key: str | None = None,
        missing: tuple[str, ...] = (),
    ) -> None:
        self.stage = stage
        self.proto_id = proto_id
        self.sec_key = sec_key
        self.missing = missing
        super().__init__(f"{stage}: {reason}", text)


class GatewayError(VenueError):
    """A REST call did not give an answer. ``retryable``: the same call may succeed later, without any change."""

    exit_code: ClassVar[int] = 1
    retryable: ClassVar[bool] = False

    def __init__(self, path: str, reason: str, advice: str) -> None:
        self.path = path
        self.reason = reason
        super().__init__(f"{path}: {reason}; {advice}")


class Unauthorized(GatewayError):
    """401: no key, or one the gateway does not know. Trying again does not help."""

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(path, f"401 {reason}", "give a key that is in the gateway's keys.json")


class Forbidden(GatewayError):
    """403: the key lacks a scope. Trying again does not help."""

    def __init__(self, path: str, reason: str, scope: str) -> None:
        self.scope = scope
        super().__init__(path, f"403 {reason}", f"the key needs the scope {scope}")


class NoSuchEndpoint(GatewayError):
    """404: this version of the gateway does not have it."""

    def __init__(self, path: str) -> None:
        super().__init__(path, "404 not found", "this version of the gateway does not have it; leave it out")


class Unavailable(GatewayError):
    """429 or 5xx: the gateway is busy, starting or broken."""

    retryable: ClassVar[bool] = True

    def __init__(self, path: str, status: int, reason: str) -> None:
        self.status = status
        super().__init__(path, f"{status} {reason}", "wait and ask again")


class Refused(GatewayError):
    """The gateway answered that it failed. ``ret_type`` -1 means the request; -400 is unknown, -500 its packet."""

    def __init__(self, path: str, ret_type: int, ret_msg: str, err_code: int | None) -> None:
        self.ret_type = ret_type
        self.ret_msg = ret_msg
        self.err_code = err_code
        code = "" if err_code is None else f", error {err_code}"
        super().__init__(path, f"ret_type {ret_type}{code}: {ret_msg or 'no reason given'}", self._advice())

    def _advice(self) -> str:
        return "ask again later" if self.retryable else "change the request"


class TimedOut(Refused):
    """``ret_type`` -100 or -200: the gateway's own backend did not answer, or is not connected."""

    retryable: ClassVar[bool] = True


class BadReply(GatewayError):
    """A reply that is not what the endpoint is known to answer. ``body`` is the reply."""

    def __init__(self, path: str, reason: str, body: bytes) -> None:
        self.body = body
        super().__init__(path, f"cannot read the reply: {reason}", f"it began {body[:120]!r}")
