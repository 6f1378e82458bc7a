"""What reviewers said, as a page that explains itself."""

from typing import Any

from curation.commands import calibrated
from curation.commands.coloured import coloured, legend, style
from dynamicrafter import pages
from dynamicrafter.pages.tables import number

GROUPS = {"category": "Category", "source": "Source", "purity": "Purity"}


def page(found: dict[str, Any]) -> str:
    """`score.html` of the content of `score.json`."""
    sure, accepted = found["confidence"], found["accepted"]
    kappas = [one["kappa"][0] for one in found["kappa"] if one["kappa"] is not None]
    values = {
        "pick": found["pick"],
        "judged": found["judged"],
        "clips": found["clips"],
        "reviewers": len(found["reviewers"]),
        "figures": [
            ("of the captions accepted", _percent(accepted["value"])),
            ("95 % interval", f"{100 * accepted['low']:.0f} to {_percent(accepted['high'])}"),
            ("Cohen's kappa", f"{kappas[0]:.2f}" if len(kappas) == 1 else "—"),
            ("calibration error", "—" if sure is None else f"{sure['error']:.2f}"),
        ],
        "groups": [_groups(found["groups"][name], title) for name, title in GROUPS.items()],
        "by_reviewer": _reviewers(found["reviewers"]),
        "kappa": found["kappa"] and _kappa(found["kappa"]),
        "gate": found["gate"],
        "gate_table": _gate(found["gate"]),
        "gate_cells": _cells(found["gate"]),
        "sure_chart": sure and calibrated.chart(sure, "Confidence and acceptance", "accepted, %"),
        "sure_bins": sure
        and calibrated.bins_table(sure, "What the diagram is made of, in percent", "Accepted"),
        "edits": found["edits"] and _edits(found["edits"]),
        "legend": legend(),
        "refused": found["refused"] and _refused(found["refused"]),
    }
    return pages.render("review_score.html", values, "curation.commands", style=style())


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"


def _groups(groups: dict[str, Any], title: str) -> Any:
    columns = [pages.Column(title), *_interval_columns("Accepted, %")]
    columns.insert(1, pages.Column("Clips", number=True))
    rows = [
        pages.Row([name.replace("_", " "), one["n"], *_interval(one)])
        for name, one in groups.items()
    ]
    return pages.table(columns, rows, f"Accepted by {title.lower()}")


def _reviewers(reviewers: dict[str, Any]) -> Any:
    names = ("accept", "reject", "edit")
    columns = [pages.Column("Reviewer")]
    columns += [pages.Column(name.capitalize(), number=True) for name in names]
    columns.append(pages.Column("Median, s", number=True, digits=1))
    rows = [
        pages.Row([who, *(one[name] for name in names), one["median_seconds"]])
        for who, one in reviewers.items()
    ]
    return pages.table(columns, rows, "Verdicts of each reviewer")


def _kappa(pairs: list[dict[str, Any]]) -> Any:
    columns = [pages.Column("Reviewers"), pages.Column("Clips", number=True)]
    columns += [pages.Column("Equal", number=True), pages.Column("Kappa", number=True, digits=2)]
    columns.append(pages.Column("95 % interval", number=True))
    rows = []
    for one in pairs:
        cells: list[Any] = [None, None]
        if one["kappa"] is not None:
            value, low, high = one["kappa"]
            cells = [value, f"{number(low, 2)} to {number(high, 2)}"]
        names = f"{one['first']}, {one['second']}"
        rows.append(pages.Row([names, one["clips"], one["equal"], *cells]))
    return pages.table(columns, rows, "Agreement on the clips that both judged")


def _gate(gate: dict[str, Any]) -> Any:
    columns = [pages.Column("Figure"), *_interval_columns("Share, %")]
    said = {
        "precision": "Precision: of what the gate lets through, reviewers accept",
        "recall": "Recall: of what reviewers accept, the gate lets through",
    }
    rows = [pages.Row([text, *_interval(gate[name])]) for name, text in said.items()]
    return pages.table(columns, rows, "The gate against the reviewers")


def _cells(gate: dict[str, Any]) -> Any:
    columns = [pages.Column("The gate"), pages.Column("Accepted", number=True)]
    columns.append(pages.Column("Not accepted", number=True))
    rows = [
        pages.Row([text, gate[f"{name}_accepted"], gate[f"{name}_refused"]])
        for name, text in (("passed", "lets it through"), ("failed", "holds it back"))
    ]
    return pages.table(columns, rows, "Clips by what gate and reviewers say")


def _edits(edits: list[dict[str, Any]]) -> Any:
    columns = [pages.Column("Clip"), pages.Column("Old"), pages.Column("New")]
    columns.append(pages.Column("Reviewer"))
    rows = [
        pages.Row([one["key"], coloured(one["old"]), coloured(one["wording"]), one["reviewer"]])
        for one in edits
    ]
    return pages.table(columns, rows, "All edits; of one clip the last stands in edits.csv")


def _refused(refused: dict[str, int]) -> Any:
    columns = [pages.Column("Reason"), pages.Column("Lines", number=True)]
    rows = [pages.Row([name.replace("_", " "), n]) for name, n in refused.items()]
    return pages.table(columns, rows, "Lines of the answers that count nowhere")


def _interval_columns(title: str) -> list[pages.Column]:
    titles = (title, "95 % from", "to")
    return [pages.Column(name, number=True, digits=1) for name in titles]


def _interval(one: dict[str, Any] | None) -> list[float | None]:
    if one is None:
        return [None, None, None]
    return [100 * one[name] for name in ("value", "low", "high")]
