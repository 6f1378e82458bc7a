"""Published values, from a table that says where each one stands and whether a person checked it.

`eval/published.csv` holds what was found in public sources; none of it is checked against the
papers themselves, and every table that shows it says so.
"""

import csv
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from dynamicrafter.errors import InputError

COLUMNS = ("benchmark", "method", "metric", "value", "protocol", "source", "verified")


@dataclass(frozen=True)
class Published:
    """One published value; `verified` says that a person has read it in the paper itself."""

    benchmark: str
    method: str
    metric: str
    value: float
    protocol: str  # what is known of it, in words
    source: str
    verified: bool


def read_published(path: Path | None = None) -> list[Published]:
    """The rows of a table of published values; without a path those that come along.

    Raises:
        InputError: columns or cells that cannot be used.
    """
    if path is None:
        text = resources.files("eval").joinpath("published.csv").read_text(encoding="utf-8")
        place = "published.csv"
    else:
        text, place = path.read_text(encoding="utf-8-sig"), str(path)
    rows = list(csv.DictReader(text.splitlines()))
    if rows and set(rows[0]) != set(COLUMNS):
        raise InputError(f"{place}: the columns are {', '.join(COLUMNS)}")
    return [_row(row, f"{place} line {number}") for number, row in enumerate(rows, start=2)]


def _row(row: dict[str, str], place: str) -> Published:
    try:
        value = float(row["value"])
    except (TypeError, ValueError):
        raise InputError(f"{place}: value {row['value']!r} is no number") from None
    if row["verified"] not in ("true", "false"):
        raise InputError(f"{place}: verified is true or false, not {row['verified']!r}")
    return Published(
        row["benchmark"],
        row["method"],
        row["metric"],
        value,
        row["protocol"],
        row["source"],
        row["verified"] == "true",
    )
