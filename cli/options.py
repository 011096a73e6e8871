"""Options that several commands share, and how their texts become values."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, TypeVar

import click

__all__ = ["Names", "Seconds", "Url", "archive_option", "examples"]

_F = TypeVar("_F", bound=Callable[..., Any])

_UNITS: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


class Names(click.ParamType[list[str]]):
    """Names separated by commas."""

    name = "a,b,..."

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> list[str]:
        if isinstance(value, list):
            return value
        names = [name.strip() for name in str(value).split(",") if name.strip()]
        if not names:
            self.fail("give at least one name", param, ctx)
        return names


class Seconds(click.ParamType[float]):
    """A duration such as 90, 60s, 5m or 500ms, in seconds."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        if isinstance(value, int | float):
            return float(value)
        digits = str(value).rstrip("abcdefghijklmnopqrstuvwxyz")
        unit = str(value)[len(digits) :] or "s"
        try:
            seconds = float(digits) * _UNITS[unit]
        except (ValueError, KeyError):
            self.fail(f"{value!r} is not a duration; write for example 90, 60s, 5m or 500ms", param, ctx)
        if not 0 < seconds < float("inf"):
            self.fail(f"{value!r} must be more than nothing and less than for ever", param, ctx)
        return seconds


class Url(click.ParamType[str]):
    """Where a server is. ``schemes``: those it may have."""

    name = "url"

    def __init__(self, *schemes: str) -> None:
        self.schemes = schemes

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        from urllib.parse import urlsplit

        text = str(value)
        try:
            parts = urlsplit(text)
            right = parts.scheme in self.schemes and parts.hostname and (parts.port is None or parts.port)
        except ValueError:
            right = False
        if not right:
            self.fail(
                f"{text!r} is not one; write for example {self.schemes[0]}://127.0.0.1:9600", param, ctx
            )
        return text


def archive_option(
    *, required: bool = True, exists: bool = True, multiple: bool = False, help: str = ""
) -> Callable[[_F], _F]:
    """`--archive DIR`. ``exists``: it has to be there, the command only reads. ``multiple``: there may be several."""
    return click.option(
        "--archive",
        type=click.Path(exists=exists, file_okay=False, path_type=Path),
        required=required,
        multiple=multiple,
        metavar="DIR",
        help=f"The archive's folder.{help}",
    )


def examples(*lines: str) -> str:
    """An epilog that shows the lines as they are."""
    return "\b\nExamples:\n" + "\n".join(f"  {line}" for line in lines)
