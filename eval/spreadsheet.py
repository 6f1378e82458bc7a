"""CSV that a spreadsheet shows and does not run.

A cell that begins with = + - @, a tab or a carriage return would be taken for a formula; an
apostrophe before it makes it text. Numbers keep their minus. `plain` takes the apostrophe away.
"""

import csv
import io
import re
from collections.abc import Iterable, Sequence

FORMULA = ("=", "+", "-", "@", "\t", "\r")
NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")


def safe(text: str) -> str:
    """The cell with an apostrophe where it would run, or where `plain` would take one away."""
    if NUMBER.fullmatch(text):
        return text
    return "'" + text if text.startswith((*FORMULA, "'")) else text


def plain(cell: str) -> str:
    """The text that `safe` made a cell of."""
    return cell[1:] if cell.startswith("'") else cell


def csv_lines(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A CSV text with a header; None is an empty cell."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\r\n")  # else a carriage return is not quoted
    writer.writerow(header)
    for row in rows:
        writer.writerow(["" if cell is None else safe(str(cell)) for cell in row])
    return text.getvalue()
