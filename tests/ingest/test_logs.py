from __future__ import annotations

import logging
from typing import Any

import pytest

from bookreel.ingest.logs import RepeatFilter, set_up_logging


def note(filter_: RepeatFilter, template: str, level: int = logging.WARNING) -> str | None:
    record = logging.LogRecord("bookreel.x", level, "x.py", 1, template, (), None)
    return record.getMessage() if filter_.filter(record) else None


def test_repeats_are_held_down_and_told(clock: Any) -> None:
    filter_ = RepeatFilter(clock)
    shown = [note(filter_, "cut") for _ in range(50)]
    assert sum(text is not None for text in shown) == 20
    assert note(filter_, "something else") == "something else"
    assert note(filter_, "cut", logging.ERROR) == "cut", "errors always pass"
    clock.advance(10)
    assert note(filter_, "cut") == "cut (and 30 more like this)"
    assert note(filter_, "cut") == "cut"


def test_lines_are_key_value_in_utc(clock: Any, capsys: pytest.CaptureFixture[str]) -> None:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    try:
        set_up_logging(clock)
        logging.getLogger("bookreel.ingest.life").info("connected: line=%s epoch=%d", "ws-0", 1)
        logging.getLogger("bookreel.ingest.life").debug("not shown")
    finally:
        root.handlers[:] = handlers
        root.setLevel(level)
    (line,) = capsys.readouterr().err.splitlines()
    assert line.endswith("INFO bookreel.ingest.life connected: line=ws-0 epoch=1")
    assert line[10] == "T"
    assert line[23] == "Z"
