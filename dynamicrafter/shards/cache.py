"""Blocks of remote files on the local disk: bounded, least recently used ones go first.

Any number of processes may share a cache folder: a block is written and room is made for it under
one lock, so the bound holds at every moment; reading takes no lock. A block is named by what it
holds and is never changed. Nothing is flushed to the disk: a block that a power cut tore is found
by the digests of the samples in it, dropped and fetched again.
"""

import contextlib
import errno
import os
from collections.abc import Iterator
from pathlib import Path

import filelock

from dynamicrafter.errors import InputError, MachineError

_LOCK, _USED, _PARTIAL = ".lock", ".used", ".partial"
_ROOM = 16  # a sixteenth of the bound is freed at once, so that the folder is seldom listed


class BlockCache:
    """A folder of named blocks that never takes more than a number of bytes."""

    def __init__(self, folder: str | os.PathLike[str], limit: int):
        """Keep at most `limit` bytes in `folder`, which is made when it is first needed."""
        self.folder, self.limit = Path(folder), limit

    def get(self, name: str) -> bytes | None:
        """The block, which counts as used now, or None."""
        path = self.folder / name
        try:
            data = path.read_bytes()
        except OSError:  # never written, gone since, somebody else's: it will be fetched
            return None
        with contextlib.suppress(OSError):  # gone since, somebody else's
            os.utime(path)
        return data

    def put(self, name: str, data: bytes) -> None:
        """Keep a block, if the bound lets it in at all.

        Raises:
            MachineError: the disk is full.
            InputError: the folder cannot be written.
        """
        if len(data) > self.limit:
            return
        with self._locked():
            if (self.folder / name).exists():
                return
            used = self._used()
            if used + len(data) > self.limit:
                used = self._make_room(len(data))
            # counted before it is there: whoever is killed in between leaves a count too high
            (self.folder / _USED).write_text(str(used + len(data)))
            self._write(name, data)

    def drop(self, name: str) -> bool:
        """Forget a block; returns whether it was there."""
        try:
            (self.folder / name).unlink()
        except FileNotFoundError:
            return False
        return True

    def _used(self) -> int:
        """Bytes of all blocks, or somewhat more."""
        try:
            return int((self.folder / _USED).read_text())
        except (FileNotFoundError, ValueError):  # a new folder, or a count that was cut off
            return sum(size for _, size, _ in self._blocks())

    def _make_room(self, size: int) -> int:
        """Remove the blocks that were not used for longest; returns the bytes that are left."""
        blocks = sorted(self._blocks())
        used = sum(size for _, size, _ in blocks)
        for _, own, path in blocks:
            if used <= self.limit - max(size, self.limit // _ROOM):
                break
            path.unlink(missing_ok=True)
            used -= own
        return used

    def _blocks(self) -> Iterator[tuple[int, int, Path]]:
        """(time of last use, bytes, path) of each block."""
        with os.scandir(self.folder) as entries:
            for entry in entries:
                if entry.name.endswith(_PARTIAL):  # of a process that died: we hold the lock
                    os.unlink(entry.path)
                elif not entry.name.startswith("."):
                    with contextlib.suppress(FileNotFoundError):  # dropped meanwhile
                        status = entry.stat()
                        yield status.st_mtime_ns, status.st_size, Path(entry.path)

    def _write(self, name: str, data: bytes) -> None:
        partial = self.folder / f"{name}{_PARTIAL}"
        try:
            partial.write_bytes(data)
            os.replace(partial, self.folder / name)
        finally:
            partial.unlink(missing_ok=True)

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with filelock.FileLock(self.folder / _LOCK):
                yield
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise MachineError(
                    f"the disk of the cache {self.folder} is full; free some space, set "
                    "cache.folder to another disk or lower cache.gigabytes"
                ) from None
            raise InputError(
                f"the cache {self.folder} cannot be used: {error.strerror or error}; "
                "set cache.folder to a folder of yours"
            ) from None
