"""What a replay reads from, made when it begins and anew at each seek."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol, TypeVar

import msgspec

from bookreel.replay.pages import Form, Pages, Reader
from bookreel.replay.selection import Selection
from bookreel.replay.sweep import Sweep
from bookreel.replay.tokens import Place, Tokens
from bookreel.storage.digests import Digests
from bookreel.storage.scan import Scanner
from bookreel.storage.shared_tail import SharedTail
from bookreel.storage.tail import Looker, Tail

__all__ = ["Origin", "Source"]

_T = TypeVar("_T")


class Origin(Protocol[_T]):
    """What a stream reads from."""

    root: Path
    tokens: Tokens

    def scanner(self) -> Scanner:
        """What reads sealed files, of the caller's own."""
        ...

    def tail(self) -> Looker:
        """What looks at the journal's tail, for the caller to close."""
        ...

    def pages(
        self, scanner: Scanner, tail: Looker, form: Form[_T], place: Place, *, follow: bool
    ) -> Reader[_T]:
        """The pages from a place on."""
        ...


class Source:
    """A selection of an archive. ``shared``: the tail that others look at too; None is one of its own."""

    def __init__(
        self,
        root: Path,
        selection: Selection,
        *,
        verify_on_read: bool = False,
        shared: SharedTail | None = None,
    ) -> None:
        self.root = root
        self._shared = shared
        self._verify_on_read = verify_on_read
        self.selection = selection
        self.tokens = Tokens(root, selection.digest)

    def scanner(self) -> Scanner:
        """What reads sealed files, of the caller's own; it looks at their digests if the archive was opened so."""
        return Scanner(Digests(whole=self._verify_on_read))

    def tail(self) -> Looker:
        """What looks at the journal's tail, for the caller to close."""
        return Tail(self.root) if self._shared is None else self._shared.handle()

    def place(self, after: str | None) -> Place:
        """Where to begin: at a token (raises BadToken), or at the beginning of the range."""
        return Place(start=self.selection.start) if after is None else self.tokens.read(after)

    def sweep(
        self,
        scanner: Scanner,
        tail: Looker,
        place: Place,
        *,
        follow: bool,
        whole: bool = False,
        texts: bool = False,
    ) -> Sweep:
        """The rows from a place on."""
        selection = msgspec.structs.replace(self.selection, start=place.start)
        return Sweep(
            self.root, selection, scanner, tail, first=place.pos, follow=follow, whole=whole, texts=texts
        )

    def pages(
        self, scanner: Scanner, tail: Looker, form: Form[_T], place: Place, *, follow: bool
    ) -> Pages[_T]:
        """The pages from a place on."""
        sweep = self.sweep(scanner, tail, place, follow=follow, texts=form.texts)
        return Pages(sweep, form, place, follow=follow)
