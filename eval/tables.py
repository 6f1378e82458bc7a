"""Tables and figures that the pages of this room share: metrics, protocols, pairs of videos."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from markupsafe import Markup

from dynamicrafter import files, pages
from dynamicrafter.pages.tables import number
from eval import results


@dataclass(frozen=True)
class Shown:
    """The figures that fitted into the page, and how many did not or may not be shown."""

    shown: list[dict[str, Any]]
    left_out: int
    withheld: int


def metrics_table(rows: Sequence[results.Row], caption: str) -> Markup:
    """The rows of a result; those not to be leant on are greyed and say why."""
    columns = [
        pages.Column("Metric"),
        pages.Column("Value", number=True),
        pages.Column("95 % interval", number=True),
        pages.Column("Samples"),
        pages.Column("Network"),
    ]
    table = [
        pages.Row(
            [_label(row), value_cell(row.value), interval_cell(row.interval), _samples(row),
             row.network],
            reason=None if row.reliable else row.reason,
        )
        for row in rows
    ]  # fmt: skip
    return pages.table(columns, table, caption)


def protocol_table(protocol: dict[str, Any]) -> Markup:
    """What a protocol fixes."""
    rows = [
        pages.Row([name.replace("_", " "), str(value)])
        for name, value in protocol.items()
        if name not in ("name", "digest")
    ]
    columns = [pages.Column("Setting"), pages.Column("Value")]
    return pages.table(columns, rows, "What the protocol fixes")


def pair_figures(
    folder: Path, pairs: Sequence[results.Pair], allow_media: bool, count: int, budget: pages.Budget
) -> Shown:
    """At most `count` pairs whose sources let them be shown, as videos that play in step."""
    free = [pair for pair in pairs if pair.may_be_passed_on or allow_media]
    shown = []
    for pair in free[:count]:
        places = {"generated": pair.generated, "real": pair.real}
        media = {
            name: files.inside(folder, place).read_bytes()
            for name, place in places.items()
            if place is not None
        }
        if budget.take(*media.values()):
            videos = [
                pages.video(data, f"{name.capitalize()}: {pair.prompt}", name)
                for name, data in media.items()
            ]
            shown.append({"pair": pair, "videos": pages.together(videos)})
    return Shown(shown, len(free) - len(shown), len(pairs) - len(free))


def value_cell(value: float | None) -> pages.Cell | None:
    """A number as people read it."""
    return None if value is None else pages.Cell(value, significant(value))


def interval_cell(interval: tuple[float, float] | None) -> pages.Cell | None:
    """An interval; sorting goes by its lower end."""
    if interval is None:
        return None
    low, high = interval
    return pages.Cell(low, f"{significant(low)} to {significant(high)}")


def significant(value: float) -> str:
    """Four significant digits, never in powers of ten above one."""
    digits = 0 if abs(value) >= 1000 else 1 if abs(value) >= 100 else 2 if abs(value) >= 10 else 4
    return number(value, digits)


def _label(row: results.Row) -> str:
    return f"{row.label}, {row.unit}" if row.unit else row.label


def _samples(row: results.Row) -> str:
    """The counts; a line may break between them only."""
    return ", ".join(part.replace(" ", "\u00a0") for part in results.counts(row).split(", "))
