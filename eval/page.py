"""`evaluation.html`: one evaluation on one self-contained page, with all that limits it."""

from collections.abc import Sequence
from pathlib import Path

from markupsafe import Markup

from dynamicrafter import pages
from dynamicrafter.pages.tables import number
from eval import results
from eval.tables import metrics_table, pair_figures, protocol_table, significant, value_cell

MOST_GROUPS = 200


def evaluation_page(
    found: results.Results, folder: Path, pairs: Sequence[results.Pair], megabytes: int
) -> str:
    """The page of a result.

    Args:
        found: the result.
        folder: where the videos of its pairs lie.
        pairs: those that may be shown.
        megabytes: bytes of media that the page may take in.
    """
    rows = {row.metric: row for row in found.rows}
    figures = pair_figures(folder, pairs, True, len(pairs), pages.Budget(megabytes))
    values = {
        "found": found,
        "headline": [rows[name] for name in ("fvd", "kvd", "pic", "clip_sim") if name in rows],
        "table": metrics_table(found.rows, f"{found.method} under {found.protocol['name']}"),
        "settings": protocol_table(found.protocol),
        "remarks": results.remarks(found),
        "charts": _charts(found),
        "pairs": figures,
        "withheld": len(found.pairs) - len(pairs),
        "groups": _groups(found.groups),
        "sides": _sides(found),
        "absent": [row for row in found.rows if row.value is None],
        "number": number,
        "significant": significant,
    }
    return pages.render("evaluation.html", values, package="eval")


def _charts(found: results.Results) -> list[Markup]:
    charts = []
    if "fvd" in found.curves:
        series = [pages.Series("generated", found.curves["fvd"]["x"], found.curves["fvd"]["y"])]
        if "fvd_real" in found.curves:
            floor = found.curves["fvd_real"]
            series.append(pages.Series("real", floor["x"], floor["y"]))
        title = "FVD from fewer and fewer videos"
        charts.append(pages.line_chart(series, title, "videos", "FVD"))
    if "pic" in found.curves:
        curve = pages.Series("PIC", found.curves["pic"]["x"], found.curves["pic"]["y"])
        title = "Likeness to the input image, frame by frame"
        charts.append(pages.line_chart([curve], title, "frame", "1 − DreamSim distance"))
    return charts


def _groups(groups: Sequence[results.Group]) -> Markup | None:
    if not groups:
        return None
    metrics = sorted({metric for group in groups for metric in group.values})
    columns = [pages.Column("Group"), pages.Column("Videos", number=True)]
    columns += [pages.Column(metric.replace("_", " "), number=True) for metric in metrics]
    rows = [
        pages.Row(
            [group.name, group.count, *(value_cell(group.values.get(metric)) for metric in metrics)]
        )
        for group in groups[:MOST_GROUPS]
    ]
    return pages.table(columns, rows, f"Means of {len(rows)} of {len(groups)} groups")


def _sides(found: results.Results) -> Markup | None:
    """FVD and KVD of the same videos under every protocol that was asked for."""
    if not found.sides:
        return None
    columns = [
        pages.Column("Protocol"),
        *(pages.Column(name, number=True) for name in ("FVD", "KVD", "FVD of real")),
        pages.Column("Network"),
        pages.Column("Resizing"),
        pages.Column("Stride", number=True),
        pages.Column("Covariance"),
    ]
    rows = []
    for protocol, of_protocol in [
        (found.protocol, found.rows),
        *((side.protocol, side.rows) for side in found.sides),
    ]:
        by = {row.metric: row for row in of_protocol}
        values = [by.get(name) for name in ("fvd", "kvd", "fvd_real")]
        reason = by["fvd"].reason if by["fvd"].value is None else None
        rows.append(
            pages.Row(
                [
                    protocol["name"],
                    *(value_cell(row.value if row else None) for row in values),
                    protocol["network"],
                    protocol["resize"].replace("_", " "),
                    protocol["stride"],
                    protocol["covariance"],
                ],
                reason=reason,
            )
        )
    return pages.table(columns, rows, "The same videos under other protocols")
