"""Tables: numbers right-aligned in tabular figures, absent values as a dash, greyed rows, sorting.

A cell carries its raw value as JSON beside the text, so sorting never depends on the formatting.
"""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

ABSENT = "—"


@dataclass(frozen=True)
class Column:
    """A column: its heading, whether it holds numbers, and their digits after the point."""

    title: str
    number: bool = False
    digits: int = 0


@dataclass(frozen=True)
class Cell:
    """A value with a text of its own; sorting goes by the value."""

    value: float
    text: str


Value = str | int | float | bool | Cell | None


@dataclass(frozen=True)
class Row:
    """A row of values, None where there is none; with a `reason` it is greyed and says why."""

    cells: Sequence[Value]
    reason: str | None = None


def table(columns: Sequence[Column], rows: Sequence[Row], caption: str) -> Markup:
    """An accessible, sortable table; `caption` is its name for readers and screen readers.

    Raises:
        ValueError: a row has another number of cells than there are columns.
    """
    for row in rows:
        if len(row.cells) != len(columns):
            raise ValueError(f"a row of {len(row.cells)} cells in a table of {len(columns)}")
    head = Markup("").join(
        Markup('<th scope="col"{}><button type="button">{}</button></th>').format(
            _numeric(column), column.title
        )
        for column in columns
    )
    body = Markup("\n").join(_row(columns, row) for row in rows)
    return Markup(
        '<div class="scroll" role="region" aria-label="{}" tabindex="0">'
        "<table data-sortable><caption>{}</caption>"
        "<thead><tr>{}</tr></thead>\n<tbody>{}</tbody></table></div>"
    ).format(caption, caption, head, body)


def number(value: float, digits: int = 0) -> str:
    """A number for people: thin-space thousands, a true minus sign, `digits` after the point."""
    return f"{value:,.{digits}f}".replace(",", "\u202f").replace("-", "\u2212")


def _row(columns: Sequence[Column], row: Row) -> Markup:
    cells = [
        Markup('<td{} data-label="{}" data-value="{}">{}</td>').format(
            _numeric(column), column.title, _raw(value), _text(column, value)
        )
        for column, value in zip(columns, row.cells, strict=True)
    ]
    if row.reason is None:
        return Markup("<tr>{}</tr>").format(Markup("").join(cells))
    reason = Markup('<span class="reason">{}</span></td>').format(row.reason)
    cells[0] = Markup(cells[0].removesuffix("</td>")) + reason
    return Markup('<tr class="greyed">{}</tr>').format(Markup("").join(cells))


def _numeric(column: Column) -> Markup:
    return Markup(' class="number"') if column.number else Markup("")


def _raw(value: Value) -> str:
    if isinstance(value, Cell):
        value = value.value
    if isinstance(value, float) and not math.isfinite(value):
        return "null"
    return json.dumps(value)


def _text(column: Column, value: Value) -> str:
    if isinstance(value, Cell):
        return value.text
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return Markup('<span class="absent" title="not available">{}</span>').format(ABSENT)
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int | float):
        return number(value, column.digits)
    return value
