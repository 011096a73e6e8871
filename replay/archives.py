"""Several archives as one for SQL."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from bookreel.replay.errors import SameVenue
from bookreel.replay.steady import steady
from bookreel.storage.answer import Answer
from bookreel.storage.digests import Digests
from bookreel.storage.disk import OsDisk
from bookreel.storage.layout import read_meta
from bookreel.storage.query import Database, tables_needed
from bookreel.storage.shared_tail import SharedTail
from bookreel.storage.tail import Looker, Tail

__all__ = ["Archives", "by_venue"]


def by_venue(paths: Iterable[Path]) -> dict[str, Path]:
    """Archives by their venue's name. Raises SameVenue, ``storage.errors.NotAnArchive`` and ``UnknownFormat``."""
    found: dict[str, Path] = {}
    for path in paths:
        venue = read_meta(path, OsDisk()).venue
        if venue in found:
            raise SameVenue(venue, found[venue], path)
        found[venue] = path
    return found


class Archives:
    """Asks archives of different venues together; a context manager. Not for several threads at once.

    Every table has the rows of all of them, with the ``venue`` of each; macros find a symbol wherever it is.
    Positions (``pos``, ``epoch``) are of one venue's journal. Opened on a ``SharedTail``, an archive has its tail in
    common with whoever else is.

    Raises SameVenue, ``storage.errors.NotAnArchive`` and ``UnknownFormat``.
    """

    def __init__(
        self,
        paths: Sequence[Path | str | SharedTail],
        *,
        verify_on_read: bool = False,
        memory_bytes: int | None = None,
    ) -> None:
        self.paths = [path.root if isinstance(path, SharedTail) else Path(path) for path in paths]
        by_venue(self.paths)
        self._tails: list[Looker] = []
        try:
            for path in paths:
                self._tails.append(path.handle() if isinstance(path, SharedTail) else Tail(Path(path)))
        except BaseException:
            self._close_tails()
            raise
        self._database = Database(
            *self.paths,
            digests=Digests(whole=verify_on_read),
            memory_bytes=memory_bytes,
            as_named=all(isinstance(path, SharedTail) for path in paths),
        )

    def __enter__(self) -> Archives:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close what is open. Relations that were handed out end with it; tables stay."""
        self._close_tails()
        self._database.close()

    def sql(self, query: str, params: Mapping[str, Any] | Sequence[Any] | None = None) -> Answer:
        """The relation of one reading statement, as :meth:`bookreel.replay.Archive.sql` gives it."""
        needed = tables_needed(query)
        return steady(lambda: self._database.run([tail.look(needed) for tail in self._tails], query, params))

    def _close_tails(self) -> None:
        for tail in self._tails:
            tail.close()
