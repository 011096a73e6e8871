"""The corpus: small hostile frames of our own making, kept as files so that each is tried for ever.

``python -m tests.fuzz.corpus`` adds the cases below that are not there yet; a kept file is never written again.
``*.frame`` is a binary frame as received, ``*.text`` a text frame.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Final

from tests.fuzz.mutators import NAMES, NUMBERS, SCENES, TEXTS, VALUES, WIRES, pack
from tests.fuzz.peer import BOOK_TOPICS, PLAIN_TOPICS, Peer

__all__ = ["FOLDER", "cases", "load"]

FOLDER: Final = Path(__file__).parent / "corpus"
_LARGEST: Final = 4096
_STRANGE: Final = re.compile(r"[^a-z0-9]+")


def cases() -> Iterator[tuple[str, bytes | str]]:
    """Name and frame of each case."""
    rng = Random(20261121)
    peer = Peer(rng)
    book = BOOK_TOPICS[0]
    for index, number in enumerate(NUMBERS):
        yield f"price {index}", pack(peer.delta_of(book, 1000, 1001, b"[%b,1]" % number, b""))
        yield f"size {index}", pack(peer.delta_of(book, 1000, 1001, b"[1,%b]" % number, b""))
        text = peer.delta_of(book, 1000, 1001, b"[1,1]", b"")
        yield f"number {index}", pack(text.replace(b":1001,", b":%b," % number))
    for index, value in enumerate(VALUES):
        yield f"tick {index}", pack(b'{"ch":"%b","ts":1,"tick":%b}' % (book, value))
        yield (
            f"bids {index}",
            pack(b'{"ch":"%b","ts":1,"tick":{"seqNum":1001,"prevSeqNum":1000,"bids":%b}}' % (book, value)),
        )
        yield f"data {index}", pack(b'{"rep":"%b","id":"1","status":"ok","data":%b}' % (book, value))
        yield f"scalar {index}", pack(value)
    for index, topic_name in enumerate(NAMES):
        yield f"topic {index}", pack(b'{"ch":"%b","ts":1,"tick":{"seqNum":1,"bid":1,"ask":2}}' % topic_name)
        yield f"ack {index}", pack(peer.ack(topic_name, b"1"))
    for name, (_, scene) in SCENES.items():
        for index in range(3):
            yield f"{name} {index}", pack(scene(peer, dict.fromkeys(BOOK_TOPICS, 1000), rng))
    text = peer.delta_of(book, 1000, 1003, b"[99,1]", b"[101,1]")
    for name, (_, carry) in WIRES.items():
        for index in range(3):
            yield f"{name} {index}", carry(text, rng)
    for name, (_, spoil) in TEXTS.items():
        yield f"{name} of a book", pack(spoil(text, rng))
        for topic in PLAIN_TOPICS[1:5]:
            yield f"{name} of {topic.decode().split('.', 2)[2]}", pack(spoil(peer.push(topic), rng))


def load() -> dict[str, bytes | str]:
    """The kept frames, by name."""
    found: dict[str, bytes | str] = {}
    for path in sorted(FOLDER.iterdir()):
        content = path.read_bytes()
        found[path.stem] = content.decode("utf-8", "surrogatepass") if path.suffix == ".text" else content
    return found


def _write() -> int:
    FOLDER.mkdir(exist_ok=True)
    written = 0
    for name, frame in cases():
        content = frame.encode("utf-8", "surrogatepass") if isinstance(frame, str) else frame
        path = FOLDER / f"{_STRANGE.sub('-', name)}.{'text' if isinstance(frame, str) else 'frame'}"
        if len(content) <= _LARGEST and not path.exists():
            path.write_bytes(content)
            written += 1
    return written


if __name__ == "__main__":
    print(f"{_write()} cases added to {FOLDER}")
