"""pytest-benchmark's JSON as a table: which measurements there are, what each includes, what it is compared with.

``python benchmarks/results.py RUN.json`` writes ``results.json``, the part of the run that the table needs, and
``RESULTS.md`` beside this file.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any, Final, NamedTuple

__all__ = ["LINES", "SIZES", "Line", "Size", "render", "trim"]

HERE: Final = Path(__file__).resolve().parent


class Line(NamedTuple):
    """One measurement. ``against``: the line its median is divided by; ours are compared with nothing."""

    name: str
    title: str
    includes: str
    against: str = ""


class Size(NamedTuple):
    """A quotient of two sizes; see ``bench_seal.sizes``."""

    title: str
    value: str
    per: str
    unit: str
    includes: str


LINES: Final[dict[str, list[Line]]] = {
    "Decode": [
        Line(
            "decode.inflate", "**`Huobi.inflate`**", "gzip bytes of an mbp.150 delta to text, bounded output"
        ),
        Line("decode.inflate_zlib", "`zlib.decompress`", "the same bytes, unbounded", "decode.inflate"),
        Line("decode.inflate_gzip", "`gzip.decompress`", "the same bytes, unbounded", "decode.inflate"),
        Line("decode.typed", "**`Huobi.decode`**", "text of an mbp.150 delta to a typed `Delta`, checked"),
        Line(
            "decode.json_dict",
            "`json.loads`, `dict`",
            "the same text to a dict a side; nothing checked",
            "decode.typed",
        ),
        Line("decode.depth", "**depth.step0 to a book**", "gunzip, typed decode, `L2Book.load`; floats"),
        Line(
            "decode.depth_cryptofeed",
            "cryptofeed's handler",
            "the same frames: gunzip, decode, its book of `Decimal`, an empty callback",
            "decode.depth",
        ),
    ],
    "Engine": [
        Line(
            "engine.book_sync",
            "**`BookSync.delta`**",
            "decoded deltas: sequence check, levels applied, best prices followed, crossed book looked for",
        ),
        Line(
            "engine.dicts",
            "two plain dicts",
            "levels applied, nothing checked or followed",
            "engine.book_sync",
        ),
        Line(
            "engine.sorted_dict",
            "sortedcontainers `SortedDict`",
            "levels applied, best prices looked at after each delta",
            "engine.book_sync",
        ),
        Line(
            "engine.peer[order_book_apply]",
            "order-book (C)",
            "levels applied, nothing looked at",
            "engine.book_sync",
        ),
        Line(
            "engine.peer[order_book_best]",
            "order-book (C), best prices",
            "levels applied, best prices looked at after each delta",
            "engine.book_sync",
        ),
        Line(
            "engine.peer[nautilus_apply]",
            "nautilus_trader (Rust)",
            "its own delta objects, made before, applied; best prices looked at after each delta",
            "engine.book_sync",
        ),
        Line(
            "engine.peer[nautilus_build]",
            "nautilus_trader, objects",
            "only making those objects from floats",
            "engine.book_sync",
        ),
        Line(
            "engine.peer[hftbacktest]",
            "hftbacktest (Rust, numba)",
            "a backtest over an event array made before: two books (exchange and local), best prices looked at "
            "after each delta",
            "engine.book_sync",
        ),
    ],
    "Journal": [
        Line(
            "journal.append", "**`Journal.append`**", "header, checksum, spool; no I/O, as on the event loop"
        ),
        Line(
            "journal.durable",
            "**append, write, fdatasync**",
            "20,000 records into a new segment: its creation, one pass of each pump, every record durable",
        ),
        Line(
            "journal.plain_file",
            "a plain file",
            "the same payloads written one after the other without headers, one fdatasync",
            "journal.durable",
        ),
    ],
    "Recording": [
        Line(
            "ingest.book",
            "**received frame to updated book**",
            "both clocks read, `Dialogue.receive`: journal append, gunzip, decode, stream health, sequence check, "
            "apply; the journal's threads write and fsync beside it; no socket",
        ),
        Line(
            "ingest.book_each",
            "**the same, each frame by itself**",
            "as above, the timer of each frame included",
        ),
        Line(
            "ingest.steps",
            "gunzip, decode, apply alone",
            "the same frames without journal and dialogue",
            "ingest.book",
        ),
        Line(
            "ingest.other",
            "**received bbo frame**",
            "the same path for a push that the live books do not need: journaled, gunzipped, not decoded",
        ),
    ],
    "Sealing": [
        Line(
            "seal.seal",
            "**`seal`**",
            "journal to Parquet for the whole capture: read, decode, all tables, keyframes, fsync, manifest",
        ),
    ],
    "Reading": [
        Line("read.book", "**`Archive.book`**", "the whole book at a random instant"),
        Line("read.open", "**open, then `Archive.book`**", "the same with a new `Archive` for each question"),
        Line("read.book_sql", "**SQL `book_at`**", "the same question as SQL, rows fetched"),
        Line(
            "read.books",
            "**`Archive.books`**",
            "all of the capture, `every=None`, 20 levels a side: Arrow rows",
        ),
        Line("read.bbo", "**`Archive.bbo`**", "all of the capture: Arrow rows"),
        Line("read.events", "**`Archive.events`**", "all of the capture as typed values in journal order"),
    ],
    "Replay of the whole capture, sealed": [
        Line(
            "replay.frames_lines", "**`Archive.lines`**, frames", "NDJSON in chunks, the frames' text in it"
        ),
        Line("replay.events_lines", "**`Archive.lines`**, events", "NDJSON in chunks, from typed values"),
        Line("replay.events", "**`Archive.events`**", "typed values, the archive opened each time"),
        Line("replay.events_async", "**`Archive.stream`**", "the same, asynchronous and without a pace"),
        Line(
            "replay.events_decimal",
            '**`Archive.events`**, `numbers="decimal"`',
            "numbers from the frames' text",
        ),
        Line("replay.batches", "**`Archive.batches`**", "Arrow tables"),
        Line("replay.first_event", "**the first event**", "of an archive that is opened for it"),
    ],
    "Start-up": [
        Line("cli.help", "**`bookreel --help`**", "wall time of the process"),
        Line("cli.python", "`python -c pass`", "the interpreter alone", "cli.help"),
    ],
}

SIZES: Final = [
    Size("`book_deltas`", "book_deltas", "levels", "B/level", "Parquet, one row a level"),
    Size("`frames`", "frames_table", "frames", "B/frame", "Parquet with the text of every frame"),
    Size("all other tables", "typed_tables", "frames", "B/frame", "Parquet"),
    Size("JSON text", "text", "frames", "B/frame", "the text alone"),
    Size("gzip as received", "gzip", "frames", "B/frame", "each frame by itself, gzip level 6"),
    Size("JSON text under zstd-3", "zstd", "frames", "B/frame", "all text in one piece, nothing else kept"),
    Size("`frames` / JSON text", "frames_table", "text", "", ""),
    Size("archive / gzip as received", "archive", "gzip", "", "every file of the sealed archive"),
]


def trim(run: dict[str, Any]) -> dict[str, Any]:
    """What the table needs of a run; times in seconds, of a whole round."""
    about = run["bookreel"]
    lines = {}
    sizes = {}
    for measured in run["benchmarks"]:
        stats, extra = measured["stats"], measured["extra_info"]
        name = measured["fullname"].removeprefix("bench_").replace(".py::test_", ".")
        line = {"median": significant(stats["median"]), "iqr": significant(stats["iqr"])}
        line |= {"rounds": stats["rounds"], "units": extra["units"]}
        if "p99" in extra:
            line["p99"] = significant(extra["p99"])
        lines[name] = line
        sizes.update(extra.get("sizes", {}))
    return {"date": run["datetime"][:10], **about, "lines": lines, "sizes": sizes}


def significant(value: float, digits: int = 5) -> float:
    return float(f"{value:.{digits}g}")


def render(results: dict[str, Any]) -> str:
    """The report."""
    lines, machine, data = results["lines"], results["machine"], results["data"]
    packages = ", ".join(f"{name} {version}" for name, version in results["versions"].items())
    peers = ", ".join(f"{name} {version}" for name, version in results.get("peers", {}).items()) or "none"
    out = [
        "# Measurements",
        "",
        "Written by `make bench`, which measures everything below in one run; do not edit. Each line is the median "
        "of its rounds, with the interquartile range (IQR) beside it. A line in bold is ours; the others are what "
        "it is compared with, over the same frames in the same run, and their ratio is their median divided by "
        "ours: above 1 is slower than ours, below 1 is faster.",
        "",
        f"- Machine: {machine['cores']} cores, {machine['system']}, {machine['python']}; {results['date']}. Other "
        "work may have run beside it: trust the ratios more than the times.",
        f"- Frames: {data['source']}: {data['frames']:,} frames of mbp.150, bbo and trade.detail of one symbol in "
        f"{data['seconds']} s, of them {data['deltas']:,} mbp.150 deltas of {data['levels_per_delta']} levels, "
        f"{data['text_bytes_per_delta']} B of JSON and {data['gzip_bytes_per_delta']} B of gzip on average; "
        f"{data['depth_frames']} depth.step0 frames of {data['text_bytes_per_depth']:,} B of JSON.",
        f"- Ours: {packages}.",
        f"- Peers: {peers}, in an environment of their own, each in a process of its own; a round is asked for "
        "over a pipe, and that round trip is in their times. Each had to end with our best bid and ask.",
    ]
    missing = []
    for section, wanted in LINES.items():
        rows = []
        for line in wanted:
            measured = lines.get(line.name)
            if measured is None:
                missing.append(line.title.strip("*"))
                continue
            rows.append(_row(line, measured, lines.get(line.against)))
        out += ["", f"## {section}", "", *_table(rows)] if rows else []
        if section == "Sealing" and results["sizes"]:
            out += ["", *_sizes(results["sizes"])]
    out += [
        "",
        "## Not measured",
        "",
        f"- In this run, as it is not installed or was not asked for: {'; '.join(missing) or 'nothing'}.",
        "- By these files: the socket, several symbols or lines at once, a cold page cache, power loss, and peers "
        "that come with a connection or a server of their own.",
        "",
        "## Repeat",
        "",
        "`make bench` from a clone. Where the folder of captured frames is not beside the clone, frames made by the "
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
    includes = line.includes
    if "p99" in measured:
        includes += f"; p99 {duration(measured['p99'])}"
    return [line.title, each, duration(measured["iqr"] / count), rate, ratio, includes]


def _table(rows: list[list[str]]) -> list[str]:
    head = ["", "median", "IQR", "per second", "ratio", "includes"]
    rule = ["---", "---:", "---:", "---:", "---:", "---"]
    return ["| " + " | ".join(row) + " |" for row in (head, rule, *rows)]


def _sizes(sizes: dict[str, float]) -> list[str]:
    out = ["| size | | includes |", "| --- | ---: | --- |"]
    for size in SIZES:
        value = f"{sizes[size.value] / sizes[size.per]:.3g} {size.unit}".strip()
        out.append(f"| {size.title} | {value} | {size.includes} |")
    return out


def duration(seconds: float) -> str:
    """Three digits, in the unit that fits."""
    for unit, scale in (("s", 1.0), ("ms", 1e-3), ("us", 1e-6)):
        if seconds >= scale:
            return f"{significant(seconds / scale, 3):g} {unit}"
    return f"{significant(seconds * 1e9, 3):g} ns"


def main() -> None:
    results = trim(json.loads(Path(sys.argv[1]).read_bytes()))
    (HERE / "results.json").write_text(json.dumps(results, indent=1) + "\n")
    (HERE / "RESULTS.md").write_text(render(results))


if __name__ == "__main__":
    main()
