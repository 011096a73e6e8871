"""A disk in memory that can lose power: the storage's :class:`Disk` with every rule of loss written down.

What a program sees is the *live* side; what survives a power loss is the *durable* side plus any legal part of
what is pending between the two:

- Content: a file's bytes are durable up to its last ``datasync``. Of later appends each 512-byte sector is kept,
  lost (zeros) or garbage (noise, or what a removed file left there), and the length is that after any write or any
  whole sector, also ahead of the data. A sector's durable bytes are never harmed. An overwritten sector is old, new,
  or garbage in what was overwritten.
- Names: a create, rename, unlink or new folder is durable after ``sync_folder``. Before, each may be lost or
  not, in any order, but one that touches a name comes after the earlier ones that do. A rename is whole, and so is an
  exchange of two folders.
- A ``datasync`` that fails keeps what is pending, or drops it: the sectors are gone although they can still be
  read, and the next ``datasync`` is fine with that. That is what Linux does.

A process that is killed loses nothing that it wrote, and what was pending stays so.
"""

from __future__ import annotations

import errno
import os
import random
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from itertools import combinations, product
from operator import itemgetter
from pathlib import Path
from typing import Final, NamedTuple, TypeAlias

__all__ = ["SECTOR", "Crash", "Short", "SimDisk", "SimFile", "SimLock", "contents"]

SECTOR: Final = 512
"""Bytes that reach the disk together or not at all."""

_IOV_MAX: Final = os.sysconf("SC_IOV_MAX")


class Crash(BaseException):
    """The process dies here. ``taken``: bytes that the write it dies in still gets to the kernel."""

    def __init__(self, taken: int = 0) -> None:
        self.taken = taken
        super().__init__("the process was killed")


class Short(Exception):
    """Raised by :attr:`SimDisk.before` for a write: it takes this many bytes, at least one, and says so."""

    def __init__(self, taken: int) -> None:
        self.taken = taken
        super().__init__(f"short write of {taken} bytes")


