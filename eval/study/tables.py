"""The scores of a study as CSV, as Markdown and as a page: no number without its counts."""

from collections.abc import Iterable, Sequence
from typing import Any

from markupsafe import Markup

from dynamicrafter import pages
from dynamicrafter.pages import Cell, Column, Row
from dynamicrafter.pages.tables import ABSENT, number
from eval.spreadsheet import csv_lines
from eval.study.design import ASPECTS, SAME
from eval.study.groups import Group

HEADER = ("group", "participants", "kind", "aspect", "method", "against", "value", "count", "of",
          "wilson_low", "wilson_high", "participants_low", "participants_high")  # fmt: skip
WHOLE_WORDS = "td { overflow-wrap: break-word; }"  # a narrow column does not cut a name
Table = tuple[str, list[Column], list[list[Any]]]


def as_csv(groups: Sequence[Group]) -> str:
    """A line for each number."""
    return csv_lines(HEADER, number_rows(groups))


def number_rows(groups: Sequence[Group]) -> list[tuple]:
    """A row under `HEADER` for each number; shares and rates from 0 to 1."""
    rows = []
    for group in groups:
        who = (group.name, group.participants)
        for one in group.shares:
            reach = one.participants or (None, None)
            rows.append((*who, "share", one.aspect, one.method, None, one.share, one.chosen,
                         one.shown, *one.wilson, *reach))  # fmt: skip
        for one in group.duels:
            reach, games = one.participants or (None, None), one.wins + one.losses + one.ties
            rows.append((*who, "win_rate", one.aspect, one.first, one.second, one.rate,
                         one.wins + one.ties / 2, games, None, None, *reach))  # fmt: skip
        for one in group.strengths:
            reach = one.participants or (None, None)
            rows.append((*who, "bradley_terry", one.aspect, one.method, None, one.strength, None,
                         one.answers, None, None, *reach))  # fmt: skip
        for one in group.agreement:
            rows.append((*who, "alpha", one.aspect, " ".join(one.methods), None, one.alpha, None,
                         one.answers, None, None, one.low, one.high))  # fmt: skip
    return rows


def as_markdown(result: dict[str, Any], groups: Sequence[Group]) -> str:
    """The tables as Markdown."""
    lines = ["# User study", "", _fact(result), ""]
    lines += [f"- {remark}" for remark in result["remarks"]]
    for group in groups:
        lines += ["", f"## {_title(group)}"]
        for caption, columns, rows in _tables(group):
            lines += ["", caption, "", _line(column.title for column in columns)]
            lines.append(_line("---:" if column.number else "---" for column in columns))
            lines += [_line(map(_plain, row, columns)) for row in rows]
    if result["refused"]:
        lines += ["", "## Refused files", "", "| File | Reason |", "| --- | --- |"]
        lines += [_line([one["file"], one["reason"]]) for one in result["refused"]]
    return "\n".join(lines) + "\n"


def as_page(result: dict[str, Any], groups: Sequence[Group]) -> str:
    """The tables as one self-contained page."""
    values = {
        "result": result,
        "fact": _fact(result),
        "groups": [
            {
                "title": _title(group),
                "tables": [
                    pages.table(columns, [Row(row) for row in rows], caption)
                    for caption, columns, rows in _tables(group)
                ],
            }
            for group in groups
        ],
        "refused": _refused(result["refused"]),
        "people": _people(result),
    }
    return pages.render("scores.html", values, "eval.study", style=WHOLE_WORDS)


def _fact(result: dict[str, Any]) -> str:
    how = "two methods at a time" if result["compare"] == "pairs" else "all methods at once"
    answers = result["groups"][0]["answers"]
    return (
        f"{result['returned']} of {result['pages']} participants gave {answers} answers about "
        f"{', '.join(result['methods'])}, {how}. Study {result['study']}."
    )


def _title(group: Group) -> str:
    name = group.name[0].upper() + group.name[1:]
    return f"{name} ({group.participants} people, {group.answers} answers)"


