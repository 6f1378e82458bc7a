"""Files that are either whole or absent: atomic writes, digests, folder locks, contained paths.

A writer never touches the final name: it fills a temporary file beside it, flushes it to the disk
and renames. A reader can therefore trust whatever carries the final name; what was not flushed, on
request, carries a checksum instead.
"""

import contextlib
import hashlib
import json
import os
import re
import secrets
import shutil
import socket
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import filelock

from dynamicrafter.ahead import cores
from dynamicrafter.errors import InputError, MachineError

if TYPE_CHECKING:
    import torch

TEMPORARY_SUFFIX = ".partial"
UMASK = os.umask(0)  # can only be read by being set
os.umask(UMASK)
SECONDS_OF_DOUBT = 24 * 3600.0  # for which a file of another machine may still be written


@contextlib.contextmanager
def atomic_path(path: str | os.PathLike[str], durable: bool = True) -> Iterator[Path]:
    """Yield a temporary path beside `path`; rename it onto `path` when the block ends well.

    The file is flushed to the disk before the rename and the folder after it. If the block raises,
    the temporary file is removed and `path` keeps what it held.

    Args:
        path: the final name.
        durable: without it nothing is flushed, so a power cut may tear the file: for what carries
            a checksum and can be made again.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = _temporary(path)
    try:
        yield temporary
        if durable:
            _flush(temporary)
        os.replace(temporary, path)
        if durable:
            _flush(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def atomic_folder(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary folder beside `path`; rename it to `path` when the block ends well.

    Files inside are written with the atomic writers above, so they are on the disk already.

    Raises:
        FileExistsError: `path` exists; folders are never replaced.
    """
    path = Path(path)
    if path.exists():
        raise FileExistsError(f"{path} exists")
    temporary = _temporary(path)
    temporary.mkdir(parents=True)
    try:
        yield temporary
        os.rename(temporary, path)
        _flush(path.parent)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _temporary(path: Path) -> Path:
    """A name that tells whose it is, so that nobody sweeps away what another still writes."""
    owner = f"{_host()}-{os.getpid()}"
    return path.parent / f".{path.name}.{owner}-{secrets.token_hex(4)}{TEMPORARY_SUFFIX}"


def _host() -> str:
    return sha256_bytes(socket.gethostname().encode())[:6]


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_bytes(path: str | os.PathLike[str], data: bytes, durable: bool = True) -> None:
    """Write `data` atomically, see `atomic_path`."""
    with atomic_path(path, durable) as temporary:
        temporary.write_bytes(data)


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Write UTF-8 text atomically."""
    write_bytes(path, text.encode("utf-8"))


def write_tensors(
    path: str | os.PathLike[str],
    tensors: "dict[str, torch.Tensor]",
    metadata: dict[str, str] | None = None,
) -> None:
    """Write named tensors as safetensors, atomically; metadata is free text by key.

    Raises:
        OSError: as any writer, also where safetensors wraps it (a full disk).
    """
    import safetensors
    import safetensors.torch

    own = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    with atomic_path(path) as temporary:
        try:
            safetensors.torch.save_file(own, temporary, metadata)
            os.chmod(temporary, 0o666 & ~UMASK)  # as any other file; safetensors makes it private
        except safetensors.SafetensorError as error:
            code = re.search(r"os error (\d+)", str(error))
            if code is None:
                raise
            raise OSError(int(code[1]), os.strerror(int(code[1])), str(path)) from None


def write_json(path: str | os.PathLike[str], value: Any) -> None:
    """Write `value` as indented JSON with sorted keys, atomically. NaN and infinity are refused."""
    text = json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False)
    write_text(path, text + "\n")


def read_json(path: str | os.PathLike[str]) -> Any:
    """Read JSON.

    Raises:
        InputError: the file is missing or is not JSON.
    """
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"{path} does not exist") from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path} is not JSON: {error}") from None


def sweep_temporaries(folder: str | os.PathLike[str]) -> int:
    """Delete what an interrupted writer left below `folder`; return how many things that were.

    What a living process of this machine writes stays, and what another machine wrote in the last
    day: several may share a folder.
    """
    found = Path(folder).rglob(f".*{TEMPORARY_SUFFIX}")
    leftovers = [path for path in found if not _is_in_use(path)]
    for leftover in leftovers:
        if leftover.is_dir():
            shutil.rmtree(leftover, ignore_errors=True)
        else:
            leftover.unlink(missing_ok=True)
    return len(leftovers)


def _is_in_use(temporary: Path) -> bool:
    owner = re.search(r"\.([0-9a-f]{6})-(\d+)-[0-9a-f]{8}\.partial$", temporary.name)
    if owner is None:
        return False
    try:
        if owner[1] != _host():
            return time.time() - temporary.stat().st_mtime < SECONDS_OF_DOUBT
        os.kill(int(owner[2]), 0)
    except PermissionError:  # it lives, and is somebody else's
        return True
    except OSError:  # no such process, or the file went away
        return False
    return int(owner[2]) != os.getpid()


def sha256_bytes(data: bytes) -> str:
    """Hex SHA-256 of `data`."""
    return hashlib.sha256(data).hexdigest()


def sha256_file(path: str | os.PathLike[str]) -> str:
    """Hex SHA-256 of a file's content."""
    with open(path, "rb", buffering=0) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def file_digest(path: str | os.PathLike[str]) -> str:
    """Hex SHA-256 of a file; within the process the file is read again only once it has changed."""
    key = _version(path)
    if key not in _digests:
        _digests[key] = sha256_file(path)
    return _digests[key]


