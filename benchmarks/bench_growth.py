"""How cost grows with symbols, levels and the archive; see ``growth.py``."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest
from conftest import QUICK
from frames import Run
from growth import CASES

SIZES = [(case, size) for case, (_, full, quick) in CASES.items() for size in (quick if QUICK else full)]


DELTAS_MAX = 4_000


@pytest.fixture(scope="session")
def told(run: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file that each process is given: to find the run in the capture would be most of its memory."""
    path = tmp_path_factory.mktemp("growth") / "run.json"
    path.write_bytes(msgspec.json.encode((run.snapshot, run.deltas[:DELTAS_MAX])))
    return path


@pytest.mark.parametrize(("case", "size"), SIZES)
def test_growth(benchmark: Any, told: Path, case: str, size: int) -> None:
    def measure() -> Any:
        script = Path(__file__).with_name("growth.py")
        command = [sys.executable, script, case, str(size), told]
        return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)

    found = benchmark.pedantic(measure, rounds=1)
    benchmark.extra_info["units"] = {"process": 1}
    benchmark.extra_info["growth"] = {"case": case, "size": size, **found}
