"""The result of an evaluation: rows with their counts, as JSON, CSV and as Markdown for people.

A metric that could not be computed keeps its row: without a value, with the reason.

    results.json         everything below; results.md and results.csv show the rows
    per_video.parquet    key, group and a column a metric: what paired comparisons read
    features.safetensors what the distances were computed from, generated and real
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from dynamicrafter import files
from dynamicrafter.errors import InputError
from eval.spreadsheet import csv_lines

PER_VIDEO, FEATURES = "per_video.parquet", "features.safetensors"


@dataclass(frozen=True)
class Row:
    """One number. `reliable` is False, with a `reason`, where the number must not be leant on."""

    metric: str  # a short name for programs: fvd, fvd_real, kvd, …
    label: str  # the name for people
    value: float | None = None
    interval: tuple[float, float] | None = None  # 95 %
    unit: str | None = None
    count: dict[str, int] = field(default_factory=dict)  # samples by kind
    network: str | None = None  # the feature network and its weights
    reliable: bool = False
    reason: str | None = None


@dataclass(frozen=True)
class Pair:
    """A generated video and the real one with the same first frame; paths inside the folder.

    `real` is None where there is no real video.
    """

    key: str
    prompt: str
    real: str | None
    generated: str
    may_be_passed_on: bool = False  # whether the source lets the real one leave this machine
    why: str = ""  # what it is shown for: the lowest CLIP-SIM, …


@dataclass(frozen=True)
class Dropped:
    """A video that could not be compared."""

    key: str
    setting: str  # reference, second_reference or generated: where it was to be found
    reason: str


@dataclass(frozen=True)
class Group:
    """The means of a class, a category or an action."""

    name: str
    count: int
    values: dict[str, float]  # by metric


@dataclass(frozen=True)
class Side:
    """The same videos under another protocol."""

    protocol: dict[str, Any]  # name, digest and settings
    rows: list[Row]


@dataclass(frozen=True)
class Results:
    """All that `results.json` holds."""

    protocol: dict[str, Any]  # name, digest and settings
    rows: list[Row]
    pairs: list[Pair] = field(default_factory=list)
    dropped: list[Dropped] = field(default_factory=list)
    method: str = "generated"
    inputs: str = ""  # digest of the real side and of the keys: what paired comparisons must share
    remarks: list[str] = field(default_factory=list)
    groups: list[Group] = field(default_factory=list)
    curves: dict[str, dict[str, list[float]]] = field(default_factory=dict)
    sides: list[Side] = field(default_factory=list)


def write(folder: Path, found: Results) -> None:
    """Write `results.json`, `.md` and `.csv` into `folder`, each whole or not at all."""
    files.write_text(folder / "results.md", markdown(found))
    files.write_text(folder / "results.csv", csv_text(found))
    files.write_json(folder / "results.json", asdict(found))


def read(folder: Path) -> Results:
    """Read `results.json` back.

    Raises:
        InputError: the file is missing or was not written by this version.
    """
    path = folder / "results.json"
    if not path.is_file():
        raise InputError(f"{path} does not exist: it takes a finished run of dynamicrafter eval")
    document = files.read_json(path)
    try:
        return Results(
            **{
                **document,
                "rows": [Row(**row) for row in document["rows"]],
                "pairs": [Pair(**pair) for pair in document["pairs"]],
                "dropped": [Dropped(**clip) for clip in document["dropped"]],
                "groups": [Group(**group) for group in document["groups"]],
                "sides": [
                    Side(side["protocol"], [Row(**row) for row in side["rows"]])
                    for side in document["sides"]
                ],
            }
        )
    except (KeyError, TypeError) as error:
        raise InputError(
            f"{path} is not a result of this version ({error}); evaluate again"
        ) from None


def counts(row: Row) -> str:
    """The sample counts of a row for people: `12 real, 12 generated`."""
    return ", ".join(f"{count} {kind}" for kind, count in row.count.items())


def remarks(found: Results) -> list[str]:
    """What stands below the table: a line for each reason for dropping, and what else to know."""
    reasons = Counter((clip.setting, clip.reason) for clip in found.dropped)
    lines = [
        f"Clips left out of {setting}: {count}, {reason}; results.json names them."
        for (setting, reason), count in reasons.items()
    ]
    return [*lines, *found.remarks]


def markdown(found: Results) -> str:
    """The table in Markdown, below a line that names the protocol, above the remarks."""
    lines = [f"Protocol `{found.protocol['name']}` ({found.protocol['digest'][:12]})", ""]
    lines += _table(found.rows)
    for side in found.sides:
        lines += ["", f"The same videos under `{side.protocol['name']}` "
                      f"({side.protocol['digest'][:12]})", "", *_table(side.rows)]  # fmt: skip
    for remark in remarks(found):
        lines += ["", remark]
    return "\n".join(lines) + "\n"


def csv_text(found: Results) -> str:
    """The rows as CSV, each with its protocol; no cell runs in a spreadsheet."""
    header = ("protocol", "protocol_digest", "method", "metric", "value", "low", "high", "unit",
              "samples", "network", "reliable", "reason")  # fmt: skip
    rows = []
    for protocol, of_protocol in [
        (found.protocol, found.rows),
        *((side.protocol, side.rows) for side in found.sides),
    ]:
        for row in of_protocol:
            low, high = row.interval or (None, None)
            rows.append(
                (protocol["name"], protocol["digest"], found.method, row.metric, row.value, low,
                 high, row.unit, counts(row), row.network, row.reliable, row.reason)
            )  # fmt: skip
    return csv_lines(header, rows)


def _table(rows: Sequence[Row]) -> list[str]:
    lines = [
        "| metric | value | 95 % interval | samples | network | remark |",
        "|---|---:|---:|---|---|---|",
    ]
    for row in rows:
        value = "—" if row.value is None else f"{row.value:.4g} {row.unit or ''}".strip()
        interval = "—" if row.interval is None else "{:.4g} to {:.4g}".format(*row.interval)
        cells = (row.label, value, interval, counts(row), row.network or "", row.reason or "")
        lines.append("| " + " | ".join(_cell(cell) for cell in cells) + " |")
    return lines


def _cell(text: str) -> str:
    return " ".join(text.replace("|", r"\|").split())
