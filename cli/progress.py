"""Progress of long work: a bar on a terminal, nothing elsewhere."""

from __future__ import annotations

import sys
from types import TracebackType

__all__ = ["Progress"]


class Progress:
    """A bar on stderr while the block runs, only if stderr is a terminal.

    >>> with Progress("sealing", 3) as progress:
    ...     progress.advance()
    """

    def __init__(self, what: str, total: int | None = None) -> None:
        self._advance = None
        self._bar = None
        if sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import Progress as Bar

            self._bar = Bar(console=Console(stderr=True), transient=True)
            self._task = self._bar.add_task(what, total=total)

    def __enter__(self) -> Progress:
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def advance(self, steps: int = 1) -> None:
        """So many more steps are done."""
        if self._bar is not None:
            self._bar.advance(self._task, steps)

    def total(self, steps: int) -> None:
        """There are so many steps in all."""
        if self._bar is not None:
            self._bar.update(self._task, total=steps)
