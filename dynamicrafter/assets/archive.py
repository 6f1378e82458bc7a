"""Take one member out of an archive (zip, wheel, tar.gz), also out of an archive inside another.

Only a regular file of exactly the stated size is taken. Links, devices, encrypted and ambiguous
members are refused, nothing else is unpacked, and no name in the archive becomes a path on disk.
"""

import contextlib
import gzip
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO

from dynamicrafter.errors import InputError
from dynamicrafter.files import atomic_path

BROKEN = (
    zipfile.BadZipFile,
    tarfile.TarError,
    gzip.BadGzipFile,
    zlib.error,
    EOFError,
    NotImplementedError,  # a zip compression that zipfile does not know
)


def extract(archive: Path, members: Sequence[str], target: Path, size: int) -> None:
    """Write the member at `members` to `target`: one path, or several for archives in archives.

    Raises:
        InputError: the archive is broken, or the member is absent, not a regular file, or not of
            `size` bytes.
    """
    try:
        with contextlib.ExitStack() as stack:
            name, file = archive.name, stack.enter_context(open(archive, "rb"))
            for member in members:
                file, found = stack.enter_context(_opened(file, name, member))
                name = f"{name}/{member}"
            if found != size:
                raise InputError(f"{name} has {found} bytes, {size} expected")
            with atomic_path(target) as temporary, open(temporary, "wb") as output:
                _copy_exactly(file, output, name, size)
    except BROKEN as error:
        raise InputError(f"cannot read {archive}: {error}") from None


@contextlib.contextmanager
def _opened(file: IO[bytes], name: str, member: str) -> Iterator[tuple[IO[bytes], int]]:
    """The content of `member` of the archive `file`, and its stated size in bytes."""
    if name.endswith((".zip", ".whl")):
        with zipfile.ZipFile(file) as outer:
            info = _only(name, member, [i for i in outer.infolist() if i.filename == member])
            mode = info.external_attr >> 16
            if info.is_dir() or (stat.S_IFMT(mode) not in (0, stat.S_IFREG)):
                raise InputError(f"{name}/{member} is not a regular file")
            if info.flag_bits & 0x1:
                raise InputError(f"{name}/{member} is encrypted")
            with outer.open(info) as content:
                yield content, info.file_size
    elif name.endswith((".tar.gz", ".tgz")):
        with tarfile.open(fileobj=file, mode="r:gz") as outer:
            entry = _only(name, member, [e for e in outer.getmembers() if e.name == member])
            if not entry.isreg() or entry.issparse():
                raise InputError(f"{name}/{member} is not a regular file")
            with outer.extractfile(entry) as content:
                yield content, entry.size
    else:
        raise InputError(f"{name} is none of .zip, .whl, .tar.gz, .tgz")


def _only(name: str, member: str, found: list) -> zipfile.ZipInfo | tarfile.TarInfo:
    if len(found) != 1:
        raise InputError(f"{name} holds {len(found)} members {member!r}, one expected")
    return found[0]


def _copy_exactly(source: IO[bytes], target: IO[bytes], name: str, size: int) -> None:
    """Copy `size` bytes; what an archive states of itself does not bound what it inflates to."""
    missing = size
    while missing and (chunk := source.read(min(missing, 1 << 20))):
        target.write(chunk)
        missing -= len(chunk)
    if missing or source.read(1):
        raise InputError(f"{name} does not hold the {size} bytes that it states")