def _tables(group: Group) -> list[Table]:
    found = [
        (
            "Preference: how often a method was chosen, of the answers where it was shown",
            [
                Column("Aspect"),
                Column("Method"),
                Column("Chosen, %", number=True, digits=1),
                Column("Answers", number=True),
                Column("95 %, Wilson", number=True),
                Column("95 %, participants", number=True),
            ],
            [
                [
                    _aspect(one.aspect),
                    "no difference" if one.method == SAME else one.method,
                    100 * one.share,
                    Cell(one.chosen, f"{one.chosen} of {one.shown}"),
                    _percents(one.wilson),
                    _percents(one.participants),
                ]
                for one in group.shares
            ],
        )
    ]
    if group.duels:
        found.append(
            (
                "Win rates side by side; a tie is half a win",
                [
                    Column("Aspect"),
                    Column("Method"),
                    Column("Against"),
                    Column("Win rate, %", number=True, digits=1),
                    Column("Won, lost, tied", number=True),
                    Column("95 %, participants", number=True),
                ],
                [
                    [
                        _aspect(one.aspect),
                        one.first,
                        one.second,
                        100 * one.rate,
                        Cell(one.wins, f"{one.wins}, {one.losses}, {one.ties}"),
                        _percents(one.participants),
                    ]
                    for one in group.duels
                ],
            )
        )
    if group.strengths:
        found.append(
            (
                "Bradley-Terry strengths, which add up to 1 in each aspect; none where some "
                "methods never won against the others",
                [
                    Column("Aspect"),
                    Column("Method"),
                    Column("Strength", number=True, digits=3),
                    Column("Answers", number=True),
                    Column("95 %, participants", number=True),
                ],
                [
                    [
                        _aspect(one.aspect),
                        one.method,
                        one.strength,
                        one.answers,
                        _range(one.participants, 1, 3),
                    ]
                    for one in group.strengths
                ],
            )
        )
    found.append(
        (
            "Agreement between participants (Krippendorff's alpha: 1 all agree, 0 as by chance)",
            [
                Column("Aspect"),
                Column("Between"),
                Column("Alpha", number=True, digits=3),
                Column("Answers", number=True),
                Column("95 %, questions", number=True),
            ],
            [
                [
                    _aspect(one.aspect),
                    ", ".join(one.methods),
                    one.alpha,
                    Cell(one.answers, f"{one.answers} on {one.questions} questions"),
                    _range(None if one.low is None else (one.low, one.high), 1, 3),
                ]
                for one in group.agreement
            ],
        )
    )
    return found


def _refused(rows: Sequence[dict[str, str]]) -> Markup | None:
    if not rows:
        return None
    body = [Row([one["file"], one["reason"]]) for one in rows]
    return pages.table([Column("File"), Column("Reason")], body, f"{len(rows)} refused files")


def _people(result: dict[str, Any]) -> Markup | None:
    failed, missing = result["failed_checks"], result["missing_answers"]
    if not failed and not missing:
        return None
    columns = [
        Column("Participant"),
        Column("Failed checks", number=True),
        Column("Missing answers", number=True),
    ]
    rows = [
        Row([name, failed.get(name, 0), missing.get(name, 0)])
        for name in sorted({*failed, *missing})
    ]
    return pages.table(columns, rows, "Participants who failed a check or left answers out")


def _aspect(name: str) -> str:
    return name.replace("_", " ") if name in ASPECTS else name


def _percents(reach: tuple[float, float] | None) -> Cell | None:
    return _range(reach, 100, 1)


def _range(reach: tuple[float, float] | None, scale: float, digits: int) -> Cell | None:
    if reach is None:
        return None
    low, high = (number(scale * end, digits) for end in reach)
    return Cell(reach[0], f"{low} to {high}")


def _plain(value: Any, column: Column) -> str:
    if isinstance(value, Cell):
        return value.text
    if value is None:
        return ABSENT
    return number(value, column.digits) if column.number else str(value)


def _line(cells: Iterable[str]) -> str:
    escaped = (" ".join(cell.split()).replace("|", r"\|").replace("<", "&lt;") for cell in cells)
    return "| " + " | ".join(escaped) + " |"
