"""Query parameters: what each may be, as data that parses requests and that the OpenAPI document is made of."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Final, TypeAlias

import msgspec
from multidict import MultiMapping

from bookreel.replay.errors import BadInterval, BadTime
from bookreel.replay.server.errors import BadRequest, nearest
from bookreel.replay.times import to_interval, to_ns

__all__ = [
    "Parameter",
    "Values",
    "choice",
    "flag",
    "interval",
    "name",
    "names",
    "number",
    "parse",
    "text",
    "time",
    "whole",
]

Values: TypeAlias = Mapping[str, Any]
"""The parsed parameters of one request, each of its route's by name."""

_NAME: Final = r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}"
_INTERVAL: Final = r"[1-9][0-9]{0,8}(ns|us|ms|s|m|min|h|d)"
_TIME_CHARS: Final = 40
_MOST_NAMES: Final = 1000
_FLAGS: Final = {"1": True, "true": True, "0": False, "false": False}

_DAY: Final = r"[0-9]{4}-[0-9]{2}-[0-9]{2}"
_CLOCK: Final = r"[T ][0-9]{2}:[0-9]{2}(:[0-9]{2}([.][0-9]{1,9})?)?"
_ZONE: Final = r"Z|[+-][0-9]{2}:[0-9]{2}"
_TIME: Final = rf"^({_DAY}({_CLOCK})?({_ZONE})?|-?[0-9]{{1,18}})$"


class Parameter(msgspec.Struct, frozen=True, kw_only=True):
    """``read`` turns the text into the value, raising ValueError with a clause that says why not. ``schema``: JSON
    Schema of the text. ``allowed``: every possible text, where they are few.
    """

    name: str
    about: str
    read: Callable[[str], Any]
    schema: dict[str, Any]
    example: str
    required: bool = False
    default: Any = None
    allowed: tuple[str, ...] | None = None


def parse(parameters: Sequence[Parameter], query: MultiMapping[str]) -> Values:
    """The values of a request. Raises BadRequest: for an unknown or repeated parameter, one that is missing, and a
    value that cannot be right.
    """
    known = {parameter.name: parameter for parameter in parameters}
    for key in query:
        if key not in known:
            raise BadRequest(
                f"there is no parameter {key[:64]!r} here{nearest(key[:64], known)}", allowed=sorted(known)
            )
        if len(query.getall(key)) > 1:
            raise BadRequest(f"{key} was given {len(query.getall(key))} times, give it once", parameter=key)
    return {parameter.name: _value(parameter, query.get(parameter.name)) for parameter in parameters}


def _value(parameter: Parameter, given: str | None) -> Any:
    def bad(reason: str) -> BadRequest:
        return BadRequest(
            f"{parameter.name} {reason}",
            parameter=parameter.name,
            allowed=parameter.allowed,
            example=f"{parameter.name}={parameter.example}",
        )

    if given is None:
        if parameter.required:
            raise bad("is missing")
        return parameter.default
    try:
        return parameter.read(given)
    except ValueError as error:
        raise bad(str(error)) from error


def _shown(given: str) -> str:
    return repr(given if len(given) <= 64 else given[:64] + "...")


def _read_name(given: str) -> str:
    if re.fullmatch(_NAME, given) is None:
        raise ValueError(f"{_shown(given)} is not a name: give letters, digits, '.', '_' and '-', at most 64")
    return given


def name(key: str, about: str, *, example: str, required: bool = False) -> Parameter:
    """A symbol, a feed or the like."""
    schema = {"type": "string", "pattern": f"^{_NAME}$"}
    return Parameter(
        name=key, about=about, read=_read_name, schema=schema, example=example, required=required
    )


def _read_names(given: str) -> list[str]:
    found = [_read_name(part.strip()) for part in given.split(",")]
    if len(found) > _MOST_NAMES:
        raise ValueError(f"has {len(found)} names, at most {_MOST_NAMES} are possible")
    return found


def names(key: str, about: str, *, example: str) -> Parameter:
    """Names, separated by commas."""
    schema = {"type": "string", "pattern": f"^{_NAME}(,{_NAME})*$"}
    return Parameter(name=key, about=about, read=_read_names, schema=schema, example=example)


def _read_time(given: str) -> int:
    try:
        if len(given) <= _TIME_CHARS:
            return to_ns(int(given) if re.fullmatch(r"-?[0-9]{1,20}", given) else given)
    except BadTime as error:
        raise ValueError(f"{_shown(given)} is not a time: {error.reason}") from error
    raise ValueError(f"{_shown(given)} is not a time: give ISO-8601 or integer ns since the epoch")


