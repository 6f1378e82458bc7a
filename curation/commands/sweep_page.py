"""What a sweep found, as a page, as lines for the terminal and as a table for W&B."""

from collections.abc import Callable, Sequence
from typing import Any

from markupsafe import Markup

from dynamicrafter import pages
from dynamicrafter.pages.tables import number
from dynamicrafter.text_table import table_lines
from dynamicrafter.tracking import Run

SHOWN, REASONS = 6, 5  # sources or categories, and reasons, that have a column
MIX = {"source": "Sources", "speed": "Speed of the objects", "category": "Stated categories"}


def page(found: dict[str, Any]) -> str:
    """`sweep.html` of the content of `sweep.json`."""
    present = found["present"]
    values = {
        "rows": number(found["rows"]),
        "survivors": number(present["survivors"]),
        "share": number(100 * (present["share"] or 0), 1),
        "count": len(found["settings"]),
        "duplicates": found["duplicates"],
        "charts": charts(found),
        "survivors_table": _survivors(found),
        "dropped_table": _dropped(found),
        "mixes": [
            (title, _mix(found, kind)) for kind, title in MIX.items() if present["mix"][kind]
        ],
        "edges": [f"{edge:.3g}" for edge in found["speed_edges"] or []],
        "thresholds": _thresholds(found),
    }
    return pages.render("sweep.html", values, package="curation.commands")


def say_table(found: dict[str, Any], say: Callable[[str], None]) -> None:
    """The counts, a line a setting."""
    rows = [("setting", "kept", "train", "test", "share", "change")]
    for one in [found["present"], *found["settings"]]:
        split = one["by_split"]
        counts = [str(n) for n in (one["survivors"], split["train"], split["test"])]
        share = f"{100 * one['share']:.1f} %" if one["share"] is not None else "-"
        rows.append((label(one), *counts, share, f"{one['change']:+d}"))
    for line in table_lines(rows, "lrrrrr"):
        say(line)


def log_table(tracker: Run, found: dict[str, Any]) -> None:
    """The counts as a table of the W&B run."""
    columns = ["setting", "kept", "train", "test", "share", "change"]
    rows = []
    for one in [found["present"], *found["settings"]]:
        counts = [one["survivors"], one["by_split"]["train"], one["by_split"]["test"]]
        rows.append([label(one), *counts, one["share"], one["change"]])
    tracker.table("sweep", columns, rows)


def label(one: dict[str, Any]) -> str:
    """What a setting is called: its changes, as they would be typed."""
    if not one["changes"]:
        return "as the run has it"
    return ", ".join(f"{name}={_value(value)}" for name, value in one["changes"].items())


def charts(found: dict[str, Any]) -> list[Markup]:
    """What stays over each threshold; of a grid over two, a line for each value of the second."""
    varied = list(dict.fromkeys(name for one in found["settings"] for name in one["changes"]))
    if found["grid"] and len(varied) > 1:
        return [_grid_chart(found["settings"], *varied)] if len(varied) == 2 else []
    drawn = (_chart(found, name) for name in varied)
    return [chart for chart in drawn if chart is not None]


def _chart(found: dict[str, Any], name: str) -> Markup | None:
    points = {
        float(one["changes"][name]): one for one in found["settings"] if _is_number(one, name)
    }
    own = found["thresholds"][name]
    if isinstance(own, int | float) and not isinstance(own, bool) and points:
        points[float(own)] = found["present"]
    if len(points) < 2:
        return None
    x = sorted(points)
    present = float(found["present"]["survivors"])
    series = [
        pages.Series("kept", x, [float(points[value]["survivors"]) for value in x]),
        pages.Series("at present", [x[0], x[-1]], [present, present], faint=True),
    ]
    return pages.line_chart(series, name, name.replace("_", " "), "clips kept")


