from __future__ import annotations

import errno
import os
import random
import re
import struct
from pathlib import Path
from typing import NamedTuple

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bookreel.storage import codec
from bookreel.storage.codec import START_BYTES, encode_footer, encode_record, encode_start, seed_of
from bookreel.storage.disk import File, OsDisk
from bookreel.storage.errors import UnknownFormat
from bookreel.storage.layout import create_archive
from bookreel.storage.record import Direction, Kind, Record
from bookreel.storage.segment import Damage, SegmentReader, first_pos_of, list_segments

ARCHIVE_ID = b"\x01\x23\x45\x67\x89\xab\xcd\xef"
SEED = seed_of(ARCHIVE_ID)
FORMAT_PAGE = Path(__file__).resolve().parents[2] / "storage" / "FORMAT.md"


class Built(NamedTuple):
    """A segment's bytes, and where its records are in them."""

    content: bytes
    records: list[Record]
    spans: list[tuple[int, int]]


def build(payloads: list[bytes], *, first_pos: int = 1, conn: str = "feed-0", footer: bool = True) -> Built:
    content = encode_start(ARCHIVE_ID, first_pos, 5)
    records, spans = [], []
    for pos, payload in enumerate(payloads, first_pos):
        record = Record(pos, pos * 10, pos * 7, conn, 1, Direction(pos % 3), Kind(pos % 4), payload)
        start = len(content)
        content += encode_record(
            SEED, pos, pos * 10, pos * 7, conn.encode(), 1, record.direction, record.kind, payload
        )
        records.append(record)
        spans.append((start, len(content)))
    if footer:
        content += encode_footer(SEED, len(payloads), first_pos + len(payloads) - 1)
    return Built(content, records, spans)


class Place:
    """A segment file inside an archive."""

    def __init__(self, root: Path) -> None:
        create_archive(root, "huobi", 1, OsDisk(), ARCHIVE_ID)
        self.folder = root / "journal"

    def path(self, first_pos: int = 1) -> Path:
        return self.folder / f"{first_pos:016d}.seg"

    def read(self, content: bytes, *, closed: bool = True, after: int = 0) -> list[Record | Damage]:
        self.path().write_bytes(content)
        with SegmentReader(self.path(), closed=closed, after=after) as reader:
            return list(reader.read())


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path / "archive")


@pytest.fixture(scope="module")
def shared_place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    """For many runs in one test: each overwrites the file."""
    return Place(tmp_path_factory.mktemp("segment") / "archive")


def records_of(items: list[Record | Damage]) -> list[Record]:
    return [item for item in items if isinstance(item, Record)]


def damage_of(items: list[Record | Damage]) -> list[Damage]:
    return [item for item in items if isinstance(item, Damage)]


def test_the_worked_example_of_the_format_page_is_true(place: Place) -> None:
    page = FORMAT_PAGE.read_text()
    block = page.split("<!-- example -->")[1].split("```")[1]
    content = b"".join(
        bytes.fromhex(line.split("|")[0]) for line in block.strip().splitlines() if "|" in line
    )
    assert content == b"".join(
        [
            encode_start(ARCHIVE_ID, 7, 1_700_000_000_000_000_000),
            encode_record(
                SEED, 7, 1_700_000_000_123_456_789, 5_000_000_000, b"feed-0", 1, 0, 1, b'{"ping":1}'
            ),
            encode_footer(SEED, 1, 7),
        ]
    )
    place.path(7).write_bytes(content)
    with SegmentReader(place.path(7), closed=True) as reader:
        assert list(reader.read()) == [
            Record(
                7,
                1_700_000_000_123_456_789,
                5_000_000_000,
                "feed-0",
                1,
                Direction.IN,
                Kind.TEXT,
                b'{"ping":1}',
            )
        ]
        assert reader.footer == (1, 7)
    sizes = dict(re.findall(r"^\| (segment header|record header|footer) \| (\d+) \|", page, re.MULTILINE))
    assert sizes == {
        "segment header": str(START_BYTES),
        "record header": str(codec.HEADER.size),
        "footer": str(len(encode_footer(SEED, 1, 1))),
    }


def test_the_marker_can_be_neither_text_nor_a_length() -> None:
    with pytest.raises(UnicodeDecodeError):
        codec.MARKER.decode()
    assert struct.unpack("<I", codec.MARKER)[0] > codec.PAYLOAD_BYTES_MAX


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    payloads=st.lists(st.binary(max_size=400) | st.just(b"x" * 40_000), max_size=12),
    conn=st.text(max_size=40).filter(lambda text: len(text.encode(errors="replace")) < 200),
    first_pos=st.integers(1, 2**59),
    step=st.integers(1, 5),
)
def test_round_trip(shared_place: Place, payloads: list[bytes], conn: str, first_pos: int, step: int) -> None:
    conn = conn.encode(errors="ignore").decode()
    built = build(payloads, first_pos=first_pos, conn=conn)
    path = shared_place.path(first_pos)
    path.write_bytes(built.content)
    try:
        with SegmentReader(path, closed=True) as reader:
            items = []
            while more := list(reader.read(step)):
                assert len(more) <= step
                items += more
            assert items == built.records
            assert reader.records == len(payloads)
    finally:
        path.unlink()


