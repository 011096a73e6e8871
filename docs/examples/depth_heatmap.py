"""Draw how deep the book was, price by price over time, and the spread below it, as a PNG.

    python docs/examples/depth_heatmap.py ./archive btcusdt heatmap.png --every 100ms --levels 50

It needs matplotlib (``pip install 'bookreel[examples]'``). Where the book was not known the picture is empty.
"""

from __future__ import annotations

import argparse
import time

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from matplotlib.colors import LogNorm
from matplotlib.dates import AutoDateLocator, ConciseDateFormatter, date2num
from matplotlib.figure import Figure

from bookreel.replay import Archive

BINS = 300
"""Prices told apart."""


def read_books(
    path: str, symbol: str, start: str | None, end: str | None, every: str, levels: int
) -> pa.Table:
    """The book at each multiple of ``every``: of all that was recorded, unless ``start`` and ``end`` are given."""
    with Archive(path) as archive:
        spans = archive.coverage(symbol)
        first = min(spans["start"].cast(pa.int64()).to_pylist())
        last = max(time.time_ns() if ns is None else ns for ns in spans["end"].cast(pa.int64()).to_pylist())
        return archive.books(symbol, start or first, end or last, every, levels)


def draw(books: pa.Table, symbol: str) -> Figure:
    """The sizes of both sides as colours, and the spread."""
    known = books["valid"]
    for side in ("bid_price", "ask_price"):
        known = pc.and_(known, pc.greater(pc.list_value_length(books[side]), 0))
    books = books.filter(known)
    if not books.num_rows:
        raise SystemExit(f"no book of {symbol} is known in this range")
    times = books["ts"].cast(pa.int64()).to_numpy()
    step = np.diff(times).min() if len(times) > 1 else 1
    columns = (times - times[0]) // step  # an instant without a book leaves its column empty

    sides = []
    for side in ("bid", "ask"):
        prices, sizes = books[f"{side}_price"].combine_chunks(), books[f"{side}_size"].combine_chunks()
        counts = pc.list_value_length(prices).to_numpy()
        sides.append((np.repeat(columns, counts), prices.flatten().to_numpy(), sizes.flatten().to_numpy()))
    when, price, size = map(np.concatenate, zip(*sides, strict=True))

    bid, ask = (pc.list_element(books[f"{side}_price"], 0).to_numpy() for side in ("bid", "ask"))
    low, high = np.quantile(price, (0.02, 0.98))  # a few levels far away would flatten the rest
    low, high = min(low, bid.min()), max(high, ask.max())
    shape = int(columns[-1]) + 1, BINS
    depth, _, edges = np.histogram2d(
        when, price, bins=shape, range=((-0.5, shape[0] - 0.5), (low, high)), weights=size
    )
    instants = np.arange(shape[0] + 1) * step + times[0]
    axis = date2num(instants.astype("datetime64[ns]"))

    figure = Figure(figsize=(12, 8), layout="constrained")
    above, below = figure.subplots(2, sharex=True, height_ratios=(4, 1))
    colours = above.pcolormesh(
        axis, edges, np.ma.masked_less_equal(depth.T, 0), norm=LogNorm(), cmap="magma", rasterized=True
    )
    figure.colorbar(colours, ax=above, label="size")
    place = axis[columns]
    above.plot(place, bid, color="deepskyblue", linewidth=0.7, label="best bid")
    above.plot(place, ask, color="lime", linewidth=0.7, label="best ask")
    above.set(title=f"{symbol}: depth and spread", ylabel="price", ylim=(low, high), facecolor="whitesmoke")
    above.legend(loc="upper left")
    below.step(place, ask - bid, where="post", linewidth=0.7)
    below.set(ylabel="spread", ylim=(0, None))
    locator = AutoDateLocator()
    below.xaxis.set_major_locator(locator)
    below.xaxis.set_major_formatter(ConciseDateFormatter(locator))
    return figure


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("archive")
    parser.add_argument("symbol")
    parser.add_argument("output", help="a PNG")
    parser.add_argument(
        "--from", dest="start", metavar="T", help="receive time, ISO-8601; by default the first"
    )
    parser.add_argument("--to", dest="end", metavar="T")
    parser.add_argument("--every", default="100ms", help="one column of the picture (default: 100ms)")
    parser.add_argument("--levels", type=int, default=50, help="of each side (default: 50)")
    given = parser.parse_args()
    books = read_books(given.archive, given.symbol, given.start, given.end, given.every, given.levels)
    draw(books, given.symbol).savefig(given.output, dpi=150)
    print(f"{given.output}: {books.num_rows} instants")


if __name__ == "__main__":
    main()
