"""The folder that a server and its processes stay in, so that no answer says where an archive is on this machine."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from bookreel.replay.archives import by_venue
from bookreel.replay.server.errors import BadListen

__all__ = ["folder_of"]


@contextlib.contextmanager
def folder_of(archives: Sequence[Path]) -> Iterator[tuple[Path, tuple[str, ...]]]:
    """The folder, and the archives' names in it: one archive is the folder itself, of several each is called as its
    venue.

    Raises SameVenue, NotAnArchive, UnknownFormat, and BadListen where there is no room for it.
    """
    named = by_venue(archives)
    if len(archives) == 1:
        yield archives[0].absolute(), ("",)
        return
    with contextlib.ExitStack() as made:
        try:
            folder = Path(made.enter_context(tempfile.TemporaryDirectory(prefix="bookreel-serve-")))
            for venue, path in named.items():
                (folder / venue).symlink_to(path.absolute())
        except OSError as error:
            raise BadListen(
                f"no temporary folder for the archives' names could be made: {error.strerror}; make room in "
                f"{tempfile.gettempdir()}, or set TMPDIR to another folder"
            ) from error
        yield folder, tuple(named)