def test_positions_up_to_after_are_passed_over(place: Place) -> None:
    built = build([b"a", b"b", b"c" * 20_000, b"d"])
    for after in range(6):
        assert place.read(built.content, after=after) == built.records[after:]


@pytest.mark.parametrize("footer", [True, False])
def test_every_length_of_a_cut_file(place: Place, footer: bool) -> None:
    built = build([b"", b"abc", b"x" * 30, b"last"], footer=footer)
    for length in range(len(built.content)):
        cut = built.content[:length]
        whole = [
            record for record, (_, stop) in zip(built.records, built.spans, strict=True) if stop <= length
        ]
        assert place.read(cut, closed=False) == whole, "an open tail is not yet there"
        items = place.read(cut)
        assert records_of(items) == whole
        torn = damage_of(items)
        at_edge = length in {START_BYTES, *(stop for _, stop in built.spans)}
        if at_edge:
            assert torn == []
        elif length < START_BYTES:
            assert [(item.offset, item.reason) for item in torn] == [(0, "segment header")]
        else:
            assert [(item.reason, item.offset + item.length, item.before) for item in torn] == [
                ("torn tail", length, None)
            ]


def test_every_flipped_bit_costs_its_own_record_only(place: Place) -> None:
    built = build([b"", b"abc", b"x" * 30, b"last"])
    everything = {record.pos: record for record in built.records}
    for index in range(len(built.content) * 8):
        content = bytearray(built.content)
        content[index // 8] ^= 1 << index % 8
        items = place.read(bytes(content))
        hit = [
            record.pos
            for record, (start, stop) in zip(built.records, built.spans, strict=True)
            if start <= index // 8 < stop
        ]
        assert records_of(items) == [record for pos, record in everything.items() if pos not in hit], index
        assert damage_of(items), f"bit {index} was not noticed"
        for damage in damage_of(items):
            assert damage.offset <= index // 8 <= damage.offset + damage.length
            if hit:
                assert damage.after == hit[0] - 1
                assert damage.before == hit[0] + 1
                assert damage.lost == 1


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    sizes=st.lists(st.integers(0, 60), min_size=1, max_size=12),
    wounds=st.lists(st.tuples(st.integers(0, 2000), st.integers(1, 90), st.integers(0, 3)), max_size=4),
    seed=st.integers(0, 9),
    footer=st.booleans(),
    closed=st.booleans(),
)
def test_whatever_is_overwritten_every_whole_record_is_found(
    shared_place: Place,
    sizes: list[int],
    wounds: list[tuple[int, int, int]],
    seed: int,
    footer: bool,
    closed: bool,
) -> None:
    chance = random.Random(seed)
    built = build([chance.randbytes(size) for size in sizes], footer=footer)
    content = bytearray(built.content)
    for at, length, how in wounds:
        at %= len(content)
        length = min(length, len(content) - at)
        content[at : at + length] = (
            bytes(length),
            chance.randbytes(length),
            (codec.MARKER * 30)[:length],
            (built.content * 2)[chance.randrange(len(content)) :][:length],
        )[how]
    items = shared_place.read(bytes(content), closed=closed)
    whole = [
        record
        for record, (start, stop) in zip(built.records, built.spans, strict=True)
        if content[start:stop] == built.content[start:stop]
    ]
    given_back = records_of(items)
    assert all(record in built.records for record in given_back), "something was made up"
    assert [record.pos for record in given_back] == sorted({record.pos for record in given_back})
    if closed:
        # A copy of a later record put over an earlier place may be taken for it; nothing else may be missing.
        copied = any(how == 3 for _, _, how in wounds)
        assert copied or given_back == whole


def test_a_duplicated_block_is_damage_and_given_once(place: Place) -> None:
    built = build([b"a", b"b", b"c", b"d"])
    start, stop = built.spans[1][0], built.spans[2][1]
    content = built.content[:stop] + built.content[start:stop] + built.content[stop:]
    items = place.read(content)
    assert records_of(items) == built.records
    assert damage_of(items) == [Damage("0000000000000001", stop, stop - start, "position not rising", 3, 4)]
    assert damage_of(items)[0].lost == 0


