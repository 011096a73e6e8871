from __future__ import annotations

from pathlib import Path

import pytest

from bookreel.storage.disk import OsDisk
from bookreel.storage.errors import NotAnArchive, UnknownFormat
from bookreel.storage.layout import FORMAT, Layout, check_free, create_archive, read_meta


def test_an_archive_says_what_it_is(tmp_path: Path) -> None:
    made = create_archive(tmp_path / "a", "huobi", 17, OsDisk(), b"\x00\x01\x02\x03\x04\x05\x06\x07")
    assert made == read_meta(tmp_path / "a", OsDisk())
    assert (made.format, made.venue, made.created_ns, made.id) == (FORMAT, "huobi", 17, "0001020304050607")
    assert sorted(path.name for path in (tmp_path / "a").iterdir()) == [
        "archive.json",
        "journal",
        "manifest",
        "parquet",
        "state",
    ]


def test_an_interrupted_creation_is_completed(tmp_path: Path) -> None:
    (tmp_path / "journal").mkdir()
    (tmp_path / "owner.lock").touch()
    (tmp_path / "archive.json.new").write_text("{")
    check_free(tmp_path, OsDisk())
    create_archive(tmp_path, "huobi", 1, OsDisk())
    assert read_meta(tmp_path, OsDisk()).venue == "huobi"


def test_every_archive_has_an_id_of_its_own(tmp_path: Path) -> None:
    ids = {create_archive(tmp_path / name, "huobi", 1, OsDisk()).id for name in "ab"}
    assert len(ids) == 2


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "no archive.json"),
        (b"", "cannot be read"),
        (b"\xff\xfe", "cannot be read"),
        (b'{"format": 1}', "venue"),
        (b'{"format": "1", "venue": "huobi", "created_ns": 1}', "format"),
    ],
)
def test_a_folder_that_is_no_archive_is_named(tmp_path: Path, content: bytes | None, said: str) -> None:
    if content is not None:
        (tmp_path / "archive.json").write_bytes(content)
    with pytest.raises(NotAnArchive, match=said) as caught:
        read_meta(tmp_path, OsDisk())
    assert caught.value.exit_code == 3


def test_a_newer_format_is_refused_whatever_else_it_says(tmp_path: Path) -> None:
    (tmp_path / "archive.json").write_bytes(b'{"format": 2, "venue": ["a"]}')
    with pytest.raises(UnknownFormat, match=r"format 2.*up to 1.*newer version") as caught:
        read_meta(tmp_path, OsDisk())
    assert (caught.value.found, caught.value.known) == (2, 1)


def test_a_folder_with_other_things_is_not_taken(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").touch()
    with pytest.raises(NotAnArchive, match=r"thesis\.tex"):
        check_free(tmp_path, OsDisk())


def test_paths() -> None:
    layout = Layout(Path("/x"))
    assert layout.segment(51) == Path("/x/journal/0000000000000051.seg")
    assert layout.table_file("trades", "huobi", "2026-11-20", "0000000000000051") == Path(
        "/x/parquet/trades/venue=huobi/date=2026-11-20/0000000000000051.parquet"
    )
    assert layout.manifest_entry("0000000000000051") == Path("/x/manifest/0000000000000051.json")
    assert layout.state_file("0000000000000051") == Path("/x/state/0000000000000051.state")
