"""A replay as Arrow tables."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import msgspec
import pyarrow as pa

from bookreel.replay.errors import BadToken
from bookreel.replay.source import Source
from bookreel.replay.stream import POLL_S
from bookreel.replay.sweep import ORDER
from bookreel.replay.tokens import Place
from bookreel.storage.scan import Scanner
from bookreel.storage.tail import Looker

__all__ = ["Batch", "read_batches"]


class Batch(msgspec.Struct, frozen=True):
    """All rows of some successive records: by table, with the columns that SQL has, in the order of the journal; no
    table is empty. ``token`` resumes after it.
    """

    rows: dict[str, pa.Table]
    token: str


def read_batches(
    source: Source,
    scanner: Scanner,
    tail: Looker,
    place: Place,
    *,
    follow: bool,
    sleep: Callable[[float], None],
) -> Iterator[Batch]:
    """The batches from a place on; the last one may have only the gaps that are open. Raises BadToken for a place
    between two events of one record.
    """
    if place.given:
        raise BadToken(source.tokens.write(place), "it stands between two events of one record")
    return _read(source, scanner, tail, place, follow, sleep)


def _read(
    source: Source, scanner: Scanner, tail: Looker, place: Place, follow: bool, sleep: Callable[[float], None]
) -> Iterator[Batch]:
    sweep = source.sweep(scanner, tail, place, follow=follow, whole=True)
    while True:
        window = sweep.read()
        if window is not None:
            rows = {table: piece.drop_columns([ORDER]) for table, piece in window.rows.items()}
            yield Batch(rows, source.tokens.write(Place(window.upto, start=place.start)))
        elif follow and not sweep.past_end:
            sleep(POLL_S)
        else:
            break
    gaps = sweep.closing_gaps()
    known = place.closing if place.pos == sweep.next_pos else 0
    if gaps.num_rows > known:
        after = Place(sweep.next_pos, 0, gaps.num_rows, place.start)
        yield Batch({"gaps": gaps.slice(known)}, source.tokens.write(after))
