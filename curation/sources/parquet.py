"""Rows of a Parquet file, a few at a time, so that no cell and no row group fills the memory."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from curation.sources.lines import LIMIT, Row, Trouble
from dynamicrafter.errors import InputError

if TYPE_CHECKING:
    import pyarrow as pa


BATCH = 4
"""Rows that are decoded together. A small file can state a long text a million times, through the
dictionary of its column, and each of these rows gets a copy; more rows are hardly faster."""

MAX_LONG = 1 << 30  # bytes of over-long texts after which a file is taken for no table
STREAMED = {"pre_buffer": False, "buffer_size": LIMIT}  # a row group is not read as a whole


def open_parquet(path: Path) -> tuple[list[str], Callable[[list[str]], Iterator[Row]]]:
    """The columns of a Parquet file and what yields its rows, given the wanted ones.

    Raises:
        InputError: the file is damaged, also while rows are read.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    # Facts of row groups and columns are never asked for: where they are damaged, pyarrow ends the
    # process instead of raising.
    damage = (pa.ArrowException, OSError, ValueError, OverflowError)
    try:
        with pq.ParquetFile(path) as file:
            header = file.schema_arrow.names
    except damage as error:
        raise _damaged(path, error) from None

    def rows(columns: list[str]) -> Iterator[Row]:
        place = long = 0
        try:
            with pq.ParquetFile(path, **STREAMED) as file:
                for batch in file.iter_batches(BATCH, columns=columns, use_threads=False):
                    long += batch.nbytes if batch.nbytes > BATCH * LIMIT else 0
                    if long > MAX_LONG:
                        raise InputError(f"{path} holds gigabytes of over-long texts in few rows")
                    for row in _batch_rows(batch):
                        place += 1
                        yield place, row
        except damage as error:
            raise _damaged(path, error) from None

    return header, rows


def _damaged(path: Path, error: Exception) -> InputError:
    why = " ".join(str(error).split())[:200]
    return InputError(f"{path} is a damaged Parquet file: {why}; fetch it again")


def _batch_rows(batch: "pa.RecordBatch") -> Iterator[dict[str, Any] | Trouble]:
    """The rows of a batch; those with an over-long text are not made objects of Python."""
    names = batch.schema.names
    too_long = _too_long(batch) if batch.nbytes > LIMIT else set()
    if not too_long:
        try:
            yield from batch.to_pylist()
            return
        except (ValueError, OverflowError):  # text that is not UTF-8, a date before the year 1
            pass
    for i in range(batch.num_rows):
        if i in too_long:
            yield Trouble("cell_too_long", f"a cell of more than {LIMIT} bytes")
            continue
        try:
            cells = [column[i].as_py() for column in batch.columns]
        except (ValueError, OverflowError):
            yield Trouble("bad_text", "a text that is not UTF-8, or a value that is none")
            continue
        yield dict(zip(names, cells, strict=True))


def _too_long(batch: "pa.RecordBatch") -> set[int]:
    import pyarrow as pa

    found = set()
    for column in batch.columns:
        for i, value in enumerate(column):
            if isinstance(value, pa.DictionaryScalar):
                value = value.value
            is_text = value.is_valid and isinstance(value, pa.BinaryScalar)
            if is_text and value.as_buffer().size > LIMIT:
                found.add(i)
    return found
