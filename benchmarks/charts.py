"""A run's results as charts, each as PNG and SVG: ours beside the peers, and how cost grows."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import matplotlib

matplotlib.use("Agg")
# The same results give the same files.
matplotlib.rcParams["svg.hashsalt"] = "bookreel"

from line import Measured, duration  # noqa: E402 - after the backend was chosen
from lines import GROWTH, LINES  # noqa: E402
from matplotlib.figure import Figure  # noqa: E402

__all__ = ["draw"]

_OURS, _OTHERS = "#0b6e4f", "#b8c4c2"

_SPEED: Final = {
    "one depth.step0 frame to a book": ("decode.depth", ["decode.depth_cryptofeed"]),
    "one delta to a live book with its best prices": (
        "engine.book_sync",
        ["engine.peer[nautilus_apply]", "engine.peer[order_book_best]", "engine.sorted_dict"],
    ),
    "bulk rebuild, one delta, best prices after each": (
        "kernels.best[rows]",
        ["engine.peer[hftbacktest]"],
    ),
}
"""A title -> our line, and those it is compared with."""


def draw(results: dict[str, Any], folder: Path) -> None:
    """Write ``speed`` and ``growth`` into a folder; a chart of which nothing was measured is left out."""
    for name, figure in (("speed", _speed(results)), ("growth", _growth(results["growth"]))):
        if figure is not None:
            figure.savefig(folder / f"{name}.png", dpi=150)
            figure.savefig(folder / f"{name}.svg", metadata={"Date": None})


def _speed(results: dict[str, Any]) -> Figure | None:
    """Bars, a panel for each kind of work."""
    run = Measured(results)
    titles = {
        line.name: line.title.replace("*", "").replace("`", "") for part in LINES.values() for line in part
    }
    panels = []
    for title, (ours, others) in _SPEED.items():
        bars = [(titles[name], run.first(name)) for name in (ours, *others) if name in results["lines"]]
        if len(bars) > 1:
            panels.append((title, bars))
    if not panels:
        return None
    heights = [len(bars) for _, bars in panels]
    figure = Figure(figsize=(8, 1.2 + 0.55 * sum(heights)), layout="constrained")
    axes = figure.subplots(len(panels), 1, height_ratios=heights, squeeze=False)[:, 0]
    for axis, (title, bars) in zip(axes, panels, strict=True):
        names, times = zip(*bars, strict=True)
        drawn = axis.barh(names, times, color=[_OURS, *[_OTHERS] * (len(bars) - 1)])
        axis.bar_label(drawn, [duration(time) for time in times], padding=4)
        axis.set_title(title, loc="left", fontsize=10)
        axis.invert_yaxis()
        axis.margins(x=0.15)
        axis.xaxis.set_visible(False)
        axis.spines[["top", "right", "bottom"]].set_visible(False)
    return figure


def _growth(growth: list[dict[str, Any]]) -> Figure | None:
    """Lines, a column of panels for each thing that grows: CPU above, memory below."""
    cases = [name for name in GROWTH if any(row["case"] == name for row in growth)]
    if not cases:
        return None
    figure = Figure(figsize=(3.6 * len(cases), 5), layout="constrained")
    panels = figure.subplots(2, len(cases), squeeze=False)
    for (above, below), name in zip(panels.T, cases, strict=True):
        rows = [row for row in growth if row["case"] == name]
        sizes = [row["size"] for row in rows]
        unit = GROWTH[name].unit
        above.plot(sizes, [row["cpu_s"] / row["units"] * 1e6 for row in rows], "o-", color=_OURS)
        above.set_title(GROWTH[name].title, loc="left", fontsize=10)
        above.set_ylabel(f"CPU us / {unit}")
        below.plot(sizes, [row["rss_mb"] for row in rows], "o-", color=_OURS)
        below.set_ylabel("peak RSS, MB")
        for axis in (above, below):
            axis.set_xscale("log")
            axis.set_xticks(sizes, [str(size) for size in sizes], minor=False)
            axis.minorticks_off()
            axis.set_ylim(0, 1.1 * max(axis.get_lines()[0].get_ydata()))
            axis.spines[["top", "right"]].set_visible(False)
    return figure
