"""Small Parquet tables of rows, and the digests of what they say."""

import contextlib
import csv
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from dynamicrafter.errors import InputError
from dynamicrafter.files import atomic_path, sha256_bytes, sha256_json

Row = dict[str, Any]


@contextlib.contextmanager
def long_cells(limit: int = 2**31 - 1) -> Iterator[None]:
    """Let `csv` read cells of more than 128 KiB inside the block, and nowhere else."""
    before = csv.field_size_limit(limit)
    try:
        yield
    finally:
        csv.field_size_limit(before)


def write_rows(
    path: Path, rows: Sequence[Row], schema: pa.Schema, notes: dict[str, str] | None = None
) -> None:
    """Write `rows` atomically; `notes` go into the file's metadata."""
    table = pa.Table.from_pylist(list(rows), schema=schema.with_metadata(notes or {}))
    with atomic_path(path) as temporary:
        pq.write_table(table, temporary, compression="zstd")


def read_rows(path: Path, columns: Sequence[str] | None = None) -> list[Row]:
    """The rows of a table that this package wrote.

    Raises:
        InputError: the file is missing or damaged.
    """
    return _open(path).read(columns=columns).to_pylist()


def read_note(path: Path, name: str) -> str:
    """What `write_rows` noted under `name`."""
    return _open(path).metadata.metadata[name.encode()].decode()


def iterate_rows(path: Path, start: int = 0, stop: int | None = None) -> Iterator[Row]:
    """Rows `start` to `stop` of a large table, a row group at a time."""
    for batch in iterate_batches(path, start, stop):
        yield from batch.to_pylist()


def iterate_batches(
    path: Path, start: int = 0, stop: int | None = None, columns: Sequence[str] | None = None
) -> Iterator[pa.Table]:
    """Rows `start` to `stop` of a large table as one `pa.Table` a row group."""
    file = _open(path)
    first = 0
    for number in range(file.num_row_groups):
        count = file.metadata.row_group(number).num_rows
        last = first + count
        if last > start and (stop is None or first < stop):
            table = file.read_row_group(number, columns=columns)
            begin = max(start - first, 0)
            end = count if stop is None else min(stop - first, count)
            yield table.slice(begin, end - begin)
        first = last


def count_rows(path: Path) -> int:
    """Number of rows of a table."""
    return _open(path).metadata.num_rows


class TableWriter:
    """Writes a large table in row groups of a fixed number of rows, so equal rows, equal bytes."""

    GROUP_ROWS = 8192

    def __init__(self, path: Path, schema: pa.Schema):
        """`path` is not final: the caller renames it once `close` is done."""
        self._writer = pq.ParquetWriter(path, schema, compression="zstd")
        self._schema = schema
        self._rows: list[Row] = []

    def add(self, rows: Iterable[Row]) -> None:
        """Append rows."""
        for row in rows:
            self._rows.append(row)
            if len(self._rows) == self.GROUP_ROWS:
                self._flush()

    def close(self, notes: dict[str, str] | None = None) -> None:
        """Write what is left; `notes` go into the file's metadata."""
        self._flush()
        self._writer.add_key_value_metadata(notes or {})
        self._writer.close()

    def _flush(self) -> None:
        if self._rows:
            self._writer.write_table(pa.Table.from_pylist(self._rows, schema=self._schema))
            self._rows = []


def objects(column: pa.ChunkedArray) -> np.ndarray:
    """A column as an array of Python objects, None for null; lists and texts stay what they are."""
    found = np.empty(len(column), object)
    found[:] = column.to_pylist()
    return found


def hash64(text: str) -> int:
    """A number of 64 bits for a text, spread evenly."""
    return int(sha256_bytes(text.encode("utf-8", "backslashreplace"))[:16], 16)


def digest_rows(*parts: Any) -> str:
    """16 hex digits for what is said; equal ones mean equal content."""
    return sha256_json(parts)[:16]


def _open(path: Path) -> pq.ParquetFile:
    try:
        return pq.ParquetFile(path)
    except FileNotFoundError:
        raise InputError(f"{path} does not exist") from None
    except pa.ArrowException as error:
        raise InputError(f"{path} is damaged ({error}); remove it and run again") from None