def time(key: str, about: str, *, required: bool = False) -> Parameter:
    """A receive time, as ns."""
    schema = {"type": "string", "pattern": _TIME}
    example = "2026-11-20T12:00:00Z"
    return Parameter(
        name=key, about=about, read=_read_time, schema=schema, example=example, required=required
    )


def _read_interval(given: str) -> int:
    try:
        if re.fullmatch(_INTERVAL, given):
            return to_interval(given)
    except BadInterval:
        pass
    raise ValueError(f"{_shown(given)} is not an interval: give a number and ns, us, ms, s, m, h or d")


def interval(key: str, about: str) -> Parameter:
    """A length of time, as ns."""
    schema = {"type": "string", "pattern": f"^{_INTERVAL}$"}
    return Parameter(name=key, about=about, read=_read_interval, schema=schema, example="100ms")


def _read_whole(low: int, high: int, given: str) -> int:
    # By length first: a number of a million digits is not converted to say that it is too large.
    if not re.fullmatch(r"-?[0-9]{1,20}", given) or not low <= int(given) <= high:
        raise ValueError(f"{_shown(given)} is not a whole number from {low} to {high}")
    return int(given)


def whole(
    key: str, about: str, low: int, high: int, *, default: int | None = None, example: str
) -> Parameter:
    """A whole number within bounds."""
    schema: dict[str, Any] = {"type": "integer", "minimum": low, "maximum": high}
    if default is not None:
        schema["default"] = default
    read = partial(_read_whole, low, high)
    return Parameter(name=key, about=about, read=read, schema=schema, example=example, default=default)


def _read_number(above: float, high: float, words: Mapping[str, float | None], given: str) -> float | None:
    if given in words:
        return words[given]
    try:
        found = float(given) if len(given) <= 32 else float("nan")
    except ValueError:
        found = float("nan")
    if not above < found <= high:
        known = "".join(f"{word}, or " for word in words)
        raise ValueError(f"{_shown(given)} is not {known}a number above {above:g} and up to {high:g}")
    return found


def number(
    key: str,
    about: str,
    above: float,
    high: float,
    *,
    words: Mapping[str, float | None] | None = None,
    default: float | None = None,
    example: str,
) -> Parameter:
    """A number within bounds; ``words`` that may stand for one."""
    spelled = dict(words or {})
    schema: dict[str, Any] = {"type": "number", "exclusiveMinimum": above, "maximum": high}
    if spelled:
        schema = {"oneOf": [schema, {"type": "string", "enum": list(spelled)}]}
    read = partial(_read_number, above, high, spelled)
    return Parameter(name=key, about=about, read=read, schema=schema, example=example, default=default)


def _read_choice(allowed: tuple[str, ...], given: str) -> str:
    if given not in allowed:
        raise ValueError(f"{_shown(given)} is not one of {', '.join(allowed)}{nearest(given[:64], allowed)}")
    return given


def choice(
    key: str, about: str, allowed: Sequence[str], *, default: str | None = None, required: bool = False
) -> Parameter:
    """One of few words."""
    words = tuple(allowed)
    schema: dict[str, Any] = {"type": "string", "enum": list(words)}
    if default is not None:
        schema["default"] = default
    return Parameter(
        name=key,
        about=about,
        read=partial(_read_choice, words),
        schema=schema,
        example=words[0],
        required=required,
        default=default,
        allowed=words,
    )


def _read_flag(given: str) -> bool:
    if given not in _FLAGS:
        raise ValueError(f"{_shown(given)} is not one of {', '.join(_FLAGS)}")
    return _FLAGS[given]


def flag(key: str, about: str) -> Parameter:
    """Yes or no; no unless it is given."""
    schema = {"type": "string", "enum": list(_FLAGS), "default": "0"}
    return Parameter(
        name=key,
        about=about,
        read=_read_flag,
        schema=schema,
        example="1",
        default=False,
        allowed=tuple(_FLAGS),
    )


def _read_text(most: int, given: str) -> str:
    if not 0 < len(given) <= most or "\0" in given:
        raise ValueError(f"must have from 1 to {most} characters, none of them NUL")
    return given


def text(key: str, about: str, most: int, *, example: str, required: bool = False) -> Parameter:
    """Any text up to a length."""
    schema = {"type": "string", "minLength": 1, "maxLength": most}
    return Parameter(
        name=key,
        about=about,
        read=partial(_read_text, most),
        schema=schema,
        example=example,
        required=required,
    )
