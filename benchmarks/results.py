"""pytest-benchmark's JSON as a report: ``python benchmarks/results.py RUN.json FOLDER`` writes into a folder
``results.json``, the part of the run that the report needs, ``RESULTS.md`` and its charts.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import charts
from line import Line, Measured, duration, significant
from lines import GROWTH, LINES, SIZES, TARGETS

__all__ = ["render", "trim"]


def trim(run: dict[str, Any]) -> dict[str, Any]:
    """What the table needs of a run; times in seconds, of a whole round."""
    about = run["bookreel"]
    lines: dict[str, Any] = {}
    sizes: dict[str, float] = {}
    growth: list[dict[str, Any]] = []
    for measured in run["benchmarks"]:
        stats, extra = measured["stats"], measured["extra_info"]
        if "growth" in extra:
            growth.append(extra["growth"])
            continue
        name = measured["fullname"].removeprefix("bench_").replace(".py::test_", ".")
        line: dict[str, Any] = {name: significant(stats[name]) for name in ("median", "iqr", "min")}
        line |= {"rounds": stats["rounds"], "units": extra["units"]}
        if "p99" in extra:
            line["p99"] = significant(extra["p99"])
        if "figures" in extra:
            line["figures"] = {name: significant(value) for name, value in extra["figures"].items()}
        lines[name] = line
        sizes.update(extra.get("sizes", {}))
    return {"date": run["datetime"][:10], **about, "lines": lines, "sizes": sizes, "growth": growth}


def render(results: dict[str, Any]) -> str:
    """The report."""
    lines, machine, data = results["lines"], results["machine"], results["data"]
    packages = ", ".join(f"{name} {version}" for name, version in results["versions"].items())
    peers = ", ".join(f"{name} {version}" for name, version in results.get("peers", {}).items()) or "none"
    busy = " and ".join(f"{load:.1f}" for load in machine["load"])
    out = [
        "# Measurements",
        "",
        "Written by `make bench`, which measures everything below in one run; do not edit. Each line is the median "
        "of its rounds, with the interquartile range (IQR) beside it. A line in bold is ours; the others are what "
        "it is compared with, over the same frames in the same run, and their ratio is their median divided by "
        "ours: above 1 is slower than ours, below 1 is faster.",
        "",
        f"- Machine: {machine['cores']} cores, {machine['system']}, {machine['python']}; {results['date']}. Its load "
        f"was {busy} before and after, of which the run itself makes 1 to 2: above that, trust the ratios more "
        "than the times.",
        f"- Frames: {data['source']}: {data['frames']:,} frames of mbp.150, bbo and trade.detail of one symbol in "
        f"{data['seconds']} s, of them {data['deltas']:,} mbp.150 deltas of {data['levels_per_delta']} levels, "
        f"{data['text_bytes_per_delta']} B of JSON and {data['gzip_bytes_per_delta']} B of gzip on average; "
        f"{data['depth_frames']} depth.step0 frames of {data['text_bytes_per_depth']:,} B of JSON.",
        f"- Ours: {packages}.",
        f"- Peers: {peers}, in an environment of their own, each in a process of its own; a round is asked for "
        "over a pipe, and that round trip is in their times. Each had to end with our best bid and ask.",
        *(["- A quick run: days are an hour, and there are fewer symbols."] if results["quick"] else []),
        "",
        "![our times beside the peers'](speed.png)",
        "",
        "## Goals",
        "",
        *_targets(results),
    ]
    missing = []
    for section, wanted in LINES.items():
        rows = []
        for line in wanted:
            measured = lines.get(line.name)
            if measured is None:
                missing.append(line.title.replace("*", ""))
                continue
            rows.append(_row(line, measured, lines.get(line.against)))
        out += ["", f"## {section}", "", *_table(rows)] if rows else []
        if section == "Sealing" and results["sizes"]:
            out += ["", *_sizes(results["sizes"])]
    out += ["", "## How cost grows", "", *_growth(results["growth"])] if results["growth"] else []
    out += [
        "",
        "## Not measured",
        "",
        f"- In this run, as it is not installed or was not asked for: {'; '.join(missing) or 'nothing'}.",
        "- By these files: a cold page cache, power loss, and peers that come with a server of their own.",
        "",
        "## Repeat",
        "",
        "`make bench` from a clone; `make bench-quick` takes two minutes and writes into `build/bench`; `make "
        "bench-check` is that and fails where we lost more than 15 % against a peer since the committed "
        "`results.json`. Where the folder of captured frames is not beside the clone, frames made by the "
        "embedded exchange are measured instead; the times of the two cannot be compared. One file alone:",
        "",
        "    .venv/bin/python -m pytest -c benchmarks/pytest.ini benchmarks/bench_engine.py",
        "",
    ]
    return "\n".join(out)


def _row(line: Line, measured: dict[str, Any], other: dict[str, Any] | None) -> list[str]:
    units = measured["units"]
    first, count = next(iter(units.items()))
    each = ", ".join(f"{duration(measured['median'] / units[unit])}/{unit}" for unit in units)
    rate = "" if first == "start" else f"{significant(count / measured['median'], 3):,.0f} {first}s"
    ratio = ""
    if other is not None:
        other_first = next(iter(other["units"].values()))
        ratio = f"{(measured['median'] / count) / (other['median'] / other_first):.2g}"
    notes = [f"p99 {duration(measured['p99'])}"] if "p99" in measured else []
    notes += [f"{name} {significant(value, 3):,g}" for name, value in measured.get("figures", {}).items()]
    includes = "; ".join([line.includes, *notes])
    return [line.title, each, duration(measured["iqr"] / count), rate, ratio, includes]


def _table(rows: list[list[str]]) -> list[str]:
    head = ["", "median", "IQR", "per second", "ratio", "includes"]
    rule = ["---", "---:", "---:", "---:", "---:", "---"]
    return ["| " + " | ".join(row) + " |" for row in (head, rule, *rows)]


def _targets(results: dict[str, Any]) -> list[str]:
    """What was wanted and what was measured, and why what is missed is."""
    run = Measured(results)
    rows, reasons = ["| goal | wanted | measured | |", "| --- | ---: | ---: | --- |"], []
    for target in TARGETS:
        try:
            value = target.value(run)
        except KeyError:
            found, met = "", "not measured"
        else:
            found, met = f"{_plain(value)} {target.unit}", "met" if target.met(value) else "**missed**"
            if met != "met" and target.why:
                reasons.append(f"- {target.title}: {target.why}")
        rows.append(
            f"| {target.title} | {'>=' if target.least else '<='} {target.limit:,g} {target.unit} | {found} | {met} |"
        )
    return [
        *rows,
        *(["", "What stands in the way of those that are missed:", "", *reasons] if reasons else []),
    ]


def _plain(value: float) -> str:
    return f"{significant(value, 3):,.10g}"


def _sizes(sizes: dict[str, float]) -> list[str]:
    out = ["| size | | includes |", "| --- | ---: | --- |"]
    for size in SIZES:
        if size.value in sizes:
            value = sizes[size.value] / (sizes[size.per] if size.per else 1.0)
            out.append(f"| {size.title} | {value:.3g} {size.unit}".strip() + f" | {size.includes} |")
    return out


def _growth(growth: list[dict[str, Any]]) -> list[str]:
    out = ["| | | CPU | peak RSS |", "| --- | ---: | ---: | ---: |"]
    for row in growth:
        each = duration(row["cpu_s"] / row["units"])
        case = GROWTH[row["case"]]
        out.append(f"| {case.title} | {row['size']} | {each}/{case.unit} | {row['rss_mb']:.1f} MB |")
    notes = [f"- {case.title}: {case.reason}" for case in GROWTH.values()]
    return [*out, "", *notes, "", "![how cost grows](growth.png)"]


def main() -> None:
    run, folder = Path(sys.argv[1]), Path(sys.argv[2])
    results = trim(json.loads(run.read_bytes()))
    (folder / "results.json").write_text(json.dumps(results, indent=1) + "\n")
    (folder / "RESULTS.md").write_text(render(results))
    charts.draw(results, folder)


if __name__ == "__main__":
    main()