def file_digests(paths: Sequence[str | os.PathLike[str]]) -> list[str]:
    """`file_digest` of many files; those that are not known yet are read on all cores."""
    if new := [path for path in paths if _version(path) not in _digests]:
        parts = [new[first :: cores()] for first in range(cores())]
        with ThreadPoolExecutor(cores()) as threads:
            list(threads.map(lambda part: [file_digest(path) for path in part], parts))
    return [file_digest(path) for path in paths]


def _version(path: str | os.PathLike[str]) -> tuple[int, int, int, int]:
    facts = os.stat(path)
    return facts.st_dev, facts.st_ino, facts.st_size, facts.st_mtime_ns


_digests: dict[tuple[int, int, int, int], str] = {}


def sha256_json(value: Any) -> str:
    """Hex SHA-256 of a JSON value in canonical form (sorted keys, no spaces)."""
    text = json.dumps(
        value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    )
    return sha256_bytes(text.encode("utf-8"))


def inside(folder: str | os.PathLike[str], relative: str) -> Path:
    """Join `relative` to `folder` and make sure that it stays there, links resolved.

    Raises:
        InputError: the path is absolute, holds a NUL, or leaves the folder.
    """
    if "\0" in relative or Path(relative).is_absolute():
        raise InputError(f"{relative!r} is not a path inside {folder}")
    root = Path(folder).resolve()
    path = (root / relative).resolve()
    if not path.is_relative_to(root):
        raise InputError(f"{relative!r} leaves the folder {folder}")
    return path


@contextlib.contextmanager
def folder_lock(folder: str | os.PathLike[str]) -> Iterator[None]:
    """Hold `folder` for this process; the lock ends with the process, however it ends.

    Raises:
        MachineError: another process holds it.
    """
    try:
        Path(folder).mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        raise InputError(f"{folder} is a file; choose another run_dir") from None
    except FileNotFoundError:  # a file system that makes no folders, such as /proc
        raise InputError(f"{folder} cannot be made; choose another run_dir") from None
    lock = filelock.FileLock(Path(folder) / ".lock", blocking=False)
    try:
        with lock:
            yield
    except filelock.Timeout:
        raise MachineError(
            f"{folder} is in use by another run; wait for it or choose another run_dir"
        ) from None
