"""What is measured of a running recorder, and what was set as a goal for it."""

from __future__ import annotations

from typing import Final

from line import Line, Target

__all__ = ["RECORDER", "RECORDER_TARGETS"]

RECORDER: Final[list[Line]] = []

RECORDER_TARGETS: Final[list[Target]] = []
