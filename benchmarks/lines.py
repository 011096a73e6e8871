"""What is measured: the report's sections and rows, sizes, and the goals."""

from __future__ import annotations

from typing import Final

from line import Grown, Line, Size, Target
from lines_recorder import RECORDER, RECORDER_TARGETS

__all__ = ["GROWTH", "LINES", "SIZES", "TARGETS"]

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
        Line(
            "decode.depth",
            "**depth.step0 to a book**",
            "gunzip, `FrameReader.read` of a line that has a book of the topic, the live book; floats",
        ),
        Line(
            "decode.depth_plain",
            "**the same as Python objects**",
            "gunzip, `Huobi.decode` to a typed `Snapshot`, `L2Book`",
        ),
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
            "engine.peer[ccxt]",
            "ccxt",
            "its book, whose sides are sorted lists: levels applied, best prices looked at after each delta",
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
    "Bulk rebuild, columns in memory": [
        Line(
            "kernels.best[rows]",
            "**`Ladder.best`**, rows by price",
            "one core; columns of levels applied, best prices and sizes written after each delta",
        ),
        Line(
            "kernels.best[sorted]",
            "**`Ladder.best`**, sorted prices",
            "the same where prices need more than a million rows",
        ),
        Line(
            "kernels.best_two",
            "**`Ladder.best`**, two threads",
            "twice the work: a book in each of two threads",
        ),
        Line(
            "kernels.tops", "**`Ladder.tops`**", "the same columns, 20 levels a side written after each delta"
        ),
        Line(
            "engine.peer[hftbacktest]",
            "hftbacktest (Rust, numba)",
            "as above: a backtest over an event array made before",
            "kernels.best[rows]",
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
    "The running recorder": RECORDER,
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
    "A day of one busy symbol: 864,000 deltas, sealed and compacted": [
        Line(
            "day.bbo",
            "**`Archive.bbo`**, the day",
            "Parquet in the page cache to Arrow rows: pages' checksums, decoding, order, sequence, kernels",
        ),
        Line("day.bbo_one_core", "**the same, one core**", "the process may use one core only"),
        Line(
            "day.bbo_halves",
            "**the same, its halves at once**",
            "two threads with an `Archive` each, opened in the time; all cores",
        ),
        Line(
            "day.books",
            "**`Archive.books`**, 6 h",
            "20 levels a side at each 100 ms, Arrow rows",
        ),
        Line("day.book", "**`Archive.book`**", "the whole book at a random instant, archive open"),
        Line(
            "day.open",
            "**open, then `Archive.book`**",
            "a new `Archive` for each question: the manifest is read",
        ),
        Line("day.book_sql", "**SQL `book_at`**", "the same question as SQL, rows fetched"),
        Line(
            "day.one_symbol",
            "**`Archive.bbo`**, one symbol of 700",
            "a quiet symbol's whole day out of a file with 700 of them",
        ),
    ],
    "Replay of the whole capture, sealed": [
        Line(
            "replay.frames_lines",
            "**`Archive.lines`**, frames",
            "NDJSON in chunks, the frames' text in it; after the first half million of a process, which take longer",
        ),
        Line("replay.events_lines", "**`Archive.lines`**, events", "typed NDJSON in chunks, every kind"),
        Line("replay.lines_of[trades]", "**the same**, trades", "from typed values"),
        Line("replay.lines_of[bbo]", "**the same**, best prices", "from typed values"),
        Line("replay.lines_of[book_deltas]", "**the same**, deltas", "from columns; 28 levels each"),
        Line(
            "replay.normal[book_snapshot_20_0ms]",
            "**`/replay-normalized`**, books",
            "lines of 20 levels a side whenever one of them changed; no socket",
        ),
        Line("replay.normal[book_change]", "**`/replay-normalized`**, changes", "lines of deltas; no socket"),
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
    Size(
        "one symbol of 700",
        "share",
        "",
        "",
        "of a day's compacted file of deltas the bytes of the row groups that have a symbol, median of all",
    ),
    Size("one symbol of 700, p90", "share_p90", "", "", "the same, of the 70th busiest"),
]

TARGETS: Final[list[Target]] = [
    Target(
        "depth.step0 frame to a book, beside cryptofeed",
        lambda run: run.ratio("decode.depth_cryptofeed", "decode.depth"),
        10,
        "x",
        least=True,
        why="of ours, gunzip takes 54 %, reading 202 levels 27 %, the tables of a new book and its levels 7 %, "
        "the Python around them the rest. Where nothing is compiled, the typed decode alone takes 40 us.",
    ),
    *RECORDER_TARGETS,
    Target(
        "columns to best prices after each delta, one core",
        lambda run: run.each("kernels.best[rows]", "level") * 1e9,
        10,
        "ns/level",
        why="all of it is the compiled loop over levels; there is nothing around it to leave out.",
    ),
    Target(
        "the same, beside hftbacktest",
        lambda run: run.ratio("engine.peer[hftbacktest]", "kernels.best[rows]"),
        8,
        "x",
        least=True,
    ),
    Target(
        "two threads, speed-up",
        lambda run: run.each("kernels.best[rows]", "level") / run.each("kernels.best_two", "level"),
        1.8,
        "x",
        least=True,
        why="both threads run compiled code without the GIL over books of their own, so they share the "
        "memory's bandwidth and what else the machine does.",
    ),
    Target(
        "Parquet to best prices, one core",
        lambda run: run.each("day.bbo_one_core", "level") * 1e9,
        35,
        "ns/level",
        why="of CPU time, Arrow's decoding of eight columns under zstd takes 56 %, the kernel 18 %, "
        "finding where deltas begin and which side a level is on 10 %, the arrays of the answer 5 %. "
        "Position, sequence number, epoch and times are stored for each level, and each takes nearly "
        "as long to decode as the price.",
    ),
    Target(
        "Parquet to best prices of two halves of a day at once, speed-up over one core",
        lambda run: run.whole("day.bbo_one_core") / run.whole("day.bbo_halves"),
        1.6,
        "x",
        least=True,
        why="decoding, the kernel and most of what is done with arrays run without the GIL; what is left of each "
        "row group is a few hundred microseconds of Python.",
    ),
    Target("`bbo` of a day", lambda run: run.whole("day.bbo"), 1.5, "s"),
    Target(
        "a book at a random instant, opened for it",
        lambda run: run.whole("day.open") * 1e3,
        10,
        "ms",
        why="of the CPU time, decoding a part of two row groups takes a third, putting deltas over the keyframe a "
        "tenth, footers and their statistics a sixth, and the manifest of 289 segments, of which there is a copy in "
        "one file, as much. An archive that stays open has read the manifest and footers before.",
    ),
    Target("SQL `book_at`", lambda run: run.whole("day.book_sql") * 1e3, 50, "ms"),
    Target(
        "one symbol of 700, of a file's bytes",
        lambda run: run.size("share") * 100,
        2,
        "%",
        why="a row group has at least 16,384 rows, so that less of a file of under 820,000 rows cannot be "
        "read.",
    ),
    Target(
        "`book_deltas`",
        lambda run: run.size("book_deltas", "levels"),
        3.0,
        "B/level",
        why="of 3.50 bytes, `price` takes 1.40 and `size` 1.37, `ts_recv` 0.15, `ts_event` 0.14, `seq` and "
        "`prev_seq` 0.12 each, `pos` 0.09, `side` 0.07, the rest and the footer 0.04. Every encoding that pyarrow "
        "writes was tried with zstd up to level 15: 3.41, in four times the time. Sorted dictionaries with indices "
        "of whole bytes, which zstd sees through, come to 3.2, but no Parquet writer at hand makes them; the entropy "
        "of sizes is 7.5 bits, and that of a price's step from the level before 5.9.",
    ),
    Target("`frames` beside the JSON text", lambda run: run.size("frames_table", "text"), 0.12, "x"),
    Target("archive beside gzip as received", lambda run: run.size("archive", "gzip"), 0.30, "x"),
    Target(
        "replay, frames as NDJSON",
        lambda run: run.rate("replay.frames_lines", "frame"),
        700_000,
        "frames/s",
        least=True,
    ),
    Target(
        "replay, typed events as NDJSON",
        lambda run: run.rate("replay.events_lines", "event"),
        200_000,
        "events/s",
        least=True,
    ),
    Target(
        "replay, typed events",
        lambda run: run.rate("replay.events", "event"),
        300_000,
        "events/s",
        least=True,
    ),
    Target("`bookreel --help`", lambda run: run.whole("cli.help") * 1e3, 150, "ms"),
]

GROWTH: Final = {
    "symbols": Grown(
        "symbols at once",
        "frame",
        "20,000 frames in all, each journaled, unzipped, decoded, checked and applied to the book of its symbol. RSS "
        "is the books', 400 levels each.",
    ),
    "levels": Grown("levels a frame", "level", "the same of one symbol, with frames of so many levels."),
    "hours": Grown(
        "hours in the archive",
        "question",
        "a book at a random instant, the archive opened for it: a delta every ten seconds, closed days compacted. "
        "The manifest, which is read each time, has an entry for each hour that was sealed.",
    ),
}