def _grid_chart(settings: Sequence[dict[str, Any]], across: str, lines: str) -> Markup:
    values = list(dict.fromkeys(one["changes"][lines] for one in settings))
    series = []
    for value in values[:4]:
        own = [
            one for one in settings if one["changes"][lines] == value and _is_number(one, across)
        ]
        own.sort(key=lambda one: one["changes"][across])
        x = [float(one["changes"][across]) for one in own]
        series.append(pages.Series(_value(value), x, [float(one["survivors"]) for one in own]))
    title = f"{across}; lines: {lines}"
    return pages.line_chart(series, title, across.replace("_", " "), "clips kept")


def _is_number(one: dict[str, Any], name: str) -> bool:
    value = one["changes"].get(name)
    return isinstance(value, int | float) and not isinstance(value, bool)


def _survivors(found: dict[str, Any]) -> Markup:
    titles = {"Kept": 0, "Train": 0, "Test": 0, "Share, %": 1, "Change": 0, "Change, %": 1}
    columns = [pages.Column("Setting")]
    columns += [pages.Column(title, number=True, digits=n) for title, n in titles.items()]
    present = found["present"]["survivors"]
    rows = []
    for one in [found["present"], *found["settings"]]:
        split = one["by_split"]
        change = one["change"]
        cells = [label(one), one["survivors"], split["train"], split["test"]]
        cells.append(None if one["share"] is None else 100 * one["share"])
        if one["changes"]:
            cells.append(pages.Cell(change, _signed(change)))
            part = 100 * change / present if present else None
            cells.append(None if part is None else pages.Cell(part, _signed(part, 1)))
        else:
            cells += [None, None]
        rows.append(pages.Row(cells))
    return pages.table(columns, rows, "What each setting keeps, beside what the run keeps")


def _dropped(found: dict[str, Any]) -> Markup:
    every = [found["present"], *found["settings"]]
    counts = {
        name: [one["dropped"].get(name, 0) for one in every]
        for name in sorted(set().union(*(one["dropped"] for one in every)))
    }
    # Those that the settings change most come first.
    shown = sorted(counts, key=lambda name: (min(counts[name]) - max(counts[name]), name))[:REASONS]
    columns = [pages.Column("Setting")]
    columns += [pages.Column(name.replace("_", " "), number=True) for name in shown]
    columns.append(pages.Column("others", number=True))
    rows = []
    for one in every:
        rest = sum(count for name, count in one["dropped"].items() if name not in shown)
        rows.append(pages.Row([label(one), *(one["dropped"].get(name, 0) for name in shown), rest]))
    return pages.table(columns, rows, "Clips dropped, by the first reason that applied")


def _mix(found: dict[str, Any], kind: str) -> Markup:
    """Shares of the kept, %."""
    every = [found["present"], *found["settings"]]
    shown = list(found["present"]["mix"][kind])[:SHOWN]
    columns = [pages.Column("Setting")]
    columns += [pages.Column(_shown(name), number=True, digits=1) for name in shown]
    others = any(set(one["mix"][kind]) - set(shown) for one in every)
    if others:
        columns.append(pages.Column("others", number=True, digits=1))
    rows = []
    for one in every:
        counts = one["mix"][kind]
        total = sum(counts.values())
        cells = [counts.get(name, 0) for name in shown]
        if others:
            cells.append(total - sum(cells))
        shares = [100 * count / total if total else None for count in cells]
        rows.append(pages.Row([label(one), *shares]))
    return pages.table(columns, rows, f"{MIX[kind]}: share of the kept, %")


def _thresholds(found: dict[str, Any]) -> Markup:
    columns = [pages.Column("Threshold"), pages.Column("Value in the run")]
    rows = [pages.Row([name, _value(value)]) for name, value in found["thresholds"].items()]
    return pages.table(columns, rows, "Thresholds of the run")


def _value(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:g}"


def _signed(value: float, digits: int = 0) -> str:
    return ("+" if value > 0 else "") + number(value, digits)


def _shown(name: str) -> str:
    return name if len(name) <= 40 else name[:39] + "…"
