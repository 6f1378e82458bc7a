"""Where the files of a shard folder lie: in a local folder, or in a store that fsspec reaches.

    open_store("data/train", cache=None)
    open_store("s3://bucket/train", BlockCache("/scratch/cache", 20 * 10**9))

A place with `://` in it is a store: s3, gs, hf, memory and whatever else fsspec has a package for;
`file:///mnt/slow` reads a mounted folder through the cache. Neither kind holds an open file or
connection when it is pickled.
"""

import functools
import hashlib
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from dynamicrafter.errors import InputError, MachineError
from dynamicrafter.files import sha256_bytes, sha256_file
from dynamicrafter.shards.cache import BlockCache

BLOCK_BYTES = 4 * 2**20  # what is fetched and cached at once
STREAM_BYTES = 32 * 2**20  # what is fetched at once where all of a file is hashed
PAUSES_S = (1, 2, 4)  # after which a request that failed is repeated


class LocalStore:
    """A folder of this machine."""

    def __init__(self, folder: str | os.PathLike[str]):
        """Read from `folder`."""
        self.place = Path(folder)

    def sizes(self) -> dict[str, int]:
        """File name → bytes of all files in the folder."""
        with os.scandir(self.place) as entries:
            return {entry.name: entry.stat().st_size for entry in entries if entry.is_file()}

    def read_all(self, name: str) -> bytes | None:
        """A whole file, None if there is none."""
        try:
            return (self.place / name).read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            return None

    def read(self, name: str, offset: int, size: int, content: str) -> bytes:
        """Bytes of a file, fewer where it ends; `content` is of no use here.

        Raises:
            InputError: there is no such file, or it cannot be read.
        """
        try:
            descriptor = os.open(self.place / name, os.O_RDONLY)
            try:
                return os.pread(descriptor, size, offset)
            finally:
                os.close(descriptor)
        except FileNotFoundError:
            raise missing(self.where(name)) from None
        except OSError as error:
            raise InputError(
                f"shard file {self.where(name)} cannot be read: {error.strerror}"
            ) from None

    def forget(self, name: str, offset: int, size: int, content: str) -> bool:
        """Nothing is kept here, so another attempt would read the same."""
        return False

    def sha256(self, name: str, size: int) -> str:
        """Hex SHA-256 of a file of `size` bytes."""
        return sha256_file(self.place / name)

    def where(self, name: str) -> str:
        """The file, for messages."""
        return str(self.place / name)


class RemoteStore:
    """A folder of a store that fsspec reaches, read by blocks that are kept in a cache."""

    def __init__(self, url: str, cache: BlockCache):
        """Read from the folder at `url`, keeping blocks in `cache`."""
        self.place, self.cache = url.rstrip("/"), cache

    def __getstate__(self) -> dict[str, Any]:
        """Without the connection, which each process opens for itself."""
        return {"place": self.place, "cache": self.cache}

    @functools.cached_property
    def _connection(self) -> tuple[Any, str]:
        """The file system and the folder in it."""
        import fsspec.core

        try:
            return fsspec.core.url_to_fs(self.place)
        except (ImportError, ValueError) as error:  # no package for it; an unknown protocol
            raise InputError(f"{self.place} cannot be opened by fsspec: {error}") from None

    def sizes(self) -> dict[str, int] | None:
        """File name → bytes of all files in the folder; None where a store cannot list."""
        system, folder = self._connection
        if system.protocol == ("http", "https"):
            return None
        try:
            found = self._tried(lambda: system.ls(folder, detail=True))
        except FileNotFoundError:
            return {}
        return {entry["name"].rsplit("/", 1)[-1]: entry["size"] for entry in found}

    def read_all(self, name: str) -> bytes | None:
        """A whole file, past the cache; None if there is none.

        Raises:
            MachineError: the store cannot be reached.
        """
        system, folder = self._connection
        try:
            return self._tried(lambda: system.cat_file(f"{folder}/{name}"))
        except FileNotFoundError:
            return None

    def read(self, name: str, offset: int, size: int, content: str) -> bytes:
        """Bytes of a file, fewer where it ends.

        Args:
            name: of the file.
            offset: of the first byte.
            size: how many.
            content: digest of what the file should hold; a file that was replaced by a new one of
                the same name is then not taken from the cache.

        Raises:
            InputError: there is no such file.
            MachineError: the store cannot be reached, or the disk of the cache is full.
        """
        parts = []
        for number in _blocks(offset, size):
            block = self._block_name(content, number)
            part = self.cache.get(block)
            if part is None:
                begin = number * BLOCK_BYTES
                part = self._fetch(name, begin, begin + BLOCK_BYTES)
                self.cache.put(block, part)
            parts.append(part)
        begin = offset - offset // BLOCK_BYTES * BLOCK_BYTES
        return b"".join(parts)[begin : begin + size]

    def forget(self, name: str, offset: int, size: int, content: str) -> bool:
        """Drop what the cache has of these bytes; whether it had any."""
        numbers = _blocks(offset, size)
        return any([self.cache.drop(self._block_name(content, number)) for number in numbers])

    def sha256(self, name: str, size: int) -> str:
        """Hex SHA-256 of a file of `size` bytes, past the cache."""
        digest = hashlib.sha256()
        for begin in range(0, size, STREAM_BYTES):
            digest.update(self._fetch(name, begin, min(begin + STREAM_BYTES, size)))
        return digest.hexdigest()

    def where(self, name: str) -> str:
        """The file, for messages."""
        return f"{self.place}/{name}"

    def _block_name(self, content: str, number: int) -> str:
        return f"{sha256_bytes(f'{self.place} {content}'.encode())[:32]}-{number}"

    def _fetch(self, name: str, begin: int, end: int) -> bytes:
        system, folder = self._connection
        try:
            return self._tried(lambda: system.cat_file(f"{folder}/{name}", begin, end))
        except FileNotFoundError:
            raise missing(self.where(name)) from None

    def _tried(self, request: Callable[[], Any]) -> Any:
        """The answer to a request, which is repeated unless it says that there is no such file."""
        for pause_s in (*PAUSES_S, None):
            try:
                return request()
            except FileNotFoundError:
                raise
            except Exception as error:  # noqa: BLE001 - every store has errors of its own
                if pause_s is None:
                    raise MachineError(
                        f"{self.place} cannot be reached: {error or type(error).__name__}; look at "
                        "the address, the network and the credentials"
                    ) from None
                time.sleep(pause_s)


def open_store(place: str | os.PathLike[str], cache: BlockCache | None) -> LocalStore | RemoteStore:
    """The store of a folder or URL.

    Args:
        place: folder of this machine, or a URL with `://`.
        cache: where blocks of a remote store are kept.

    Raises:
        InputError: a URL, but no cache.
    """
    if "://" not in str(place):
        return LocalStore(place)
    if cache is None:
        raise InputError(f"{place} is read through a cache; it can be used as training data only")
    return RemoteStore(str(place), cache)


def missing(where: str) -> InputError:
    """That a shard file is not there."""
    return InputError(f"shard file {where} is missing; restore it or pack again")


def _blocks(offset: int, size: int) -> range:
    return range(offset // BLOCK_BYTES, -(-(offset + size) // BLOCK_BYTES))