def test_swapped_blocks_are_noticed_and_nothing_is_given_twice(place: Place) -> None:
    built = build([b"a", b"b", b"c", b"d", b"e"])
    spans = built.spans
    content = (
        built.content[: spans[1][0]]
        + built.content[slice(*spans[2])]
        + built.content[slice(*spans[1])]
        + built.content[spans[3][0] :]
    )
    items = place.read(content)
    assert [record.pos for record in records_of(items)] == [1, 3, 4, 5]
    assert [(item.reason, item.after, item.before) for item in damage_of(items)] == [
        ("records missing", 1, 3),
        ("position not rising", 3, 4),
    ]


def test_a_removed_block_is_noticed(place: Place) -> None:
    built = build([b"a", b"b", b"c", b"d"])
    middle = built.content[: built.spans[1][0]] + built.content[built.spans[2][1] :]
    assert [(item.reason, item.after, item.before) for item in damage_of(place.read(middle))] == [
        ("records missing", 1, 4)
    ]
    end = built.content[: built.spans[2][0]] + built.content[built.spans[3][1] :]
    assert [(item.reason, item.lost) for item in damage_of(place.read(end))] == [("records missing", 2)]


def test_bytes_after_the_footer_are_damage(place: Place) -> None:
    built = build([b"a"])
    items = place.read(built.content + b"more")
    assert [(item.offset, item.length, item.lost) for item in damage_of(items)] == [
        (len(built.content), 4, 0)
    ]


def test_a_damaged_header_costs_nothing(place: Place) -> None:
    built = build([b"a", b"b"])
    items = place.read(bytes(START_BYTES) + built.content[START_BYTES:])
    assert records_of(items) == built.records
    assert [(item.reason, item.lost) for item in damage_of(items)] == [("segment header", 0)]


def test_a_newer_format_is_refused(place: Place) -> None:
    head = codec.START.pack(codec.MAGIC, codec.SEGMENT_FORMAT + 1, ARCHIVE_ID, 1, 5)
    with pytest.raises(UnknownFormat, match="use a newer version"):
        place.read(head + codec.CRC.pack(codec.crc32(head)))


def test_bytes_from_the_network_cannot_pass_for_a_record(place: Place) -> None:
    forged = encode_record(seed_of(bytes(8)), 3, 1, 1, b"x", 1, 0, 0, b"forged")
    forged += encode_record(0, 4, 1, 1, b"x", 1, 0, 0, b"forged")
    built = build([b"a", forged, b"c"])
    content = bytearray(built.content)
    content[built.spans[1][0]] ^= 1
    assert [record.pos for record in records_of(place.read(bytes(content)))] == [1, 3]
    assert records_of(place.read(bytes(content)))[1].payload == b"c"


class CountingFile:
    """Counts the bytes read; pages in ``bad`` cannot be."""

    def __init__(self, file: File, disk: CountingDisk) -> None:
        self._file = file
        self._disk = disk

    def __getattr__(self, name: str) -> object:
        return getattr(self._file, name)

    def read(self, offset: int, size: int) -> bytes:
        if any(offset <= page * 4096 + 4095 and page * 4096 < offset + size for page in self._disk.bad):
            raise OSError(errno.EIO, "bad page")
        self._disk.bytes_read += size
        return self._file.read(offset, size)


class CountingDisk(OsDisk):
    def __init__(self, bad: tuple[int, ...] = ()) -> None:
        self.bytes_read = 0
        self.bad = bad

    def open(self, path: Path) -> File:
        return CountingFile(super().open(path), self)  # type: ignore[return-value]


@pytest.mark.parametrize(
    "kind", ["markers", "headers", "absurd lengths", "valid and absurd", "duplicates", "zeros"]
)
def test_work_is_linear_in_garbage(place: Place, kind: str) -> None:
    """A quadratic reader would take hours here; what is asserted is that no byte is read more than a few times."""
    size = 24 * 1024 * 1024
    small = encode_record(SEED, 1, 1, 1, b"", 1, 0, 0, b"")
    body = codec.BODY.pack(codec.PAYLOAD_BYTES_MAX, 9, 1, 1, 1, 0, 0, 0)
    absurd = codec.FRAME.pack(codec.MARKER, 0) + body
    piece = {
        "markers": codec.MARKER,
        "headers": codec.MARKER + bytes(40),
        "absurd lengths": absurd,
        "valid and absurd": small + absurd + bytes(3000),
        "duplicates": small + b"?" * 100,
        "zeros": bytes(64),
    }[kind]
    last = encode_record(SEED, 20, 1, 1, b"", 1, 0, 0, b"found")
    count = size // max(len(piece), 64)
    content = encode_start(ARCHIVE_ID, 1, 5) + piece * count + last
    place.path().write_bytes(content)
    disk = CountingDisk()
    with SegmentReader(place.path(), disk, closed=True) as reader:
        items = list(reader.read())
    assert records_of(items)[-1].payload == b"found"
    assert disk.bytes_read <= 8 * len(content) + 64 * 1024 * 1024


