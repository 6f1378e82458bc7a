"""Charts that only the pages about captions have: histogram of counts, reliability diagram."""

from collections.abc import Iterable, Sequence
from typing import Any

from markupsafe import Markup

from dynamicrafter.pages.charts import BOTTOM, HEIGHT, LEFT, RIGHT, TOP, WIDTH, place, ticks


def histogram(counts: Sequence[int], top: float, title: str, x_label: str, y_label: str) -> Markup:
    """Bars of the share, in percent, that each of equal bins over 0 … 1 has of all `counts`.

    Args:
        counts: a bin.
        top: percent at the top of the axis, so that charts side by side have one scale.
        title: stands above it.
        x_label: what is counted.
        y_label: what the percent are of.
    """
    total = sum(counts) or 1
    parts = [_frame(ticks(0, top, 4), top, (0, 0.25, 0.5, 0.75, 1), 1, x_label, y_label)]
    width = (RIGHT - LEFT) / len(counts)
    for index, count in enumerate(counts):
        y = place(100 * count / total, 0, top, BOTTOM, TOP, log=False)
        edges = (index / len(counts), (index + 1) / len(counts))
        parts.append(
            Markup(
                '<rect class="bar" x="{:.1f}" y="{:.1f}" width="{:.1f}" height="{:.1f}">'
                "<title>{:g} to {:g}: {}</title></rect>"
            ).format(LEFT + index * width + 1, y, width - 2, BOTTOM - y, *edges, count)
        )
    return _figure(title, f"{title}: {sum(counts)} of them, {y_label} by {x_label}.", parts)


def diagram(bins: Sequence[dict[str, Any]], title: str, y_label: str) -> Markup:
    """A reliability diagram: a point a bin with its interval, over the diagonal.

    Args:
        bins: `statistics.Bin` as dictionaries.
        title: stands above it.
        y_label: what came true, in percent.
    """
    marks = (0, 25, 50, 75, 100)
    parts = [
        _frame(marks, 100, marks, 100, "stated confidence", y_label),
        Markup('<path class="faint" d="M{} {}L{} {}"/>').format(LEFT, BOTTOM, RIGHT, TOP),
    ]
    for one in bins:
        share = one["share"]
        low, high, y = (
            place(share[name], 0, 1, BOTTOM, TOP, log=False) for name in ("low", "high", "value")
        )
        parts.append(
            Markup(
                '<path class="line" d="M{x:.1f} {low:.1f}V{high:.1f}"/>'
                '<circle class="bar" cx="{x:.1f}" cy="{y:.1f}" r="4"><title>{text}</title></circle>'
            ).format(
                x=place(one["stated"], 0, 1, LEFT, RIGHT, log=False),
                low=low,
                high=high,
                y=y,
                text=f"{100 * one['stated']:.0f}: {100 * share['value']:.0f} % of {one['n']}",
            )
        )
    return _figure(title, f"{title}: {len(bins)} bins of stated confidence.", parts)


def _frame(
    y_marks: Iterable[float],
    y_top: float,
    x_marks: Iterable[float],
    x_top: float,
    x_label: str,
    y_label: str,
) -> Markup:
    """Grid, marks and labels of axes that begin at 0."""
    parts = []
    for mark in y_marks:
        y = place(mark, 0, y_top, BOTTOM, TOP, log=False)
        parts.append(
            Markup(
                '<line class="grid" x1="{0}" x2="{1}" y1="{2:.1f}" y2="{2:.1f}"/>'
                '<text x="{3}" y="{4:.1f}" text-anchor="end">{5:g}</text>'
            ).format(LEFT, RIGHT, y, LEFT - 6, y + 4, round(mark, 6))
        )
    for mark in x_marks:
        x = place(mark, 0, x_top, LEFT, RIGHT, log=False)
        parts.append(
            Markup('<text x="{:.1f}" y="{}" text-anchor="middle">{:g}</text>').format(
                x, BOTTOM + 16, mark
            )
        )
    middle = (TOP + BOTTOM) / 2
    parts.append(
        Markup(
            '<text x="{}" y="{}" text-anchor="middle">{}</text>'
            '<text x="10" y="{}" transform="rotate(-90 10 {})" text-anchor="middle">{}</text>'
        ).format((LEFT + RIGHT) / 2, BOTTOM + 35, x_label, middle, middle, y_label)
    )
    return Markup("").join(parts)


def _figure(title: str, description: str, parts: Iterable[Markup]) -> Markup:
    return Markup(
        '<figure class="chart"><figcaption>{}</figcaption>'
        '<svg role="img" viewBox="0 0 {} {}" aria-label="{}">{}</svg></figure>'
    ).format(title, WIDTH, HEIGHT, description, Markup("").join(parts))
