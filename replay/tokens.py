"""Where a replay has come to, as text: whoever has it goes on there, with no hole and no duplicate."""

from __future__ import annotations

import struct
from base64 import urlsafe_b64decode, urlsafe_b64encode
from pathlib import Path
from typing import Final, NamedTuple

from bookreel.replay.errors import BadToken
from bookreel.storage.disk import OsDisk
from bookreel.storage.layout import read_meta

__all__ = ["START", "Place", "Tokens"]

_FORM: Final = struct.Struct(">B8s4sqqIIxx")
"""Version, archive, selection, the four numbers of a place. Its length makes base64 need no padding."""

_VERSION: Final = 1
_NO_TIME: Final = -(1 << 63)


class Place(NamedTuple):
    """Everything that stands before position ``pos`` was given, and the first ``given`` events that stand at it; of
    the gaps that are open at the end the first ``closing``, as long as the end is at ``pos``. ``start``: the range's
    beginning (ns).
    """

    pos: int = 0
    given: int = 0
    closing: int = 0
    start: int | None = None


START: Final = Place()


class Tokens:
    """Writes and reads the tokens of one archive and choice, which ``digest`` stands for (four bytes)."""

    def __init__(self, archive: Path, digest: bytes) -> None:
        self._archive = bytes.fromhex(read_meta(archive, OsDisk()).id)
        self._selection = digest

    def write(self, place: Place) -> str:
        """A place as text."""
        start = _NO_TIME if place.start is None else place.start
        numbers = (place.pos, start, place.given, place.closing)
        return urlsafe_b64encode(_FORM.pack(_VERSION, self._archive, self._selection, *numbers)).decode()

    def read(self, token: str) -> Place:
        """The place that :meth:`write` was given. Raises :class:`BadToken`."""
        try:
            version, archive, selection, pos, start, given, closing = _FORM.unpack(
                urlsafe_b64decode(token.encode("ascii"))
            )
        except (ValueError, struct.error):
            raise BadToken(token, "it is not one, or a part of one") from None
        if version != _VERSION:
            raise BadToken(token, "a newer version made it")
        if archive != self._archive:
            raise BadToken(token, "it is of another archive")
        if selection != self._selection:
            raise BadToken(token, "it is of other tables, symbols or feeds")
        return Place(pos, given, closing, None if start == _NO_TIME else start)