def test_an_unreadable_page_costs_the_records_in_it(place: Place) -> None:
    built = build([b"%04d" % index * 50 for index in range(100)])
    place.path().write_bytes(built.content)
    with SegmentReader(place.path(), CountingDisk(bad=(2,)), closed=True) as reader:
        items = list(reader.read())
    whole = [
        record
        for record, (start, stop) in zip(built.records, built.spans, strict=True)
        if stop <= 8192 or start >= 12288
    ]
    assert records_of(items) == whole
    assert [item.lost for item in damage_of(items)] == [100 - len(whole)]


def test_a_growing_segment_is_followed_byte_by_byte(place: Place) -> None:
    built = build([b"", b"abc", b"x" * 30, b"last"])
    path = place.path()
    path.touch()
    seen: list[Record | Damage] = []
    with SegmentReader(path) as reader, path.open("ab", buffering=0) as writer:
        for index in range(len(built.content)):
            writer.write(built.content[index : index + 1])
            seen += reader.read()
            assert seen == built.records[: sum(stop <= index + 1 for _, stop in built.spans)]
        reader.finish()
        assert list(reader.read()) == []
        assert reader.footer == (4, 4)


def test_damage_in_a_growing_segment_is_told_when_it_is_bounded(place: Place) -> None:
    built = build([b"aaaa", b"bbbb", b"cccc"], footer=False)
    content = bytearray(built.content)
    content[built.spans[1][1] - 1] ^= 0xFF
    place.path().write_bytes(content[: built.spans[2][1] - 1])
    with SegmentReader(place.path()) as reader:
        assert list(reader.read()) == built.records[:1]
        assert list(reader.read()) == []
        with place.path().open("ab") as file:
            file.write(content[-1:])
        damage, record = reader.read()
        assert isinstance(damage, Damage)
        assert (damage.reason, damage.lost) == ("checksum", 1)
        assert record == built.records[2]


def test_a_segment_is_read_to_its_end_after_it_was_removed(place: Place) -> None:
    built = build([b"a", b"b", b"c"])
    place.path().write_bytes(built.content)
    with SegmentReader(place.path()) as reader:
        assert list(reader.read(1)) == built.records[:1]
        place.path().unlink()
        assert list(reader.read()) == built.records[1:]
        assert list(reader.read()) == []


def test_a_rewritten_segment_under_the_same_name_goes_on_where_the_reader_was(place: Place) -> None:
    first, second = build([b"a", b"b"], footer=False), build([b"a", b"b", b"c"], footer=False)
    place.path().write_bytes(first.content + b"\0" * 100)
    with SegmentReader(place.path()) as reader:
        assert list(reader.read()) == first.records
        other = place.path().with_suffix(".new")
        other.write_bytes(second.content)
        other.rename(place.path())
        assert list(reader.read()) == second.records[2:]


def test_records_that_the_next_segment_repeats_are_left_to_it(place: Place) -> None:
    built = build([b"a", b"b", b"c", b"d"], footer=False)
    place.path(3).write_bytes(build([b"c", b"d"], first_pos=3).content)
    assert place.read(built.content, closed=False) == built.records[:2]
    # What is wrong after that point has been written once more too.
    items = place.read(built.content[: built.spans[2][0]] + b"garbage", closed=False)
    assert records_of(items) == built.records[:2]
    assert [item.lost for item in damage_of(items)] == [0]
    hole = built.content[: built.spans[1][0]] + built.content[built.spans[2][0] :]
    assert [(item.reason, item.after, item.before) for item in damage_of(place.read(hole))] == [
        ("records missing", 1, 3)
    ]


def test_segments_are_listed_by_position(place: Place) -> None:
    root = place.folder.parent
    assert list_segments(root) == []
    for first_pos in (30, 7, 10**17):
        place.path(first_pos).write_bytes(bytes(first_pos % 100))
    for other in ("0000000000000001.seg.new", "x.seg", "1.seg", "0000000000000002.txt"):
        (place.folder / other).touch()
    assert [(item.first_pos, item.size, item.name) for item in list_segments(root)] == [
        (7, 7, "0000000000000007"),
        (30, 30, "0000000000000030"),
        (10**17, 0, "100000000000000000"),
    ]
    assert list_segments(root / "nothing") == []
    assert first_pos_of("0000000000000007.seg.damaged") is None


def test_a_reader_lets_go_of_its_file(place: Place) -> None:
    before = len(os.listdir("/proc/self/fd"))
    place.read(build([b"a"]).content)
    reader = SegmentReader(place.path(), closed=True)
    assert len(list(reader.read())) == 1
    assert len(os.listdir("/proc/self/fd")) == before, "read to the end it needs no file"
    reader.close()
