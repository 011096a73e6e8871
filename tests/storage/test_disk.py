from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bookreel.storage.disk import OsDisk, advance, is_full, write_all, write_whole
from tests.simulation.disk import SimDisk


def test_a_file_is_never_opened_for_writing_twice(tmp_path: Path) -> None:
    disk = OsDisk()
    file = disk.create(tmp_path / "a")
    write_all(file, [b"one", b"two"])
    file.close()
    with pytest.raises(FileExistsError):
        disk.create(tmp_path / "a")
    reader = disk.open(tmp_path / "a")
    assert (reader.read(2, 3), reader.read(4, 100), reader.read(9, 1)) == (b"etw", b"wo", b"")
    reader.close()


def test_an_open_file_is_read_to_its_end_after_it_was_removed(tmp_path: Path) -> None:
    disk = OsDisk()
    write_whole(disk, tmp_path / "a", b"old")
    reader = disk.open(tmp_path / "a")
    assert reader.linked()
    write_whole(disk, tmp_path / "a", b"newer")
    assert not reader.linked()
    assert reader.read(0, 10) == b"old"
    reader.close()
    disk.unlink(tmp_path / "a")
    disk.unlink(tmp_path / "a")
    assert disk.names(tmp_path) == []
    assert disk.names(tmp_path / "nothing") == []


def test_a_symbolic_link_is_not_written_through(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "target")
    with pytest.raises(OSError, match=r"exists|symbolic"):
        OsDisk().create(tmp_path / "link")
    with pytest.raises(OSError, match="symbolic"):
        OsDisk().lock(tmp_path / "link", "")
    assert not (tmp_path / "target").exists()


@given(st.lists(st.binary(min_size=1, max_size=9), max_size=6), st.data())
def test_advance_drops_what_was_taken(buffers: list[bytes], data: st.DataObject) -> None:
    whole = b"".join(buffers)
    taken = data.draw(st.integers(0, len(whole)))
    todo: list[bytes | memoryview] = list(buffers)
    advance(todo, taken)
    assert b"".join(todo) == whole[taken:]


def test_a_lock_has_one_holder_and_a_note(tmp_path: Path) -> None:
    disk = OsDisk()
    path = tmp_path / "lock"
    assert not disk.locked(path)
    held = disk.lock(path, "a longer note")
    assert held is not None
    assert disk.locked(path)
    assert disk.lock(path, "mine") is None
    assert path.read_text() == "a longer note"
    held.release()
    held.release()
    assert not disk.locked(path)
    again = disk.lock(path, "next")
    assert again is not None
    assert path.read_text() == "next"
    again.release()


def test_a_killed_holder_gives_the_lock_back(tmp_path: Path) -> None:
    disk = OsDisk()
    read_end, write_end = os.pipe()
    child = os.fork()
    if child == 0:
        disk.lock(tmp_path / "lock", "child")
        os.write(write_end, b"!")
        signal.pause()
    assert os.read(read_end, 1) == b"!"
    assert disk.lock(tmp_path / "lock", "parent") is None
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    held = disk.lock(tmp_path / "lock", "parent")
    assert held is not None
    held.release()
    os.close(read_end)
    os.close(write_end)


def test_overwriting_leaves_the_rest(tmp_path: Path) -> None:
    disk = OsDisk()
    path = tmp_path / "f"
    file = disk.create(path)
    write_all(file, [b"0123456789"])
    file.overwrite(2, b"ab")
    file.datasync()
    file.close()
    assert path.read_bytes() == b"01ab456789"
    again = disk.reopen(path)
    again.overwrite(8, b"cd")
    again.close()
    assert path.read_bytes() == b"01ab4567cd"


def test_a_file_that_could_not_be_written_is_not_left_behind() -> None:
    disk = SimDisk(capacity=5)
    with pytest.raises(OSError, match="No space") as caught:
        write_whole(disk, Path("/f"), b"content")
    assert is_full(caught.value)
    assert (disk.names(Path("/")), disk.used) == ([], 0)
