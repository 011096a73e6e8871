"""The programs in docs/examples do what they say, on an archive of the embedded exchange."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.documents import ROOT

FOLDER = ROOT / "docs" / "examples"


def test_each_is_tested() -> None:
    assert [path.name for path in FOLDER.glob("*.py")] == ["depth_heatmap.py"]


def test_depth_heatmap(recorded_folder: Path, tmp_path: Path) -> None:
    image = pytest.importorskip("matplotlib.image", reason="matplotlib is in the extra `examples`")
    command = [sys.executable, FOLDER / "depth_heatmap.py", recorded_folder / "archive"]
    output = tmp_path / "depth.png"
    choice = ["btcusdt", output, "--every", "50ms", "--levels", "20"]
    done = subprocess.run([*command, *choice], capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout.split()[1]) > 20, done.stdout
    pixels = image.imread(output)
    assert pixels.shape == (1200, 1800, 4)
    above = pixels[50:850, 150:1450, :3]
    coloured = (above.max(axis=2) - above.min(axis=2)) > 0.2
    assert 0.05 < coloured.mean() < 1, "the depth is drawn, and is not everywhere"

    refused = subprocess.run([*command, "nothere", output], capture_output=True, text=True, timeout=200)
    assert refused.returncode != 0
