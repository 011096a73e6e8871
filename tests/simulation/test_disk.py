from __future__ import annotations

import errno
import random
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from bookreel.storage.disk import Disk, File, Lock, OsDisk, write_all, write_whole
from tests.simulation.disk import SECTOR, Crash, Short, SimDisk, SimFile, contents

PATHS = st.sampled_from(["a", "b", "f/a", "f/b", "f/g/c", "f", "f/g", "missing/x"])


class SameAsTheSystem(RuleBasedStateMachine):
    """Whatever is done to both disks, they answer alike and hold the same."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.sides: list[tuple[Disk, Path]] = [(OsDisk(), self.folder / "d"), (SimDisk(), Path("/d"))]
        for disk, root in self.sides:
            disk.make_folder(root)
        self.files: list[list[File]] = []
        self.locks: list[list[Lock]] = []

    def teardown(self) -> None:
        for file in self.files:
            file[0].close()
        for lock in self.locks:
            lock[0].release()
        shutil.rmtree(self.folder)

    def both(self, call: Callable[[Disk, Path], Any]) -> list[Any]:
        """The two results; an error counts by its kind."""
        results = []
        for disk, root in self.sides:
            try:
                results.append(call(disk, root))
            except (OSError, ValueError) as error:
                results.append((type(error), getattr(error, "errno", None)))
        return results

    def same(self, call: Callable[[Disk, Path], Any]) -> None:
        real, simulated = self.both(call)
        assert real == simulated

    def keep(self, call: Callable[[Disk, Path], Any], kept: list[list[Any]]) -> None:
        real, simulated = self.both(call)
        if isinstance(real, tuple) or real is None:
            assert real == simulated
        else:
            assert not isinstance(simulated, tuple)
            kept.append([real, simulated])

    @rule(path=PATHS)
    def create(self, path: str) -> None:
        self.keep(lambda disk, root: disk.create(root / path), self.files)

    @rule(path=PATHS)
    def open(self, path: str) -> None:
        self.keep(lambda disk, root: disk.open(root / path), self.files)

    def each(self, index: int, call: Callable[[File], Any]) -> None:
        if self.files:
            pair = self.files[index % len(self.files)]
            self.same(lambda disk, root: call(pair[isinstance(disk, SimDisk)]))

    @rule(index=st.integers(0, 9), content=st.lists(st.binary(max_size=700), max_size=3))
    def write(self, index: int, content: list[bytes]) -> None:
        self.each(index, lambda file: file.writev(content))

    @rule(index=st.integers(0, 9), offset=st.integers(0, 900), size=st.integers(0, 900))
    def read(self, index: int, offset: int, size: int) -> None:
        self.each(index, lambda file: file.read(offset, size))

    @rule(index=st.integers(0, 9), close=st.booleans())
    def look(self, index: int, close: bool) -> None:
        self.each(index, lambda file: (file.size(), file.linked()))
        self.each(index, lambda file: file.datasync())
        if close:
            self.each(index, lambda file: file.close())

    @rule(old=PATHS.filter(lambda path: path not in ("f", "f/g")), new=PATHS)
    def rename(self, old: str, new: str) -> None:
        self.same(lambda disk, root: disk.rename(root / old, root / new))

    @rule(path=PATHS)
    def unlink(self, path: str) -> None:
        self.same(lambda disk, root: disk.unlink(root / path))

    @rule(pair=st.sampled_from([("f", "h"), ("f/g", "h"), ("h", "f")]))
    def exchange(self, pair: tuple[str, str]) -> None:
        _, root = self.sides[0]
        if all((root / path).is_dir() for path in pair):
            self.same(lambda disk, root: disk.exchange(root / pair[0], root / pair[1]))

    @rule(path=st.sampled_from(["f/g", "h", "f"]))
    def remove_folder(self, path: str) -> None:
        self.same(lambda disk, root: disk.remove_folder(root / path))

    @rule(path=st.sampled_from(["f", "f/g", "h"]))
    def folders(self, path: str) -> None:
        self.same(lambda disk, root: disk.make_folder(root / path))

    @rule(path=PATHS)
    def sync(self, path: str) -> None:
        self.same(lambda disk, root: disk.sync_folder(root / path))

    @rule(path=PATHS)
    def names(self, path: str) -> None:
        self.same(lambda disk, root: disk.names(root / path))

    @rule(index=st.integers(0, 9))
    def release(self, index: int) -> None:
        if self.locks:
            for lock in self.locks[index % len(self.locks)]:
                lock.release()

    @rule(path=st.sampled_from(["lock", "f/lock"]), note=st.text("xyz", max_size=9))
    def lock(self, path: str, note: str) -> None:
        self.same(lambda disk, root: disk.locked(root / path))
        self.keep(lambda disk, root: disk.lock(root / path, note), self.locks)
        self.same(lambda disk, root: disk.locked(root / path))

    @invariant()
    def hold_the_same(self) -> None:
        if not hasattr(self, "sides"):
            return
        simulated = self.sides[1][0]
        assert isinstance(simulated, SimDisk)
        with tempfile.TemporaryDirectory() as copy:
            simulated.export(Path(copy))
            assert tree(Path(copy) / "d") == tree(self.folder / "d")
            assert simulated.killed().used <= simulated.used


TestSameAsTheSystem = SameAsTheSystem.TestCase
TestSameAsTheSystem.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)


def tree(folder: Path) -> dict[str, bytes | None]:
    return {
        path.relative_to(folder).as_posix(): None if path.is_dir() else path.read_bytes()
        for path in folder.rglob("*")
    }


def outcomes(disk: SimDisk, limit: int = 3000) -> set[tuple[tuple[str, bytes], ...]]:
    """What may be there after a power loss; the random states are among the enumerated ones."""
    every = {tuple(sorted(contents(state).items())) for state in disk.power_losses(limit)}
    rng = random.Random(1)
    for _ in range(100):
        files = contents(disk.power_loss(rng))
        shapes = {tuple((path, len(content)) for path, content in state) for state in every}
        assert tuple((path, len(content)) for path, content in sorted(files.items())) in shapes
    return every


def written(disk: SimDisk, path: str, content: bytes, *, sync: bool = False) -> SimFile:
    file = disk.create(Path(path))
    write_all(file, [content])
    if sync:
        file.datasync()
    return file


# -- names


def test_a_name_is_durable_only_with_its_folder() -> None:
    disk = SimDisk()
    written(disk, "/a", b"x", sync=True)
    assert outcomes(disk) == {(), (("/a", b"x"),)}
    disk.sync_folder(Path("/"))
    assert outcomes(disk) == {(("/a", b"x"),)}


def test_a_rename_is_whole_and_comes_after_the_create() -> None:
    disk = SimDisk()
    written(disk, "/a", b"old", sync=True)
    disk.sync_folder(Path("/"))
    written(disk, "/a.new", b"new", sync=True)
    disk.rename(Path("/a.new"), Path("/a"))
    assert outcomes(disk) == {
        (("/a", b"old"),),
        (("/a", b"old"), ("/a.new", b"new")),
        (("/a", b"new"),),
    }


def test_an_exchange_is_whole() -> None:
    disk = SimDisk()
    for folder in ("/x", "/y"):
        disk.make_folder(Path(folder))
        written(disk, f"{folder}/{folder[1]}", folder.encode(), sync=True)
        disk.sync_folder(Path(folder))
    disk.sync_folder(Path("/"))
    before, after = (("/x/x", b"/x"), ("/y/y", b"/y")), (("/x/y", b"/y"), ("/y/x", b"/x"))
    disk.exchange(Path("/x"), Path("/y"))
    assert outcomes(disk) == {before, after}
    assert disk.killed().names(Path("/x")) == ["y"]
    disk.unlink(Path("/y/x"))
    disk.sync_folder(Path("/y"))
    assert disk.names(Path("/y")) == []
    disk.sync_folder(Path("/"))
    assert outcomes(disk) == {(after[0],)}


def test_a_removed_folder_is_gone_once_its_parent_is_synced() -> None:
    disk = SimDisk()
    disk.make_folder(Path("/x"))
    disk.remove_folder(Path("/nothing"))
    disk.remove_folder(Path("/x"))
    assert "x" not in disk.names(Path("/"))
    assert {tuple(state.names(Path("/"))) for state in disk.power_losses(9)} == {("x",), ()}
    disk.sync_folder(Path("/"))
    assert {tuple(state.names(Path("/"))) for state in disk.power_losses(9)} == {()}


def test_names_that_have_nothing_to_do_with_each_other_come_in_any_order() -> None:
    disk = SimDisk()
    for name in "ab":
        written(disk, f"/{name}", b"1", sync=True)
    disk.sync_folder(Path("/"))
    disk.unlink(Path("/a"))
    disk.rename(Path("/b"), Path("/c"))
    states = outcomes(disk)
    assert {tuple(path for path, _ in state) for state in states} == {
        ("/a", "/b"),
        ("/b",),
        ("/a", "/c"),
        ("/c",),
    }


def test_syncing_one_folder_leaves_the_others_pending() -> None:
    disk = SimDisk()
    for folder in ("/x", "/y"):
        disk.make_folder(Path(folder))
        written(disk, folder + "/a", b"1", sync=True)
    disk.sync_folder(Path("/y"))
    assert outcomes(disk) == {(("/y/a", b"1"),), (("/x/a", b"1"), ("/y/a", b"1"))}


def test_a_folder_that_is_lost_takes_everything_in_it() -> None:
    disk = SimDisk()
    seen: list[str] = []

    def die(operation: str, path: Path) -> None:
        seen.append(operation)
        if operation == "sync_folder" and "make_folder" in seen:
            raise Crash

    disk.before = die
    with pytest.raises(Crash):
        disk.make_folder(Path("/x"))
    after = disk.killed()
    written(after, "/x/a", b"1", sync=True)
    after.sync_folder(Path("/x"))
    # What the killed process left pending still is.
    assert outcomes(after) == {(), (("/x/a", b"1"),)}
    after.make_folder(Path("/x"))
    assert outcomes(after) == {(("/x/a", b"1"),)}


# -- content


def test_a_file_is_durable_up_to_its_last_sync() -> None:
    disk = SimDisk()
    file = written(disk, "/a", b"safe", sync=True)
    disk.sync_folder(Path("/"))
    write_all(file, [b"later"])
    states = {dict(state)["/a"] for state in outcomes(disk)}
    assert {b"safe", b"safelater", b"safe" + bytes(5)} < states
    assert len(states) == 4, "and garbage"
    assert all(content.startswith(b"safe") for content in states)


def test_the_length_may_be_ahead_of_the_data_by_whole_writes_and_sectors() -> None:
    disk = SimDisk()
    file = disk.create(Path("/a"))
    disk.sync_folder(Path("/"))
    write_all(file, [b"x" * 100])
    write_all(file, [b"y" * (SECTOR + 10)])
    states = {dict(state)["/a"] for state in outcomes(disk)}
    assert {len(content) for content in states} == {0, 100, SECTOR, SECTOR + 110}
    assert bytes(SECTOR + 110) in states
    assert bytes(SECTOR) + b"y" * 110 in states, "sectors come in any order"


def test_an_overwritten_sector_is_old_new_or_garbage_where_it_was_overwritten() -> None:
    disk = SimDisk()
    file = written(disk, "/a", b"o" * (2 * SECTOR), sync=True)
    disk.sync_folder(Path("/"))
    file.overwrite(SECTOR - 2, b"nnnn")
    states = {dict(state)["/a"] for state in outcomes(disk)}
    assert len(states) == 9
    assert all(len(content) == 2 * SECTOR for content in states)
    changed = {content[SECTOR - 2 : SECTOR + 2] for content in states}
    assert {b"oooo", b"nnoo", b"oonn", b"nnnn"} < changed
    assert all(set(content[: SECTOR - 2] + content[SECTOR + 2 :]) == {ord("o")} for content in states)
    file.datasync()
    assert {dict(state)["/a"] for state in outcomes(disk)} == {
        b"o" * (SECTOR - 2) + b"nnnn" + b"o" * (SECTOR - 2)
    }


def test_garbage_can_be_what_a_removed_file_left() -> None:
    disk = SimDisk()
    written(disk, "/old", b"s" * SECTOR, sync=True).close()
    disk.unlink(Path("/old"))
    file = disk.create(Path("/a"))
    disk.sync_folder(Path("/"))
    write_all(file, [b"n" * SECTOR])
    rng = random.Random(0)
    assert b"s" * SECTOR in {contents(disk.power_loss(rng)).get("/a") for _ in range(200)}


@pytest.mark.parametrize("again", [b"", b"more"])
def test_a_failed_sync_may_drop_what_was_pending_and_the_next_one_is_fine(again: bytes) -> None:
    seen = set()
    for seed in range(20):
        disk = SimDisk()
        disk.rng.seed(seed)
        file = written(disk, "/a", b"safe", sync=True)
        disk.sync_folder(Path("/"))
        write_all(file, [b"x" * SECTOR])
        disk.before = fail("datasync", errno.EIO)
        with pytest.raises(OSError, match="injected"):
            file.datasync()
        disk.before = None
        assert contents(disk)["/a"] == b"safe" + b"x" * SECTOR, "it can still be read"
        write_all(file, [again])
        file.datasync()
        (state,) = outcomes(disk)
        seen.add(dict(state)["/a"])
    kept = b"safe" + b"x" * SECTOR + again
    # The last sector is written again, whole, with what came after.
    lost = b"safe" + bytes(SECTOR - 4) + (b"xxxx" if again else bytes(4)) + again
    assert seen == {kept, lost}


def test_what_is_written_during_a_sync_is_not_covered_by_it() -> None:
    disk = SimDisk()
    file = written(disk, "/a", b"1")
    disk.sync_folder(Path("/"))

    def meanwhile(operation: str, path: Path) -> None:
        disk.before = None
        write_all(file, [b"2"])

    disk.before = meanwhile
    file.datasync()
    states = {dict(state)["/a"] for state in outcomes(disk)}
    assert {b"1", b"12"} < states
    assert all(content.startswith(b"1") for content in states)


# -- what a program is told


def fail(operation: str, code: int) -> Callable[[str, Path], None]:
    def before(name: str, path: Path) -> None:
        if name == operation:
            raise OSError(code, "injected")

    return before


def test_a_full_disk_takes_what_fits_and_then_nothing() -> None:
    disk = SimDisk(capacity=10)
    file = disk.create(Path("/a"))
    assert file.writev([b"1234", b"5678"]) == 8
    assert file.writev([b"9abc"]) == 2
    with pytest.raises(OSError, match="No space") as caught:
        file.writev([b"b"])
    assert caught.value.errno == errno.ENOSPC
    file.overwrite(0, b"overwriting takes"[:10])
    disk.unlink(Path("/a"))
    assert disk.used == 10, "an open file keeps its room"
    file.close()
    assert disk.used == 0
    disk.capacity = 11
    write_whole(disk, Path("/b"), b"x" * 11)
    disk.capacity = None
    write_whole(disk, Path("/b"), b"x" * 20)
    assert disk.used == 20


def test_an_operation_can_be_made_to_fail_before_it_does_anything() -> None:
    disk = SimDisk()
    file = disk.create(Path("/a"))
    disk.before = fail("writev", errno.EIO)
    with pytest.raises(OSError, match="injected"):
        file.writev([b"x"])
    disk.before = fail("rename", errno.EIO)
    with pytest.raises(OSError, match="injected"):
        disk.rename(Path("/a"), Path("/b"))
    disk.before = None
    assert contents(disk) == {"/a": b""}


def test_a_write_can_be_cut_and_can_die_half_way() -> None:
    disk = SimDisk()
    file = disk.create(Path("/a"))

    def cut(operation: str, path: Path) -> None:
        raise Short(3)

    disk.before = cut
    assert file.writev([b"ab", b"cd"]) == 3
    with pytest.raises(Crash):
        disk.before = dying(2)
        file.writev([b"xyz"])
    assert contents(disk.killed()) == {"/a": b"abcxy"}


def dying(taken: int) -> Callable[[str, Path], None]:
    def before(operation: str, path: Path) -> None:
        raise Crash(taken)

    return before


def test_the_dead_hold_no_lock_and_change_nothing() -> None:
    disk = SimDisk()
    assert disk.lock(Path("/lock"), "first") is not None
    assert disk.lock(Path("/lock"), "second") is None
    after = disk.killed()
    assert not after.locked(Path("/lock"))
    assert after.lock(Path("/lock"), "second") is not None
    after.unlink(Path("/lock"))
    assert disk.locked(Path("/lock"))
    assert contents(disk) == {"/lock": b"first"}


def test_operations_are_counted_and_named() -> None:
    disk = SimDisk()
    seen: list[tuple[str, str]] = []
    disk.before = lambda operation, path: seen.append((operation, str(path)))
    disk.make_folder(Path("/x/y"))
    write_whole(disk, Path("/x/y/a"), b"1")
    assert seen == [
        ("sync_folder", "/"),
        ("make_folder", "/x"),
        ("sync_folder", "/"),
        ("make_folder", "/x/y"),
        ("sync_folder", "/x"),
        ("unlink", "/x/y/a.new"),
        ("create", "/x/y/a.new"),
        ("writev", "/x/y/a.new"),
        ("datasync", "/x/y/a.new"),
        ("rename", "/x/y/a.new"),
        ("sync_folder", "/x/y"),
    ]
    assert disk.operations == len(seen)


def test_enumeration_gives_different_states_within_its_limit() -> None:
    disk = SimDisk()
    file = disk.create(Path("/a"))
    disk.sync_folder(Path("/"))
    write_all(file, [bytes(range(1, 256)) * 20])
    states = [contents(state)["/a"] for state in disk.power_losses(500)]
    assert len(states) == 500
    assert len(set(states)) > 400
    assert b"" in states
    assert bytes(range(1, 256)) * 20 in states


def test_a_folder_is_read_in_and_written_out(tmp_path: Path) -> None:
    (tmp_path / "in" / "x").mkdir(parents=True)
    (tmp_path / "in" / "x" / "a").write_bytes(b"1")
    disk = SimDisk.of(tmp_path / "in")
    assert disk.used == 1
    assert outcomes(disk) == {(("/x/a", b"1"),)}
    disk.export(tmp_path / "out")
    assert tree(tmp_path / "in") == tree(tmp_path / "out")
