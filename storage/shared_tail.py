"""One decoded tail for all who read an archive in this process, kept up with the journal.

To decode a frame takes some ten microseconds, so a tail of a hundred thousand takes seconds: too long for somebody
who waits. A :class:`SharedTail` decodes once, every table, and goes on in a thread of its own with what comes in;
who asks pays for what came since a moment ago.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Collection
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from bookreel.storage.contents import Contents
from bookreel.storage.errors import StorageError
from bookreel.storage.schema import TABLES
from bookreel.storage.tail import Tail

__all__ = ["BYTES_MAX", "SharedTail"]

BYTES_MAX: Final = 512 << 20
"""Memory of decoded rows, beyond those of one question. A whole segment of the journal is some 400 MiB."""

_STEP_S: Final = 0.25
"""Seconds between two steps of the thread."""

_log = logging.getLogger(__name__)


class SharedTail:
    """For any number of threads, each with a :meth:`handle`; a context manager, followed while it is entered.

    ``archive``: its folder, or a tail of it that is this one's from now on. ``bytes_max``: see
    :class:`~bookreel.storage.tail.Tail`. Raises what that does.
    """

    def __init__(self, archive: Path | Tail, *, bytes_max: int = BYTES_MAX) -> None:
        self._tail = archive if isinstance(archive, Tail) else Tail(archive, TABLES, bytes_max=bytes_max)
        self.root = self._tail.root
        self.venue = self._tail.venue
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._follow, name="tail", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join()
        self._tail.close()

    def look(self, tables: Collection[str] = ()) -> Contents:
        """As :meth:`Tail.look`: what was in the journal before this was called is in the answer."""
        with self._lock:
            return self._tail.look(tables)

    def handle(self) -> Handle:
        """For somebody who will close what it was given."""
        return Handle(self)

    def advance(self) -> None:
        """Decode what is new. Raises as :meth:`Tail.look` does."""
        with self._lock:
            self._tail.advance()

    def _follow(self) -> None:
        failed = ""
        while not self._ended.wait(_STEP_S):
            try:
                self.advance()
                failed = ""
            except (StorageError, OSError) as error:
                # Who asks is told by the same error; here it is only said once.
                if str(error) != failed:
                    failed = str(error)
                    _log.warning("the journal's tail cannot be followed: %s", error)


class Handle:
    """A shared tail as somebody's own: closing it closes nothing."""

    def __init__(self, shared: SharedTail) -> None:
        self._shared = shared
        self.venue = shared.venue

    def look(self, tables: Collection[str] = ()) -> Contents:
        """See :meth:`SharedTail.look`."""
        return self._shared.look(tables)

    def close(self) -> None:
        """Nothing: others go on."""
