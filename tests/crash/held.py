"""A real disk whose calls take as long as a test says: a slow one, without waiting for time to pass."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bookreel.storage.disk import File, OsDisk

__all__ = ["HeldDisk"]


class HeldDisk(OsDisk):
    """Once :attr:`hold` names a call, whoever makes it waits until :meth:`release`."""

    def __init__(self) -> None:
        self.hold = ""
        self.held = threading.Event()
        self._go = threading.Event()

    def release(self) -> None:
        self.hold = ""
        self._go.set()

    def met(self, call: str) -> None:
        if self.hold in (call, "all"):
            self.held.set()
            self._go.wait()

    def create(self, path: Path) -> File:
        self.met("create")
        return HeldFile(super().create(path), self)

    def rename(self, old: Path, new: Path) -> None:
        self.met("rename")
        super().rename(old, new)

    def unlink(self, path: Path) -> None:
        self.met("unlink")
        super().unlink(path)

    def sync_folder(self, folder: Path) -> None:
        self.met("sync_folder")
        super().sync_folder(folder)

    def free(self, folder: Path) -> int:
        self.met("free")
        return super().free(folder)


class HeldFile:
    def __init__(self, file: File, disk: HeldDisk) -> None:
        self._file = file
        self._disk = disk

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)

    def writev(self, buffers: Sequence[bytes | memoryview]) -> int:
        self._disk.met("writev")
        return self._file.writev(buffers)

    def datasync(self) -> None:
        self._disk.met("datasync")
        self._file.datasync()

    def close(self) -> None:
        self._disk.met("close")
        self._file.close()
