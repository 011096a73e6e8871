"""How cost grows with symbols, levels and the archive; see ``growth.py``."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from conftest import QUICK
from growth import CASES

SIZES = [(case, size) for case, (_, full, quick) in CASES.items() for size in (quick if QUICK else full)]


@pytest.mark.parametrize(("case", "size"), SIZES)
def test_growth(benchmark: Any, case: str, size: int) -> None:
    def measure() -> Any:
        script = Path(__file__).with_name("growth.py")
        command = [sys.executable, script, case, str(size)]
        return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)

    found = benchmark.pedantic(measure, rounds=1)
    benchmark.extra_info["units"] = {"process": 1}
    benchmark.extra_info["growth"] = {"case": case, "size": size, **found}
