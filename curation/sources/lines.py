"""Files and their lines, read with limits: no line, and no packed file, may fill the memory."""

import gzip
import io
import os
import re
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from dynamicrafter.errors import InputError

LIMIT = 1 << 20
"""Bytes of a physical line, and characters of a record, that are read."""

MAX_SKIPPED = 8 << 30  # bytes of one line after which a file is taken for no table
MAX_RATIO, RATIO_FROM = 100, 8 << 20  # tables shrink 3 to 20 times; zeros shrink 1000 times
GZIP_MAGIC = b"\x1f\x8b"
CONTROL = re.compile("[\x00-\x1f\x7f-\x9f]")

Line = tuple[int, bytes | None]
"""Its number from 1 on, and its bytes with the newline; None where it was longer than LIMIT."""


class Trouble(NamedTuple):
    """What stands in place of a row that could not be read."""

    reason: str
    message: str


Row = tuple[int, list[str] | dict[str, Any] | Trouble]
"""Its place (line, or row from 1 on) and its cells: a list, or for JSON and Parquet a dict."""


def open_bytes(path: Path) -> BinaryIO:
    """Open a file for reading, unpacked if it is gzip.

    Raises:
        InputError: it is absent, a folder or may not be read; while reading: damaged gzip, or one
            that is made to fill memory or time.
    """
    try:
        if not path.is_file():  # a pipe would be waited for
            raise InputError(f"{path} is no file")
        raw = io.BufferedReader(io.FileIO(path), LIMIT)
        if raw.peek(2)[:2] == GZIP_MAGIC:
            return io.BufferedReader(_Unpacked(raw, path), LIMIT)
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}") from None
    return raw


class _Unpacked(io.RawIOBase):
    """The content of a gzip file; errors are the toolkit's."""

    def __init__(self, raw: BinaryIO, path: Path):
        self._raw, self._path = raw, path
        self._content = gzip.GzipFile(fileobj=raw)
        self._size = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:
        try:
            count = self._content.readinto(buffer)
        except (EOFError, OSError, zlib.error) as error:
            raise InputError(f"{self._path} is damaged gzip: {error}; fetch it again") from None
        self._size += count
        if self._size > RATIO_FROM and self._size > MAX_RATIO * self._raw.tell():
            raise InputError(
                f"{self._path} unpacks to more than {MAX_RATIO} times its size: it is no table"
            )
        return count

    def close(self) -> None:
        self._raw.close()
        super().close()


def read_lines(file: BinaryIO, path: Path) -> Iterator[Line]:
    """The physical lines of a file.

    Raises:
        InputError: a line of gigabytes.
    """
    number, readline = 0, file.readline
    while raw := readline(LIMIT + 1):
        number += 1
        if len(raw) <= LIMIT or raw[-1] == 10:
            yield number, raw
            continue
        skipped = 0
        while raw and raw[-1] != 10:
            raw = readline(LIMIT)
            skipped += len(raw)
            if skipped > MAX_SKIPPED:
                raise InputError(f"line {number} of {path} does not end: it is no table")
        yield number, None


def shown_path(path: str | os.PathLike[str]) -> str:
    """A path as it can stand in a message, whatever bytes its name holds."""
    text = os.fsencode(path).decode("utf-8", "backslashreplace")
    return CONTROL.sub(lambda match: f"\\x{ord(match[0]):02x}", text)
