"""Whether a run lost speed: ``python benchmarks/check.py OLD.json NEW.json`` compares, of two ``results.json``, how
many times as long as we each peer took in its own run, and exits 1 where that fell by more than 15 %.

Times of two runs are not compared: the machines may be others. Of each line the shortest round counts: other work on
the machine makes rounds longer, never shorter.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any, Final

from line import Measured
from lines import LINES

__all__ = ["compare"]

LOSS_MAX: Final = 0.15


def compare(old: dict[str, Any], new: dict[str, Any]) -> tuple[list[str], bool]:
    """A sentence for each comparison, and whether no loss is too large."""
    told, well = [], True
    before, after = Measured(old), Measured(new)
    for line in (line for section in LINES.values() for line in section if line.against):
        try:
            was, now = (run.ratio(line.name, line.against, "min") for run in (before, after))
        except KeyError:
            told.append(f"not compared  {line.title}: not measured in both runs")
            continue
        lost = now < was * (1 - LOSS_MAX)
        well = well and not lost
        told.append(f"{'LOST' if lost else 'ok':12}  {line.title}: {was:.3g} -> {now:.3g} times our time")
    return told, well


def main() -> None:
    old, new = (json.loads(Path(name).read_bytes()) for name in sys.argv[1:3])
    if old["data"]["source"] != new["data"]["source"]:
        sys.exit(f"cannot compare {old['data']['source']} with {new['data']['source']}")
    told, well = compare(old, new)
    print("\n".join(told))
    if not any(line.startswith(("ok", "LOST")) for line in told):
        sys.exit("nothing was compared: neither run has a peer")
    sys.exit(0 if well else 1)


if __name__ == "__main__":
    main()
