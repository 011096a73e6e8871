"""Several archives as one for SQL."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from bookreel.replay.errors import SameVenue
from bookreel.replay.steady import steady
from bookreel.storage.answer import Answer
from bookreel.storage.digests import Digests
from bookreel.storage.query import Database, tables_needed
from bookreel.storage.tail import Tail

__all__ = ["Archives"]


class Archives:
    """Asks archives of different venues together; a context manager. Not for several threads at once.

    Every table has the rows of all of them, with the ``venue`` of each; macros find a symbol wherever it is.
    Positions (``pos``, ``epoch``) are of one venue's journal.

    Raises SameVenue, ``storage.errors.NotAnArchive`` and ``UnknownFormat``.
    """

    def __init__(
        self,
        paths: Sequence[Path | str],
        *,
        verify_on_read: bool = False,
        memory_bytes: int | None = None,
    ) -> None:
        self.paths = [Path(path) for path in paths]
        self._tails: list[Tail] = []
        known: dict[str, Path] = {}
        try:
            for path in self.paths:
                tail = Tail(path)
                self._tails.append(tail)
                if tail.venue.name in known:
                    raise SameVenue(tail.venue.name, known[tail.venue.name], path)
                known[tail.venue.name] = path
        except BaseException:
            self._close_tails()
            raise
        self._database = Database(
            *self.paths, digests=Digests(whole=verify_on_read), memory_bytes=memory_bytes
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
