"""The kept clips as a table in the form of the public DCP release.

Loaders read the release with `read_csv(dtype=str)` and drop every row that has an empty cell, so no
cell is empty, and none holds a word that pandas takes for an empty one, quoted or not. Such a word
in a caption or category (`NA`, `null`, `None`, …) is nearly always somebody's way to say that there
is nothing, so it becomes `none`, which stands for that in the release too. Only a `videoid` has to
stay one of its own: it gets a dot at its end, `nan.`, and a video of that name is not found under
it. Line breaks and control characters become spaces, since not every reader takes them in a cell.
"""

import csv
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from curation.clip import UNKNOWN
from dynamicrafter.files import atomic_path

COLUMNS = (
    "videoid",
    "contentUrl",
    "duration",
    "page_dir",
    "name",
    "dynamic_confidence",
    "dynamic_wording",
    "dynamic_source_category",
)

# What pandas takes for NaN, compared without regard to case, since other readers go further.
_EMPTY = "#N/A|#N/A N/A|#NA|-1.#IND|-1.#QNAN|-NaN|1.#IND|1.#QNAN|<NA>|N/A|NA|NaN|None|null"
_TAKEN_FOR_EMPTY = frozenset(_EMPTY.casefold().split("|"))
_BREAKS = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]+")
_SURROGATES = re.compile("[\ud800-\udfff]")


def write_dcp_csv(path: Path, rows: Iterable[dict[str, Any]]) -> int:
    """Write exactly the eight columns, a row at a time; return the number of rows.

    Raises:
        ValueError: a cell is empty, which loaders would drop.
    """
    count = 0
    with atomic_path(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(COLUMNS)
        for row in rows:
            cells = [cell(name, row[name]) for name in COLUMNS]
            if empty := [name for name, text in zip(COLUMNS, cells, strict=True) if not text]:
                raise ValueError(f"{cells[0]!r}: empty {', '.join(empty)}; unknown is `{UNKNOWN}`")
            table.writerow(cells)
            count += 1
    return count


def concatenate(path: Path, parts: Sequence[Path]) -> None:
    """Write the rows of tables of `write_dcp_csv` as one."""
    header = (",".join(COLUMNS) + "\n").encode()
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        file.write(header)
        for part in parts:
            with part.open("rb") as rows:
                if rows.readline() != header:
                    raise ValueError(f"{part} does not begin with the DCP columns")
                while block := rows.read(2**20):
                    file.write(block)


def cell(column: str, value: Any) -> str:
    """The text of a cell: one line that no reader takes for an empty cell; empty if it is that."""
    text = _BREAKS.sub(" ", "" if value is None else str(value))
    text = _SURROGATES.sub("\ufffd", text).strip()
    if text.casefold() in _TAKEN_FOR_EMPTY:
        return f"{text}." if column == "videoid" and text != UNKNOWN else UNKNOWN
    return text


def dcp_row_of(key: str, info: dict[str, Any]) -> dict[str, Any]:
    """The eight columns of a sample, whatever its JSON holds; what is not there is unknown."""
    row = {}
    for name in COLUMNS:
        value = info.get(name)
        known = isinstance(value, str | int | float) and not isinstance(value, bool)
        row[name] = value if known and cell(name, value) else UNKNOWN
    if row["videoid"] == UNKNOWN:
        row["videoid"] = key
    return row
