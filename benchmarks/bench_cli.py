"""The command as a process."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any


def measure(benchmark: Any, *command: str) -> None:
    def start() -> None:
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)

    benchmark.extra_info["units"] = {"start": 1}
    benchmark.pedantic(start, rounds=21, warmup_rounds=2)


def test_help(benchmark: Any) -> None:
    measure(benchmark, os.fspath(Path(sys.executable).with_name("bookreel")), "--help")


def test_python(benchmark: Any) -> None:
    measure(benchmark, sys.executable, "-c", "pass")
