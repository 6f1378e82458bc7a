"""The result of an evaluation: rows with their counts, as JSON and as Markdown for people.

A metric that could not be computed keeps its row: without a value, with the reason.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from dynamicrafter import files
from dynamicrafter.errors import InputError


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
    """A generated video and the real one with the same first frame; paths inside the folder."""

    key: str
    prompt: str
    real: str
    generated: str
    may_be_passed_on: bool = False  # whether the source lets the real one leave this machine


@dataclass(frozen=True)
class Dropped:
    """A real clip that could not be compared."""

    key: str
    setting: str  # reference or second_reference: where it was to be found
    reason: str


@dataclass(frozen=True)
class Results:
    """All that `results.json` holds."""

    protocol: dict[str, Any]  # name, digest and settings
    rows: list[Row]
    pairs: list[Pair] = field(default_factory=list)
    dropped: list[Dropped] = field(default_factory=list)


def write(folder: Path, found: Results) -> None:
    """Write `results.json` and `results.md` into `folder`, each whole or not at all."""
    files.write_text(folder / "results.md", markdown(found))
    files.write_json(folder / "results.json", asdict(found))


def read(folder: Path) -> Results:
    """Read `results.json` back.

    Raises:
        InputError: the file is missing or was not written by this version.
    """
    path = folder / "results.json"
    document = files.read_json(path)
    try:
        return Results(
            protocol=document["protocol"],
            rows=[Row(**row) for row in document["rows"]],
            pairs=[Pair(**pair) for pair in document["pairs"]],
            dropped=[Dropped(**clip) for clip in document["dropped"]],
        )
    except (KeyError, TypeError) as error:
        raise InputError(
            f"{path} is not a result of this version ({error}); evaluate again"
        ) from None


def counts(row: Row) -> str:
    """The sample counts of a row for people: `12 real, 12 generated`."""
    return ", ".join(f"{count} {kind}" for kind, count in row.count.items())


def remarks(dropped: Sequence[Dropped]) -> list[str]:
    """A line for each reason for which clips were dropped, to stand below the table."""
    found = Counter((clip.setting, clip.reason) for clip in dropped)
    return [
        f"Clips left out of {setting}: {count}, {reason}; results.json names them."
        for (setting, reason), count in found.items()
    ]


def markdown(found: Results) -> str:
    """The table in Markdown, below a line that names the protocol, above the remarks."""
    lines = [
        f"Protocol `{found.protocol['name']}` ({found.protocol['digest'][:12]})",
        "",
        "| metric | value | 95 % interval | samples | network | remark |",
        "|---|---:|---:|---|---|---|",
    ]
    for row in found.rows:
        value = "—" if row.value is None else f"{row.value:.4g} {row.unit or ''}".strip()
        interval = "—" if row.interval is None else "{:.4g} to {:.4g}".format(*row.interval)
        cells = (row.label, value, interval, counts(row), row.network or "", row.reason or "")
        lines.append("| " + " | ".join(_cell(cell) for cell in cells) + " |")
    for remark in remarks(found.dropped):
        lines += ["", remark]
    return "\n".join(lines) + "\n"


def _cell(text: str) -> str:
    return " ".join(text.replace("|", r"\|").split())