class _Inode:
    """A file's content. ``data`` is the live side; shared between disks while it is bytes.

    ``synced``: durable length. ``ends``: lengths after each later write. ``old``: what the disk has of overwritten
    sectors, and the bounds of what was overwritten. ``gone``: what it has of sectors that were dropped. ``links``,
    ``handles``: what keeps it.
    """

    __slots__ = ("data", "ends", "gone", "handles", "links", "old", "synced")

    def __init__(self, data: bytes | bytearray, synced: int) -> None:
        self.data = data
        self.synced = synced
        self.ends: list[int] = []
        self.old: dict[int, tuple[bytes, int, int]] = {}
        self.gone: dict[int, bytes] = {}
        self.links = 0
        self.handles = 0

    @property
    def settled(self) -> bool:
        """Whether nothing of it can be lost."""
        return self.synced == len(self.data) and not self.old and not self.gone

    def share(self) -> bytes:
        """The live content, to be held by others as well."""
        if not isinstance(self.data, bytes):
            self.data = bytes(self.data)
        return self.data

    def own(self) -> bytearray:
        """The live content, to be changed."""
        if not isinstance(self.data, bytearray):
            self.data = bytearray(self.data)
        return self.data

    def append(self, content: bytes) -> None:
        data = self.own()
        if self.gone:
            self._touch(len(data) // SECTOR, 0, self.synced)
        data += content
        self.ends.append(len(data))

    def overwrite(self, offset: int, content: bytes) -> None:
        data = self.own()
        stop = offset + len(content)
        for sector in range(offset // SECTOR, (stop - 1) // SECTOR + 1):
            self._touch(sector, offset, min(stop, self.synced))
            base = sector * SECTOR
            if offset < self.synced and base < self.synced and sector not in self.old:
                before = bytes(data[base : min(base + SECTOR, self.synced)])
                self.old[sector] = (before, max(offset, base), min(stop, base + len(before)))
        data[offset:stop] = content

    def _touch(self, sector: int, low: int, high: int) -> None:
        """A sector that was dropped, or is pending already, is written to: all of it is pending now."""
        base = sector * SECTOR
        low, high = max(low, base), min(high, base + SECTOR)
        if sector in self.gone:
            self.old[sector] = (self.gone.pop(sector), base, min(base + SECTOR, self.synced))
        elif sector in self.old and low < high:
            before, first, last = self.old[sector]
            self.old[sector] = (before, min(first, low), max(last, high))

    def settle(self, size: int, old: dict[int, tuple[bytes, int, int]]) -> None:
        """Durable up to a length, and in the sectors overwritten as they were then; what came later is pending."""
        self.synced = size
        self.ends = [end for end in self.ends if end > size]
        self.old = {sector: entry for sector, entry in self.old.items() if old.get(sector) is not entry}

    def drop(self) -> None:
        """Nothing is pending any more, and nothing of it has reached the disk."""
        if len(self.data) > self.synced:
            for sector in range(self.synced // SECTOR, (len(self.data) - 1) // SECTOR + 1):
                self.gone.setdefault(sector, bytes(self.data[sector * SECTOR : self.synced]))
        self.gone.update((sector, before) for sector, (before, _, _) in self.old.items())
        self.settle(len(self.data), self.old)

    def copy(self) -> _Inode:
        twin = _Inode(self.share(), self.synced)
        twin.ends = self.ends.copy()
        twin.old = self.old.copy()
        twin.gone = self.gone.copy()
        return twin


class _Folder:
    """Names: ``live`` as programs see them, ``durable`` as they are after a power loss."""

    __slots__ = ("durable", "live")

    def __init__(self) -> None:
        self.live: dict[str, _Node] = {}
        self.durable: dict[str, _Node] = {}


_Node: TypeAlias = _Inode | _Folder
_Change: TypeAlias = tuple[tuple[_Folder, str, _Node | None], ...]
"""One pending operation: the names it sets, or removes."""


class _Tear(NamedTuple):
    """How one file comes out: its length, and for each sector that is pending 0 kept, 1 lost, 2 garbage."""

    size: int
    sectors: tuple[int, ...]


class SimFile:
    """An open file of a :class:`SimDisk`."""

    __slots__ = ("_disk", "_inode", "_path", "_writes")

    def __init__(self, disk: SimDisk, inode: _Inode, path: str, *, writes: bool) -> None:
        self._disk = disk
        self._inode: _Inode | None = inode
        self._path = path
        self._writes = writes
        inode.handles += 1

    def writev(self, buffers: Sequence[bytes | memoryview]) -> int:
        disk, inode = self._disk, self._held(writing=True)
        if len(buffers) > _IOV_MAX:
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        content = b"".join(buffers)
        try:
            disk._begin("writev", self._path)
        except Short as short:
            content = content[: max(1, short.taken)]
        except Crash as crash:
            if crash.taken and content:
                inode.append(content[: min(crash.taken, disk._room())])
            raise
        room = disk._room()
        if room < len(content):
            content = content[:room]
            if not content:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), self._path)
        if content:
            inode.append(content)
            disk._used += len(content)
        return len(content)

    def overwrite(self, offset: int, data: bytes) -> None:
        """Replaces bytes inside the file; takes no room."""
        disk, inode = self._disk, self._held(writing=True)
        assert offset >= 0 and offset + len(data) <= len(inode.data), "only what is there can be overwritten"
        try:
            disk._begin("overwrite", self._path)
        except Crash as crash:
            if crash.taken:
                inode.overwrite(offset, data[: crash.taken])
            raise
        if data:
            inode.overwrite(offset, data)

    def datasync(self) -> None:
        disk, inode = self._disk, self._held()
        # What is written while it runs, which is inside the call of `before`, is not covered.
        size, old = len(inode.data), inode.old.copy()
        try:
            disk._begin("datasync", self._path)
        except OSError:
            if disk.rng.random() < 0.5:
                inode.drop()
            raise
        inode.settle(size, old)

    def read(self, offset: int, size: int) -> bytes:
        inode = self._held(reading=True)
        self._disk._begin("read", self._path)
        return bytes(inode.data[offset : offset + size])

    def size(self) -> int:
        return len(self._held().data)

    def linked(self) -> bool:
        return self._held().links > 0

    def close(self) -> None:
        inode, self._inode = self._inode, None
        if inode is not None:
            inode.handles -= 1
            self._disk._free(inode)

    def _held(self, *, reading: bool = False, writing: bool = False) -> _Inode:
        if self._inode is None:
            raise ValueError("I/O operation on closed file")
        if (reading and self._writes) or (writing and not self._writes):
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        return self._inode


class SimLock:
    """A held lock of a :class:`SimDisk`."""

    __slots__ = ("_disk", "_inode")

    def __init__(self, disk: SimDisk, inode: _Inode) -> None:
        self._disk = disk
        self._inode: _Inode | None = inode

    def release(self) -> None:
        inode, self._inode = self._inode, None
        if inode is not None:
            self._disk._locks.discard(inode)


class SimDisk:
    """A :class:`bookreel.storage.disk.Disk` in memory, for one thread. Its root folder is ``/``.

    ``capacity``: bytes of all files, None for no end; it may be changed at any time. ``before`` is called with the
    name of each operation and its path before it takes effect, and may raise: an ``OSError`` is what the operation
    then fails with, :class:`Short` cuts a write, :class:`Crash` ends the process. ``operations`` counts these calls.
    ``rng`` decides what a failed datasync does.
    """

    def __init__(self, capacity: int | None = None) -> None:
        self.capacity = capacity
        self.before: Callable[[str, Path], None] | None = None
        self.operations = 0
        self._seed: float = 0
        self._root = _Folder()
        self._folders = {"/": self._root}
        self._pending: list[_Change] = []
        self._locks: set[_Inode] = set()
        self._stale: list[bytes] = []
        self._used = 0

    @classmethod
    def of(cls, folder: Path) -> SimDisk:
        """A disk with the content of a real folder as its root, all of it durable."""
        disk = cls()
        for path in sorted(folder.rglob("*")):
            at = "/" + path.relative_to(folder).as_posix()
            if path.is_dir():
                disk._put(at, _Folder())
            else:
                content = path.read_bytes()
                disk._put(at, _Inode(content, len(content)))
                disk._used += len(content)
        disk._commit(disk._pending)
        disk._pending = []
        return disk

    def export(self, folder: Path) -> None:
        """Writes the live content to a real folder, which stands for the root."""
        folder.mkdir(parents=True, exist_ok=True)
        for path, at in self._folders.items():
            real = folder / path[1:]
            real.mkdir(parents=True, exist_ok=True)
            for name, node in at.live.items():
                if isinstance(node, _Inode):
                    (real / name).write_bytes(node.data)

    @cached_property
    def rng(self) -> random.Random:
        """Made when it is asked for: most disks that are left by a power loss never are."""
        return random.Random(self._seed)

    def image(self) -> tuple[object, ...]:
        """Names and content of all that is there: equal for disks that nobody can tell apart by reading."""
        return _image(self._root)

    @property
    def used(self) -> int:
        """Bytes of all files that have a name or are open."""
        return self._used

    # -- the interface of Disk

    def create(self, path: Path) -> SimFile:
        at = _key(path)
        self._begin("create", at)
        folder, name = self._parent(at)
        if name in folder.live:
            raise OSError(errno.EEXIST, os.strerror(errno.EEXIST), at)
        inode = _Inode(b"", 0)
        self._put(at, inode)
        return SimFile(self, inode, at, writes=True)

    def open(self, path: Path) -> SimFile:
        at = _key(path)
        self._begin("open", at)
        return SimFile(self, self._inode(at), at, writes=False)

    def reopen(self, path: Path) -> SimFile:
        at = _key(path)
        self._begin("reopen", at)
        return SimFile(self, self._inode(at), at, writes=True)

    def names(self, folder: Path) -> list[str]:
        at = _key(folder)
        self._begin("names", at)
        try:
            return sorted(self._folder(at).live)
        except FileNotFoundError:
            return []

    def make_folder(self, folder: Path) -> None:
        at, found = "", False
        for part in _key(folder).strip("/").split("/"):
            parent, above, at = at or "/", Path(at or "/").parent, f"{at}/{part}"
            if at in self._folders:
                continue
            if not found:
                self.sync_folder(above)
                found = True
            self._begin("make_folder", at)
            if part in self._folder(parent).live:
                raise OSError(errno.EEXIST, os.strerror(errno.EEXIST), at)
            self._put(at, _Folder())
            self.sync_folder(Path(parent))
        if not found:
            self.sync_folder(Path(at).parent)

    def rename(self, old: Path, new: Path) -> None:
        source, target = _key(old), _key(new)
        self._begin("rename", source)
        from_folder, from_name = self._parent(source)
        to_folder, to_name = self._parent(target)
        inode = self._inode(source)
        replaced = to_folder.live.get(to_name)
        if isinstance(replaced, _Folder):
            raise OSError(errno.EISDIR, os.strerror(errno.EISDIR), target)
        if replaced is inode:
            return
        del from_folder.live[from_name]
        to_folder.live[to_name] = inode
        self._pending.append(((from_folder, from_name, None), (to_folder, to_name, inode)))
        if replaced is not None:
            self._unlink(replaced)

    def unlink(self, path: Path) -> None:
        at = _key(path)
        self._begin("unlink", at)
        try:
            inode = self._inode(at)
        except FileNotFoundError:
            return
        folder, name = self._parent(at)
        del folder.live[name]
        self._pending.append(((folder, name, None),))
        self._unlink(inode)

    def exchange(self, one: Path, other: Path) -> None:
        pair = _key(one), _key(other)
        self._begin("exchange", pair[0])
        nodes = [self._folder(at) for at in pair]
        (first, first_name), (second, second_name) = [self._parent(at) for at in pair]
        first.live[first_name], second.live[second_name] = nodes[1], nodes[0]
        self._pending.append(((first, first_name, nodes[1]), (second, second_name, nodes[0])))
        self._folders = _folders_of(self._root)

    def remove_folder(self, folder: Path) -> None:
        at = _key(folder)
        self._begin("remove_folder", at)
        try:
            removed = self._folder(at)
        except FileNotFoundError:
            return
        if removed.live:
            raise OSError(errno.ENOTEMPTY, os.strerror(errno.ENOTEMPTY), at)
        parent, name = self._parent(at)
        del parent.live[name]
        del self._folders[at]
        self._pending.append(((parent, name, None),))

    def sync_folder(self, folder: Path) -> None:
        at = _key(folder)
        self._begin("sync_folder", at)
        synced = self._folder(at)
        # What it depends on is durable with it: earlier changes of a name in another folder, by a rename.
        names: set[tuple[int, str]] = set()
        rest: list[_Change] = []
        done: list[_Change] = []
        for change in reversed(self._pending):
            keys = {(id(place), name) for place, name, _ in change}
            if keys & names or any(place is synced for place, _, _ in change):
                names |= keys
                done.append(change)
            else:
                rest.append(change)
        self._commit(reversed(done))
        self._pending = rest[::-1]

    def lock(self, path: Path, note: str) -> SimLock | None:
        at = _key(path)
        self._begin("lock", at)
        folder, name = self._parent(at)
        if name not in folder.live:
            self._put(at, _Inode(b"", 0))
        inode = self._inode(at)
        if inode in self._locks:
            return None
        self._locks.add(inode)
        self._used += len(note.encode()) - len(inode.data)
        inode.data, inode.synced = note.encode(), 0
        inode.ends = [len(inode.data)]
        return SimLock(self, inode)

    def locked(self, path: Path) -> bool:
        at = _key(path)
        self._begin("locked", at)
        try:
            return self._inode(at) in self._locks
        except FileNotFoundError:
            return False

    def free(self, folder: Path) -> int:
        return 1 << 40 if self.capacity is None else self._room()

    # -- what is left after the end

    def killed(self) -> SimDisk:
        """What a new process finds: all that was written, and no lock is held. What was pending still is."""
        twin = SimDisk(self.capacity)
        twins: dict[int, _Node] = {}

        def copy(node: _Node) -> _Node:
            found = twins.get(id(node))
            if found is None:
                if isinstance(node, _Inode):
                    found = twins[id(node)] = node.copy()
                else:
                    found = twins[id(node)] = _Folder()
                    found.live = {name: copy(child) for name, child in node.live.items()}
                    found.durable = {name: copy(child) for name, child in node.durable.items()}
            return found

        root = copy(self._root)
        assert isinstance(root, _Folder)
        for change in self._pending:
            moved = []
            for place, name, node in change:
                folder = copy(place)
                assert isinstance(folder, _Folder)
                moved.append((folder, name, None if node is None else copy(node)))
            twin._pending.append(tuple(moved))
        twin._adopt(root)
        twin._seed = self.rng.random()
        twin._stale = self._stale
        return twin

    def power_loss(self, rng: random.Random) -> SimDisk:
        """One legal state after a power loss."""
        applied: list[_Change] = []
        refused: set[tuple[int, str]] = set()
        mode = rng.random()
        for change in self._pending:
            keys = {(id(place), name) for place, name, _ in change}
            if mode < 0.25 or (mode < 0.75 and rng.random() < 0.5) or keys & refused:
                refused |= keys
            else:
                applied.append(change)
        return self._after(applied, lambda inode: _random_tear(inode, rng), rng)

    def power_losses(self, limit: int, rng: random.Random | None = None) -> Iterator[SimDisk]:
        """Different legal states after a power loss: all of them if they are no more than ``limit``; otherwise those
        with few deviations from all kept and from all lost, and then others at random.
        """
        rng = random.Random(0) if rng is None else rng
        orders = list(_legal_parts(self._pending, limit))
        inodes = [inode for inode in self._inodes() if not inode.settled]
        count = len(orders)
        for inode in inodes:
            count *= sum(3 ** _pending_sectors(inode, size) for size in _sizes(inode))
            if count > limit:
                break
        else:
            for applied in orders:
                there = self._files_after(applied)
                torn = [inode for inode in inodes if id(inode) in there]
                for tears in product(*(list(_all_tears(inode)) for inode in torn)):
                    chosen = dict(zip(map(id, torn), tears, strict=True))
                    yield self._after(applied, lambda inode, c=chosen: c[id(inode)], rng)  # type: ignore[misc]
            return
        seen: set[tuple[object, ...]] = set()
        plans = _plans(orders, inodes, rng, limit * 4)
        found: dict[tuple[int, ...], list[int]] = {}
        for applied, tears in plans:
            changes = tuple(map(id, applied))
            if (places := found.get(changes)) is None:
                files = self._files_after(applied)
                places = found[changes] = [index for index, inode in enumerate(inodes) if id(inode) in files]
            # How a file comes out that has no name then makes no difference.
            key = (changes, tuple([tears[index] for index in places]))
            if key in seen:
                continue
            seen.add(key)
            chosen = dict(zip(map(id, inodes), tears, strict=True))
            yield self._after(applied, lambda inode, c=chosen: c[id(inode)], rng)  # type: ignore[misc]
            if len(seen) >= limit:
                return

    def _files_after(self, applied: Sequence[_Change]) -> set[int]:
        """The files (by id) that have a name once these changes are durable."""
        names: dict[int, dict[str, _Node]] = {}
        for change in applied:
            for place, name, node in change:
                of_place = names.setdefault(id(place), place.durable.copy())
                if node is None:
                    of_place.pop(name, None)
                else:
                    of_place[name] = node
        files: set[int] = set()
        todo = [self._root]
        while todo:
            place = todo.pop()
            for node in names.get(id(place), place.durable).values():
                if isinstance(node, _Folder):
                    todo.append(node)
                else:
                    files.add(id(node))
        return files

    def _after(
        self, applied: Sequence[_Change], tear: Callable[[_Inode], _Tear], rng: random.Random
    ) -> SimDisk:
        changed: dict[int, list[tuple[str, _Node | None]]] = {}
        for change in applied:
            for place, name, node in change:
                changed.setdefault(id(place), []).append((name, node))

        def survivor(node: _Node) -> _Node:
            if isinstance(node, _Folder):
                names = node.durable
                if id(node) in changed:
                    names = names.copy()
                    for name, child in changed[id(node)]:
                        if child is None:
                            names.pop(name, None)
                        else:
                            names[name] = child
                folder = _Folder()
                folder.live = {name: survivor(child) for name, child in names.items()}
                folder.durable = folder.live.copy()
                return folder
            if node.settled:
                content = node.share()
            else:
                content = self._torn(node, tear(node), rng)
            return _Inode(content, len(content))

        twin = SimDisk(self.capacity)
        root = survivor(self._root)
        assert isinstance(root, _Folder)
        twin._adopt(root)
        twin._seed = rng.random()
        twin._stale = self._stale
        return twin

    def _torn(self, inode: _Inode, tear: _Tear, rng: random.Random) -> bytes:
        """The content of a file after a power loss."""
        content = bytearray(inode.data[: tear.size])
        for sector, before in inode.gone.items():
            base = sector * SECTOR
            content[base : base + SECTOR] = before.ljust(min(SECTOR, inode.synced - base), b"\0")
        for sector, fate in zip(_pending_range(inode, tear.size), tear.sectors, strict=True):
            if fate == 0:
                continue
            base = sector * SECTOR
            if sector in inode.old:
                before, first, last = inode.old[sector]
                known = min(SECTOR, inode.synced - base)
                content[base : base + known] = before.ljust(known, b"\0")
                if fate == 2:
                    content[first:last] = self._garbage(last - first, rng)
            low, high = max(base, inode.synced), min(base + SECTOR, tear.size)
            if low < high:
                content[low:high] = bytes(high - low) if fate == 1 else self._garbage(high - low, rng)
        return bytes(content)

    def _garbage(self, size: int, rng: random.Random) -> bytes:
        """Noise, or sectors of a removed file."""
        if self._stale and rng.random() < 0.5:
            source = rng.choice(self._stale)
            at = rng.randrange(0, len(source), SECTOR)
            return source[at : at + size].ljust(size, b"\0")
        return rng.randbytes(size)

    # -- inside

    def _begin(self, operation: str, at: str) -> None:
        self.operations += 1
        if self.before is not None:
            self.before(operation, Path(at))

    def _room(self) -> int:
        return 1 << 62 if self.capacity is None else max(0, self.capacity - self._used)

    def _put(self, at: str, node: _Node) -> None:
        folder, name = self._parent(at)
        folder.live[name] = node
        if isinstance(node, _Folder):
            self._folders[at] = node
        else:
            node.links += 1
        self._pending.append(((folder, name, node),))

    def _unlink(self, inode: _Inode) -> None:
        inode.links -= 1
        self._free(inode)

    def _free(self, inode: _Inode) -> None:
        """Gives the room back of a file without name and handle."""
        if inode.links == 0 and inode.handles == 0:
            self._used -= len(inode.data)
            if inode.data:
                self._stale = [*self._stale[-7:], bytes(inode.data)]

    def _adopt(self, root: _Folder) -> None:
        """Takes a tree as the disk's own, and counts its files."""
        self._root = root
        self._folders = _folders_of(root)
        for folder in self._folders.values():
            for node in folder.live.values():
                if isinstance(node, _Inode):
                    node.links += 1
                    self._used += len(node.data)

    def _commit(self, changes: Iterator[_Change] | Sequence[_Change]) -> None:
        for change in changes:
            for folder, name, node in change:
                if node is None:
                    folder.durable.pop(name, None)
                else:
                    folder.durable[name] = node

    def _folder(self, at: str) -> _Folder:
        folder = self._folders.get(at)
        if folder is None:
            parent, _, name = at.rpartition("/")
            above = self._folder(parent or "/")
            code = errno.ENOENT if name not in above.live else errno.ENOTDIR
            raise OSError(code, os.strerror(code), at)
        return folder

    def _parent(self, at: str) -> tuple[_Folder, str]:
        parent, _, name = at.rpartition("/")
        return self._folder(parent or "/"), name

    def _inode(self, at: str) -> _Inode:
        folder, name = self._parent(at)
        node = folder.live.get(name)
        if isinstance(node, _Inode):
            return node
        code = errno.ENOENT if node is None else errno.EISDIR
        raise OSError(code, os.strerror(code), at)

    def _inodes(self) -> list[_Inode]:
        """Every file that a power loss may leave, in a fixed order."""
        found: dict[int, _Inode] = {}
        nodes: list[_Node] = [self._root]
        nodes += [node for change in self._pending for _, _, node in change if node is not None]
        seen: set[int] = set()
        while nodes:
            node = nodes.pop()
            if isinstance(node, _Inode):
                found[id(node)] = node
            elif id(node) not in seen:
                seen.add(id(node))
                nodes += node.durable.values()
        return list(found.values())


def _image(folder: _Folder) -> tuple[object, ...]:
    return tuple(
        (name, node.share() if isinstance(node, _Inode) else _image(node))
        for name, node in sorted(folder.live.items(), key=itemgetter(0))
    )


def _folders_of(root: _Folder) -> dict[str, _Folder]:
    """Every folder by its path."""
    found = {"/": root}
    todo = [("", root)]
    while todo:
        path, folder = todo.pop()
        for name, node in folder.live.items():
            if isinstance(node, _Folder):
                found[f"{path}/{name}"] = node
                todo.append((f"{path}/{name}", node))
    return found


def _key(path: Path) -> str:
    at = str(path)
    return at if at.startswith("/") else "/" + at


# -- what may be left of a file


def _sizes(inode: _Inode) -> list[int]:
    """The lengths that a file may have."""
    size = len(inode.data)
    whole = range((inode.synced // SECTOR + 1) * SECTOR, size, SECTOR)
    return sorted({inode.synced, *inode.ends, *whole, size})


def _pending_range(inode: _Inode, size: int) -> list[int]:
    """The sectors below a length whose fate is open."""
    sectors = set(inode.old)
    if size > inode.synced:
        sectors.update(range(inode.synced // SECTOR, (size - 1) // SECTOR + 1))
    return sorted(sector for sector in sectors if sector * SECTOR < size)


def _pending_sectors(inode: _Inode, size: int) -> int:
    return len(_pending_range(inode, size))


def _all_tears(inode: _Inode) -> Iterator[_Tear]:
    for size in _sizes(inode):
        for sectors in product((0, 1, 2), repeat=_pending_sectors(inode, size)):
            yield _Tear(size, sectors)


def _random_tear(inode: _Inode, rng: random.Random) -> _Tear:
    size = rng.choice(_sizes(inode))
    count = _pending_sectors(inode, size)
    mode = rng.random()
    if mode < 0.2:
        return _Tear(size, (int(mode * 15),) * count)
    return _Tear(size, tuple(rng.choices((0, 1, 2), k=count)))


def _legal_parts(pending: Sequence[_Change], limit: int) -> Iterator[list[_Change]]:
    """The sets of pending changes that may be durable together, all kept first, then all lost."""
    yield list(pending)
    if not pending:
        return
    yield []
    given = 2
    for count in range(1, len(pending)):
        for left_out in combinations(range(len(pending)), count):
            refused: set[tuple[int, str]] = set()
            legal = True
            for index, change in enumerate(pending):
                keys = {(id(place), name) for place, name, _ in change}
                if index in left_out:
                    refused |= keys
                elif keys & refused:
                    legal = False
                    break
            if legal:
                yield [change for index, change in enumerate(pending) if index not in left_out]
                given += 1
                if given >= limit:
                    return


def _plans(
    orders: list[list[_Change]], inodes: list[_Inode], rng: random.Random, tries: int
) -> Iterator[tuple[list[_Change], tuple[_Tear, ...]]]:
    """Which changes and which tears, the telling ones first."""
    whole = [_Tear(len(inode.data), (0,) * _pending_sectors(inode, len(inode.data))) for inode in inodes]
    least = [_Tear(inode.synced, (1,) * _pending_sectors(inode, inode.synced)) for inode in inodes]
    for base in (whole, least):
        for applied in orders:
            yield applied, tuple(base)
            for index, inode in enumerate(inodes):
                for size in _sizes(inode):
                    count = _pending_sectors(inode, size)
                    for fate in (0, 1, 2):
                        yield applied, (*base[:index], _Tear(size, (fate,) * count), *base[index + 1 :])
                    for sector in range(count):
                        for fate in (1, 2):
                            fates = tuple(fate if at == sector else 0 for at in range(count))
                            yield applied, (*base[:index], _Tear(size, fates), *base[index + 1 :])
    for _ in range(tries):
        yield rng.choice(orders), tuple(_random_tear(inode, rng) for inode in inodes)


def contents(disk: SimDisk, *folders: Path) -> dict[str, bytes]:
    """Every file below these folders, or of the whole disk, by its path."""
    found: dict[str, bytes] = {}
    todo = list(folders or [Path("/")])
    while todo:
        folder = todo.pop()
        for name in disk.names(folder):
            try:
                file = disk.open(folder / name)
            except IsADirectoryError:
                todo.append(folder / name)
                continue
            found[str(folder / name)] = file.read(0, file.size())
            file.close()
    return found
