from __future__ import annotations

from pathlib import Path

import pytest

from bookreel.storage import seal as sealing
from bookreel.storage.disk import Disk, write_all
from bookreel.storage.errors import StorageError
from tests.crash.life import STEPS, Life
from tests.crash.points import disturb, operations
from tests.crash.witness import Lost


def test_the_life_has_every_operation_and_ends_well() -> None:
    names = {operation for _, operation in operations()}
    assert names >= {
        *("make_folder", "create", "writev", "datasync", "rename", "sync_folder", "unlink"),
        *("open", "read", "names", "lock", "locked", "exchange", "remove_folder"),
    }
    life = Life()
    for _, step in STEPS:
        life.take(step)
    life.finish()
    life.verify()


def test_a_disturbance_at_any_operation_is_survived() -> None:
    # Every operation takes minutes: a stride that no period of the life divides.
    points = disturb(lambda number: number % 97 == 5, verify_every=40)
    assert points.operations.total() >= 8
    assert points.states.keys() >= {"killed", "power", "killed twice, power", "EIO", "ENOSPC"}


def commits(operation: str) -> list[int]:
    """The operations around the first segment's commit, where the order matters most."""
    life = Life()
    found: list[int] = []

    def before(name: str, path: Path) -> None:
        if name == operation and "manifest" in str(path):
            found.append(life.disk.operations - 1)

    life.disk.before = before
    for _, step in STEPS[:10]:
        life.take(step)
    return found


def test_a_segment_is_not_removed_before_its_rows_are_durable() -> None:
    first = commits("rename")[0]
    disturb(lambda number: first <= number <= first + 5, verify_every=1000)


def renamed_before_it_is_synced(disk: Disk, path: Path, content: bytes) -> None:
    temporary = path.with_name(path.name + ".new")
    disk.unlink(temporary)
    file = disk.create(temporary)
    write_all(file, [content])
    disk.rename(temporary, path)
    disk.sync_folder(path.parent)
    file.close()


def without_its_folder(disk: Disk, path: Path, content: bytes) -> None:
    temporary = path.with_name(path.name + ".new")
    disk.unlink(temporary)
    file = disk.create(temporary)
    write_all(file, [content])
    file.datasync()
    disk.rename(temporary, path)
    file.close()


def in_place(disk: Disk, path: Path, content: bytes) -> None:
    disk.unlink(path)
    file = disk.create(path)
    write_all(file, [content])
    file.datasync()
    file.close()
    disk.sync_folder(path.parent)


@pytest.mark.parametrize("write", [renamed_before_it_is_synced, without_its_folder, in_place])
def test_a_planted_bug_is_found(monkeypatch: pytest.MonkeyPatch, write: object) -> None:
    monkeypatch.setattr(sealing, "write_whole", write)
    first = commits("create")[0]
    with pytest.raises((Lost, StorageError, AssertionError)):
        disturb(lambda number: first <= number <= first + 14, verify_every=10_000, power=8)
