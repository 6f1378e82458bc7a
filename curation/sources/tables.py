"""Rows of table files, streamed: CSV, TSV, JSON lines, a JSON array, Parquet, also as .gz.

A file is known by its content, not by its name. What is wrong with a row becomes a `Trouble` in its
place; what is wrong with the file as a whole is an InputError.
"""

import csv
from collections import Counter, deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import BinaryIO

from curation.sources.jsonrows import json_array, json_lines
from curation.sources.lines import LIMIT, Line, Row, Trouble, open_bytes, read_lines
from curation.tables import long_cells
from dynamicrafter.errors import InputError

BOM = b"\xef\xbb\xbf"
MAX_LINES = 100  # of a record; a quote that is not closed would take the rest of the file
FIRST_ROWS = 20  # objects of JSON that are looked at to learn which fields there are


@dataclass(frozen=True)
class Table:
    """A table whose header has been read; its rows come once."""

    header: list[str]
    rows: Callable[[list[str]], Iterator[Row]]  # the argument names the columns that are wanted
    unit: str  # what the place of a row counts


def open_table(path: Path) -> Table:
    """Open a table of any known form and read its header.

    Raises:
        InputError: the file is absent, empty, damaged or no table; a column name is doubled.
    """
    file = open_bytes(path)
    try:
        start = file.peek(64)[:64].removeprefix(BOM).lstrip()
        if start.startswith(b"PAR1"):
            from curation.sources.parquet import open_parquet

            file.close()
            header, rows = open_parquet(path)
            _check_header(header, path)
            return Table(header, rows, "row")
        if path.suffix.lower() == ".parquet":
            raise InputError(f"{path} is no Parquet file, or a damaged one; fetch it again")
        if not start and not file.peek(1):
            raise InputError(f"{path} is empty")
        if start[:1] in (b"[", b"{"):
            return _open_json(file, path, array=start[:1] == b"[")
        return _open_csv(file, path)
    except BaseException:
        file.close()
        raise


def _check_header(header: list[str], path: Path) -> None:
    doubled = [name for name, count in Counter(header).items() if name and count > 1]
    if doubled:
        raise InputError(
            f"{path} has {listed(doubled)} more than once in its header: rename one of them"
        )


def listed(names: list[str]) -> str:
    """Column names for a message: on one line, and not too many."""
    shown = [name[:40] if name.isprintable() else repr(name[:40]) for name in names[:20]]
    return ", ".join(shown) + (f" and {len(names) - 20} more" if len(names) > 20 else "")


def _open_json(file: BinaryIO, path: Path, *, array: bool) -> Table:
    rows = json_array(file, path) if array else json_lines(read_lines(file, path))
    first = list(islice(rows, FIRST_ROWS))
    header = dict.fromkeys(chain.from_iterable(row for _, row in first if isinstance(row, dict)))
    if not header:
        what = "elements" if array else "lines"
        raise InputError(
            f"none of the first {what} of {path} is a JSON object with fields: it is no table"
        )

    def all_rows(columns: list[str]) -> Iterator[Row]:
        with file:
            yield from chain(first, rows)

    return Table(list(header), all_rows, "element" if array else "line")


def _open_csv(file: BinaryIO, path: Path) -> Table:
    lines = read_lines(file, path)
    raw = next((raw for _, raw in lines if raw is None or raw.strip()), b"")
    try:
        text = (b"" if raw is None else raw).removeprefix(BOM).decode()
        delimiter = "\t" if "\t" in text and "," not in text else ","
        header = next(csv.reader([text], delimiter=delimiter, strict=True), [])
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path} does not begin with a header in UTF-8: {error}") from None
    header = [name.strip() for name in header]
    if not any(header) or "\0" in text:
        raise InputError(f"{path} does not begin with a header: it is no table")
    _check_header(header, path)

    def all_rows(columns: list[str]) -> Iterator[Row]:
        with file, long_cells(LIMIT + 1):
            yield from _csv_rows(lines, header, delimiter)

    return Table(header, all_rows, "line")


def _csv_rows(lines: Iterator[Line], header: list[str], delimiter: str) -> Iterator[Row]:
    """The records of a CSV.

    A record may span lines. Where it breaks the rules of quoting, runs over a limit or, spanning
    lines, has another number of cells than the header, a quote has been left open: the first line
    is the bad row, and the lines after it are read again as if nothing had been.
    """
    width = len(header)
    again: deque[Line] = deque()
    record: list[Line] = []  # the lines of the record that is being read
    bad_text: list[str] = []

    def feed() -> Iterator[str]:
        size = 0
        while True:
            line = again.popleft() if again else next(lines, None)
            if line is None:
                return
            record.append(line)
            raw = line[1]
            if len(record) == 1:
                size = 0
            if raw is None or (size := size + len(raw)) > LIMIT + 1 or len(record) > MAX_LINES:
                raise _TooLongError
            try:
                text = raw.decode()
            except UnicodeDecodeError as error:
                bad_text.append(f"byte {error.start} is not UTF-8")
                text = raw.decode(errors="replace")
            yield text

    while True:
        trouble = None
        try:
            for cells in csv.reader(feed(), delimiter=delimiter, strict=True):
                place = record[0][0]
                if bad_text:
                    trouble = Trouble("bad_text", bad_text[0])
                    bad_text.clear()
                elif len(cells) == width:
                    record.clear()
                    if cells == header:
                        yield place, Trouble("repeated_header", "the header again")
                    else:
                        yield place, cells
                    continue
                elif cells:
                    trouble = Trouble("bad_row", f"{len(cells)} cells, the header has {width}")
                    again.extendleft(reversed(record[1:]))
                record.clear()
                if trouble:
                    yield place, trouble
                    trouble = None
            return
        except _TooLongError:
            what = f"more than {LIMIT} characters or {MAX_LINES} lines; is a quote left open?"
            trouble = Trouble("cell_too_long", what)
        except csv.Error as error:
            trouble = Trouble("bad_row", f"{error}; is a quote left open?")
        place = record[0][0]
        again.extendleft(reversed(record[1:]))
        record.clear()
        bad_text.clear()
        yield place, trouble


class _TooLongError(Exception):
    """A record that runs over a limit."""
