"""Ways to spoil a frame, as tables: name to function, each drawn by its weight.

Three kinds. *Text* mutators change JSON, *wire* mutators what carries it (gzip, or a text frame), and *scenes* make a
frame that is well formed and says what it must not. All draw from one ``random.Random``, so a seed repeats them.
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from itertools import accumulate
from random import Random
from typing import Final, Generic, TypeAlias, TypeVar

from isal import isal_zlib

from bookreel.venues.huobi.compression import MAX_TEXT_BYTES
from tests.fuzz.peer import BOOK_TOPICS, TOPICS, Peer

__all__ = [
    "NAMES",
    "NUMBERS",
    "SCENES",
    "TEXTS",
    "VALUES",
    "WIRES",
    "Draw",
    "Scene",
    "Spoil",
    "heavy",
    "pack",
]

Spoil: TypeAlias = Callable[[bytes, Random], bytes]
Carry: TypeAlias = Callable[[bytes, Random], "bytes | str"]
Scene: TypeAlias = Callable[[Peer, Mapping[bytes, "int | None"], Random], bytes]

_T = TypeVar("_T")

NUMBERS: Final = (
    b"1e400", b"-1e400", b"1e-400", b"NaN", b"Infinity", b"-Infinity", b"nan", b"-0", b"-0.0", b"0", b"0.0", b"-1",
    b"-1.5", b"1.5", b"00", b"01", b"-01", b"+1", b"1.", b".5", b"1e", b"1e+", b"0x10", b"1_000", b"1,5", b"1e5",
    b"9.377E-11", b"5e-324", b"1e-308", b"1.7976931348623157e308", b"1.7976931348623159e308", b"1e308", b"1E0001",
    b"9007199254740993", b"9223372036854775807", b"9223372036854775808", b"-9223372036854775808",
    b"-9223372036854775809", b"18446744073709551615", b"18446744073709551616", b"99999999999999999999999",
    b"123456789012345678901234567", b"0.1234567890123456789", b"100.00000000000000001", b"1" + b"0" * 400,
    b"0." + b"1" * 400, b"1" * 5000, b"99.5", b"100.005", b"101", b"2147483648", b"4294967296",
)  # fmt: skip
"""Tokens in the place of a number."""

VALUES: Final = (
    b"null", b"true", b"false", b"[]", b"{}", b'""', b'"x"', b'"1.5"', b'" 1"', b'"-1"', b'"1e400"', b'"NaN"',
    b"[[]]", b"[null]", b"[[1]]", b"[[1,2,3]]", b'[["1","2"]]', b"[[1,null]]", b'{"a":1}', b'[{"a":1}]', b"[1,2]",
    b"[[0,1]]", b"[[-1,1]]", b"[[1,-1]]", b"[[1,1],[1,2]]", b"[[1,1],[2,1],[3,1]]", b"[[100.5,1]]",
    b"[[1e-320,1e308]]",
    b'"\\ud800"', b'"\\udc00\\ud800"', b'"\\u0000"', b'"\xff\xfe"', b'"\\x"', b'"' + b"A" * 3000 + b'"', b"[" * 40,
    b"tru", b"nul", b"'x'", b"", b"//", b"{", b"[", b"\x00",
)  # fmt: skip
"""Tokens in the place of any value."""

NAMES: Final = (
    b"market...mbp.150", b"market.../../etc/passwd.bbo", b"market.btc/usdt.bbo", b"market.btc\\u0000usdt.bbo",
    b"market.CON.bbo", b"market.con.bbo", b"market.BTCUSDT.bbo", b"market.Btcusdt.mbp.150", b"market.*.bbo",
    b"market." + b"a" * 300 + b".bbo", b"market." + b"a" * 32 + b".bbo", b"market." + b"a" * 33 + b".bbo",
    "market.‮btc.bbo".encode(), "market.bтcusdt.bbo".encode(), b"market.btcusdt.mbp.999", b"market.btcusdt.mbp.0150",
    b"market.btcusdt.depth.step9", b"market.btcusdt.kline.", b"market.btcusdt.kline.2min", b"market.btcusdt.",
    b"market..bbo", b"market.btcusdt", b"market", b"", b".", b"..", b"market.btcusdt.bbo ", b" market.btcusdt.bbo",
    b"market.btcusdt.trade.detail.x", b"market.btcusdt.bbo\\n", b"market.overview", b"accounts.update#2",
    b"market.btcusdt.mbp.refresh.5", b"market.solusdt.mbp.5", b"market.solusdt.trade.detail",
    b"market.aux.kline.1day", b"market.nul.ticker", b"market.0.detail", b"market.btc%2fusdt.bbo",
    b"market.$(id).bbo", b"market.btcusdt.bbo';--",
)  # fmt: skip
"""Topics that are none, or that nobody asked for."""

_NUMBER: Final = re.compile(rb"-?[0-9][0-9.eE+-]*")
_KEY: Final = re.compile(rb'"([a-zA-Z-]+)":')
_NAME: Final = re.compile(rb'"market\.[^"]*"')
_KEYS: Final = (b"ch", b"tick", b"ts", b"seqNum", b"prevSeqNum", b"bids", b"asks", b"data", b"rep", b"id", b"status",
                b"err-msg", b"err-code", b"ping", b"pong", b"subbed", b"unsubbed", b"sub", b"action", b"op", b"code",
                b"price", b"amount", b"tradeId", b"direction", b"x", b"", b"update", b"version")  # fmt: skip


class Draw(Generic[_T]):
    """Draws from a table by weight: ``{name: (weight, item)}``."""

    def __init__(self, table: Mapping[str, tuple[float, _T]]) -> None:
        self.table = table
        total = sum(weight for weight, _ in table.values())
        # A wheel of 1024 slots: drawing is one look.
        self._wheel: list[tuple[str, _T]] = []
        for bound, (name, (_, item)) in zip(
            accumulate(weight for weight, _ in table.values()), table.items(), strict=True
        ):
            self._wheel += [(name, item)] * max(1, round(1024 * bound / total) - len(self._wheel))
        self._size = len(self._wheel)

    def __call__(self, rng: Random) -> tuple[str, _T]:
        return self._wheel[int(rng.random() * self._size)]


def pack(text: bytes, level: int = 0) -> bytes:
    """As the venue carries a text: one gzip member."""
    packed: bytes = isal_zlib.compress(text, level, 31)
    return packed


def _one(items: Sequence[_T], rng: Random) -> _T:
    return items[int(rng.random() * len(items))]


# Text


def _found(pattern: re.Pattern[bytes], text: bytes, rng: Random) -> re.Match[bytes] | None:
    """A match after a random place, or the first one."""
    return pattern.search(text, int(rng.random() * (len(text) + 1))) or pattern.search(text)


def _number(text: bytes, rng: Random) -> bytes:
    match = _found(_NUMBER, text, rng)
    return text if match is None else text[: match.start()] + _one(NUMBERS, rng) + text[match.end() :]


def _sign(text: bytes, rng: Random) -> bytes:
    match = _found(_NUMBER, text, rng)
    return text if match is None else text[: match.start()] + b"-" + text[match.start() :]


def _near(text: bytes, rng: Random) -> bytes:
    """A digit is another digit: what is still a frame."""
    match = _found(_NUMBER, text, rng)
    if match is None:
        return text
    at = match.start() + int(rng.random() * (match.end() - match.start()))
    return text[:at] + b"%d" % int(rng.random() * 10) + text[at + 1 :]


def _value(text: bytes, rng: Random) -> bytes:
    match = _found(_KEY, text, rng)
    if match is None:
        return text
    at = match.end()
    end = at
    depth = 0
    # To the end of the value, near enough.
    for end in range(at, min(len(text), at + 400)):
        byte = text[end]
        if byte in b"[{":
            depth += 1
        elif byte in b"]}":
            depth -= 1
        if depth < 0 or (depth == 0 and byte == 0x2C):
            break
    return text[:at] + _one(VALUES, rng) + text[end:]


def _key(text: bytes, rng: Random) -> bytes:
    match = _found(_KEY, text, rng)
    return text if match is None else text[: match.start(1)] + _one(_KEYS, rng) + text[match.end(1) :]


def _added(text: bytes, rng: Random) -> bytes:
    """One more member, perhaps of a key that is there."""
    match = _found(_KEY, text, rng)
    if match is None:
        return text
    return text[: match.start()] + b'"%b":%b,' % (_one(_KEYS, rng), _one(VALUES, rng)) + text[match.start() :]


def _dropped(text: bytes, rng: Random) -> bytes:
    match = _found(_KEY, text, rng)
    if match is None:
        return text
    end = text.find(b",", match.end())
    return text[: match.start()] + (text[end + 1 :] if end > 0 else b"")


def _renamed(text: bytes, rng: Random) -> bytes:
    name = _one(NAMES, rng) if rng.random() < 0.7 else _one(TOPICS, rng)
    return _NAME.sub(lambda _: b'"' + name + b'"', text, count=1)


def _any_symbol(text: bytes, rng: Random) -> bytes:
    """A symbol of no end of symbols."""
    return _NAME.sub(
        lambda m: b'"market.s%d.%b' % (int(rng.random() * 1e9), m[0].split(b".", 2)[-1]), text, count=1
    )


def _bits(text: bytes, rng: Random) -> bytes:
    if not text:
        return text
    changed = bytearray(text)
    for _ in range(1 + int(rng.random() * 3)):
        changed[int(rng.random() * len(changed))] ^= 1 << int(rng.random() * 8)
    return bytes(changed)


def _cut(text: bytes, rng: Random) -> bytes:
    return text[: int(rng.random() * len(text))]


def _slice_gone(text: bytes, rng: Random) -> bytes:
    at = int(rng.random() * len(text))
    return text[:at] + text[at + 1 + int(rng.random() * 30) :]


def _slice_twice(text: bytes, rng: Random) -> bytes:
    at = int(rng.random() * len(text))
    end = at + 1 + int(rng.random() * 60)
    return text[:end] + text[at:end] + text[end:]


def _inserted(text: bytes, rng: Random) -> bytes:
    at = int(rng.random() * len(text))
    return text[:at] + rng.randbytes(1 + int(rng.random() * 6)) + text[at:]


_PREFIXES: Final = (
    b"\xef\xbb\xbf",
    b" ",
    b"\n\t ",
    b"\x00",
    b"[",
    b'{"a":',
    b"\xff\xfe",
    b"null",
    b'"',
    b"1",
    b"\x1f\x8b",
)


def _prefixed(text: bytes, rng: Random) -> bytes:
    return _one(_PREFIXES, rng) + text


def _suffixed(text: bytes, rng: Random) -> bytes:
    return text + _one((b" ", b"}", b"]", b"\x00", b",", b"null", b"{}", b"\n", text[:50]), rng)


def _spaced(text: bytes, rng: Random) -> bytes:
    """The same frame with white space: what begins another way must mean the same."""
    return text.replace(b":", b" : " if rng.random() < 0.5 else b":\n", 1 + int(rng.random() * 3))


def _escaped(text: bytes, rng: Random) -> bytes:
    """Letters as escapes: the same strings by other bytes."""
    return text.replace(b"btc", _one((b"\\u0062tc", b"b\\u0074c", b"\\u0042tc"), rng), 1)


def _utf16(text: bytes, rng: Random) -> bytes:
    return text.decode("latin-1").encode(_one(("utf-16", "utf-16-be", "utf-32"), rng))


def _nested(text: bytes, rng: Random) -> bytes:
    depth = 1 << int(rng.random() * 11)
    return (
        b'{"a":' * depth + text + b"}" * depth if rng.random() < 0.5 else b"[" * depth + text + b"]" * depth
    )


def _deep_value(text: bytes, rng: Random) -> bytes:
    match = _found(_KEY, text, rng)
    if match is None:
        return text
    depth = 1 << int(rng.random() * 12)
    return text[: match.start()] + b'"z":' + b"[" * depth + b"]" * depth + b"," + text[match.start() :]


TEXTS: Final[dict[str, tuple[float, Spoil]]] = {
    "number": (14, _number),
    "digit": (10, _near),
    "sign": (4, _sign),
    "value": (12, _value),
    "key": (6, _key),
    "member added": (5, _added),
    "member gone": (4, _dropped),
    "topic": (6, _renamed),
    "symbol without end": (3, _any_symbol),
    "bits": (7, _bits),
    "cut": (3, _cut),
    "slice gone": (4, _slice_gone),
    "slice twice": (4, _slice_twice),
    "bytes inserted": (3, _inserted),
    "prefix": (2, _prefixed),
    "suffix": (2, _suffixed),
    "spaces": (2, _spaced),
    "escapes": (1, _escaped),
    "utf-16": (0.5, _utf16),
    "nested": (1, _nested),
    "deep value": (1, _deep_value),
}
"""Name to (weight, mutator of a text)."""


# Wire


def _wire_bits(text: bytes, rng: Random) -> bytes:
    return _bits(pack(text), rng)


def _wire_cut(text: bytes, rng: Random) -> bytes:
    packed = pack(text)
    return packed[: int(rng.random() * len(packed))]


def _wire_trailing(text: bytes, rng: Random) -> bytes:
    return pack(text) + _one((b"\x00", b"\x1f\x8b", b"junk", pack(b"{}")[:10]), rng)


def _wire_two(text: bytes, rng: Random) -> bytes:
    return pack(text) + pack(text)


def _wire_header(text: bytes, rng: Random) -> bytes:
    """Optional header fields, whole or not, and flags that mean nothing."""
    flags = int(rng.random() * 256)
    fields = b""
    if flags & 4:
        extra = rng.randbytes(int(rng.random() * 40))
        fields += struct.pack("<H", len(extra) if rng.random() < 0.8 else 65_535) + extra
    if flags & 8:
        fields += b"name" + (b"\x00" if rng.random() < 0.9 else b"")
    if flags & 16:
        fields += b"comment\x00"
    packed = pack(text)
    head = packed[:3] + bytes([flags]) + packed[4:10] + fields
    if flags & 2:
        head += struct.pack("<H", zlib.crc32(head) & 0xFFFF if rng.random() < 0.8 else 0)
    return head + packed[10:]


def _wire_method(text: bytes, rng: Random) -> bytes:
    packed = bytearray(pack(text))
    packed[int(rng.random() * 4)] = int(rng.random() * 256)
    return bytes(packed)


def _wire_sum(text: bytes, rng: Random) -> bytes:
    packed = bytearray(pack(text))
    packed[-1 - int(rng.random() * 8)] ^= 1 + int(rng.random() * 255)
    return bytes(packed)


def _wire_stored(text: bytes, rng: Random) -> bytes:
    """Blocks that are not compressed, some of them empty."""
    body = b"\x00\x00\x00\xff\xff" * int(rng.random() * 20)
    size = min(len(text), 65_535)
    body += b"\x01" + struct.pack("<HH", size, size ^ 0xFFFF if rng.random() < 0.9 else 0) + text[:size]
    return pack(b"")[:10] + body + struct.pack("<II", zlib.crc32(text[:size]), size)


def _wire_other(text: bytes, rng: Random) -> bytes:
    """Another container than gzip, or none."""
    return _one(
        (text, zlib.compress(text, 1), zlib.compress(text, 1)[2:-4], b"", b"\x1f", b"\x1f\x8b\x08"), rng
    )


def _wire_text(text: bytes, rng: Random) -> str:
    return text.decode("utf-8", "replace")


def _wire_level(text: bytes, rng: Random) -> bytes:
    return pack(text, 1 + int(rng.random() * 3))


WIRES: Final[dict[str, tuple[float, Carry]]] = {
    "gzip: bits": (10, _wire_bits),
    "gzip: cut": (4, _wire_cut),
    "gzip: trailing": (3, _wire_trailing),
    "gzip: two members": (2, _wire_two),
    "gzip: header": (4, _wire_header),
    "gzip: method": (2, _wire_method),
    "gzip: sum": (3, _wire_sum),
    "gzip: stored": (3, _wire_stored),
    "gzip: none": (3, _wire_other),
    "gzip: text frame": (4, _wire_text),
    "gzip: level": (1, _wire_level),
}
"""Name to (weight, how a text is carried)."""


# Scenes


def _ack_of_nothing(peer: Peer, live: Mapping[bytes, int | None], rng: Random) -> bytes:
    topic = _one(TOPICS, rng) if rng.random() < 0.5 else _one(NAMES, rng)
    text = peer.ack(topic, _one((b"feed-0.1.1", b"x", b"", b"1"), rng))
    return text.replace(b'"subbed"', b'"unsubbed"') if rng.random() < 0.3 else text


def _strange_ping(peer: Peer, live: Mapping[bytes, int | None], rng: Random) -> bytes:
    return b'{"%b":%b}' % (_one((b"ping", b"pong"), rng), _one(NUMBERS + VALUES, rng))


def _any_error(peer: Peer, live: Mapping[bytes, int | None], rng: Random) -> bytes:
    words = _one(
        (
            b"429 too many request",
            b"invalid topic",
            b"trade not open",
            b"internal",
            b"",
            b"\\u202e",
            b"x" * 2000,
        ),
        rng,
    )
    number = b"line-0.%d.%d" % (1 + int(rng.random() * 3), int(rng.random() * 60))
    return peer.error(number).replace(b"invalid topic", words)


def _anothers_reply(peer: Peer, live: Mapping[bytes, int | None], rng: Random) -> bytes:
    """A snapshot nobody asked for, of a number of its own."""
    topic = _one(BOOK_TOPICS, rng)
    at = live[topic] or peer.seq[topic]
    seq = at + _one((0, -1, 1, -50, 50, -(10**6), 10**6, 2**62 - at, -at, -at - 1), rng)
    return peer.reply(topic, b"line-0.1.%d" % int(rng.random() * 60), seq)


def _null_reply(peer: Peer, live: Mapping[bytes, int | None], rng: Random) -> bytes:
    topic = _one(TOPICS, rng)
    return b'{"id":"%d","rep":"%b","status":"ok","data":%b}' % (
        int(rng.random() * 9),
        topic,
        _one(VALUES, rng),
    )


def _linked(peer: Peer, live: Mapping[bytes, int | None], rng: Random, bids: bytes, asks: bytes) -> bytes:
    """A delta that continues the chain, with these levels."""
    topic = _one(BOOK_TOPICS, rng)
    prev = live[topic] or peer.seq[topic]
    return peer.delta_of(topic, prev, prev + 1, bids, asks)


def _crossing(peer: Peer, live: Mapping[bytes, int | None], rng: Random) -> bytes:
    return _linked(
        peer, live, rng, *_one(((b"[150,1]", b""), (b"", b"[50,1]"), (b"[100,1]", b"[100,1]")), rng)
    )


def _bad_levels(peer: Peer, live: Mapping[bytes, int | None], rng: Random) -> bytes:
    level = b"[%b,%b]" % (_one(NUMBERS, rng), _one(NUMBERS, rng))
    return _linked(peer, live, rng, *((level, b"") if rng.random() < 0.5 else (b"", level)))


def _empty_delta(peer: Peer, live: Mapping[bytes, int | None], rng: Random) -> bytes:
    return _linked(peer, live, rng, b"", b"")


def _strange_seq(peer: Peer, live: Mapping[bytes, int | None], rng: Random) -> bytes:
    topic = _one(BOOK_TOPICS, rng)
    at = live[topic] or peer.seq[topic]
    hops = (0, 0, 1, -1, 5, -5, 100, -100, 10**9, -(10**9), -at, 2**63 - 1 - at, -(2**63) - at, 2**64)
    return peer.delta_of(topic, at + _one(hops, rng), at + _one(hops, rng), b"[50.5,1]", b"[150.5,1]")


def _same_again(peer: Peer, live: Mapping[bytes, int | None], rng: Random) -> bytes:
    """A number that is known, with other levels."""
    topic = _one(BOOK_TOPICS, rng)
    at = live[topic] or peer.seq[topic]
    return peer.delta_of(
        topic, at - 1 - int(rng.random() * 5), at, b"[60.25,%d]" % int(rng.random() * 9), b""
    )


def _crossed_push(peer: Peer, live: Mapping[bytes, int | None], rng: Random) -> bytes:
    topic = _one((b"market.btcusdt.depth.step0", b"market.btcusdt.mbp.refresh.20"), rng)
    bids, asks = _one(
        (
            (b"[101,1]", b"[100,1]"),
            (b"[1,0]", b"[1,0]"),
            (b"[5,1],[5,2]", b"[6,1]"),
            (b"[1,1],[3,1],[2,1]", b""),
        ),
        rng,
    )
    return b'{"ch":"%b","ts":1,"tick":{"seqNum":5,"version":5,"ts":1,"bids":[%b],"asks":[%b]}}' % (
        topic,
        bids,
        asks,
    )


def _strange_trade(peer: Peer, live: Mapping[bytes, int | None], rng: Random) -> bytes:
    number = _one(NUMBERS + VALUES, rng)
    item = b'{"id":%b,"ts":1,"tradeId":%b,"amount":%b,"price":%b,"direction":%b}' % (
        number, _one(NUMBERS, rng), _one(NUMBERS, rng), _one(NUMBERS, rng),
        _one((b'"buy"', b'"sell"', b'"x"', b"1"), rng),
    )  # fmt: skip
    return b'{"ch":"market.btcusdt.trade.detail","ts":1,"tick":{"id":1,"ts":1,"data":[%b]}}' % item


def _strange_quote(peer: Peer, live: Mapping[bytes, int | None], rng: Random) -> bytes:
    values = [_one(NUMBERS + VALUES, rng) if rng.random() < 0.3 else b"1.5" for _ in range(6)]
    keys = (b"seqId", b"ask", b"askSize", b"bid", b"bidSize", b"quoteTime")
    tick = b",".join(b'"%b":%b' % pair for pair in zip(keys, values, strict=True))
    return b'{"ch":"market.btcusdt.bbo","ts":1,"tick":{%b}}' % tick


def _private(peer: Peer, live: Mapping[bytes, int | None], rng: Random) -> bytes:
    return b'{"action":%b,"ch":"%b","code":%b}' % (_one(VALUES, rng), _one(NAMES, rng), _one(NUMBERS, rng))


def _our_own_words(peer: Peer, live: Mapping[bytes, int | None], rng: Random) -> bytes:
    """What only a client says."""
    verb = _one((b"sub", b"unsub", b"req"), rng)
    return b'{"%b":%b,"id":%b}' % (verb, _one((b'"market.btcusdt.bbo"', *VALUES), rng), _one(VALUES, rng))


def _scalars(peer: Peer, live: Mapping[bytes, int | None], rng: Random) -> bytes:
    return _one(NUMBERS + VALUES, rng)


SCENES: Final[dict[str, tuple[float, Scene]]] = {
    "ack of nothing": (2, _ack_of_nothing),
    "strange ping": (2, _strange_ping),
    "error": (1, _any_error),
    "another's reply": (3, _anothers_reply),
    "null reply": (1, _null_reply),
    "crossing delta": (2, _crossing),
    "impossible level": (4, _bad_levels),
    "empty delta": (1, _empty_delta),
    "strange number": (3, _strange_seq),
    "same number again": (1, _same_again),
    "crossed push": (2, _crossed_push),
    "strange trade": (3, _strange_trade),
    "strange quote": (2, _strange_quote),
    "private protocol": (1, _private),
    "client's words": (1, _our_own_words),
    "scalar": (1, _scalars),
}
"""Name to (weight, frame that is well formed and wrong)."""


# Heavy: what is large. Made once, since making takes longer than refusing.


def _push_with(bids: bytes) -> bytes:
    return (
        b'{"ch":"market.btcusdt.mbp.150","ts":1,"tick":{"seqNum":2,"prevSeqNum":1,"bids":[%b],"asks":[]}}'
        % bids
    )


@lru_cache(maxsize=1)
def _heavy() -> dict[str, bytes | str]:
    # As large as a text may be, since one that is larger is refused at once.
    much = MAX_TEXT_BYTES - 300
    trade = b'{"ch":"market.btcusdt.trade.detail","ts":1,"tick":{"id":1,"ts":1,"data":[{"id":%b,"ts":1,"amount":1,"price":1,"direction":"buy"}]}}'  # noqa: E501
    texts = {
        "nesting of lists": b"[" * much,
        "nesting of objects": b'{"a":' * (much // 5),
        "nesting in a push": b'{"ch":"market.btcusdt.bbo","ts":1,"tick":' + b"[" * much,
        "nesting in an unknown key": b'{"ping":1,"z":' + b"[" * (much // 2) + b"]" * (much // 2) + b"}",
        "digits of a price": _push_with(b"[" + b"1" * much + b",1]"),
        "digits after the point": _push_with(b"[0." + b"1" * much + b",1]"),
        "digits of an exponent": _push_with(b"[1e" + b"1" * much + b",1]"),
        "digits of a seqNum": _push_with(b"").replace(b":2,", b":" + b"2" * much + b","),
        "digits of a ping": b'{"ping":' + b"7" * much + b"}",
        "digits of an id": trade % (b"1" * much),
        "text of an id": trade % (b'"' + b"a" * much + b'"'),
        "levels that fit": _push_with(b",".join(b"[%d,1]" % i for i in range(1, 10_001))),
        "inexact numbers of nothing": b'{"ping":1,"z":[' + b",".join([b"0.12345678901234567"] * (much // 20)) + b"]}",
        "levels": _push_with(b",".join(b"[%d,1]" % i for i in range(40_000))),
        "levels of one price": _push_with(b",".join([b"[1,1]"] * (much // 6))),
        "levels of inexact numbers": _push_with(b",".join([b"[0.12345678901234567,1]"] * (much // 24))),
        "tiny numbers": _push_with(b",".join([b"[1e-310,1]"] * (much // 11))),
        "points": b'{"ping":1,"z":"' + b"0." * (much // 2) + b'"}',
        "error of many words": b'{"status":"error","err-msg":"' + b"w" * much + b'"}',
        "topic of many letters": b'{"ch":"market.' + b"a" * much + b'.bbo","ts":1,"tick":{}}',
        "keys": b"{" + b",".join(b'"k%d":0' % i for i in range(50_000)) + b"}",
        "keys of a tick": b'{"ch":"market.btcusdt.bbo","ts":1,"tick":{' + b",".join(
            b'"k%d":0' % i for i in range(50_000)) + b"}}",
        "items with keys": trade.replace(b"[{", b"[" + b'{"x":1},' * (much // 9) + b"{") % b"1",
        "empty objects": b"[" + b",".join([b"{}"] * (much // 3)) + b"]",
        "white space": b" " * much + b'{"ping":1}',
        "escapes": b'{"ch":"' + b"\\u0041" * (much // 6) + b'"}',
        "huge numbers": _push_with(b",".join([b"[1e300,1]"] * 1700)),
        "huge numbers in a ticker": b'{"ch":"market.btcusdt.ticker","ts":1,"tick":{"z":[' + b",".join(
            [b"1e300"] * 80_000) + b"]}}",
        "quotes": b'"' * much,
    }  # fmt: skip
    found: dict[str, bytes | str] = {f"heavy: {name}": pack(text, 1) for name, text in texts.items()}
    million = 1_000_000
    found["heavy: nesting of a million"] = pack(b"[" * million, 1)
    found["heavy: a million digits"] = pack(_push_with(b"[" + b"1" * million + b",1]"), 1)
    found["heavy: a million digits as text"] = "1" * million
    found["heavy: 100,000 levels"] = pack(_push_with(b",".join(b"[%d,1]" % i for i in range(100_000))), 1)
    found["heavy: levels as a text frame"] = texts["levels"].decode()
    found["heavy: digits as a text frame"] = texts["digits after the point"].decode()
    found["heavy: bomb"] = zlib.compress(b"0" * (64 << 20), 9, 31)
    found["heavy: bomb of a push"] = zlib.compress(
        b'{"ch":"market.btcusdt.bbo","ts":1' + b" " * (64 << 20), 9, 31
    )
    head, empty = pack(b"")[:10], b"\x00\x00\x00\xff\xff"
    found["heavy: empty blocks"] = head + empty * 200_000
    found["heavy: header without end"] = b"\x1f\x8b\x08\x08" + bytes(6) + b"n" * million
    found["heavy: extra field"] = (
        b"\x1f\x8b\x08\x04" + bytes(6) + b"\xff\xff" + bytes(65_535) + pack(b"{}")[10:]
    )
    found["heavy: members"] = pack(b'{"ping":1}') * 30_000
    found["heavy: zeros"] = bytes(1 << 20)
    return found


def heavy() -> dict[str, bytes | str]:
    """Name to a whole frame that is large, or becomes it."""
    return _heavy()
