"""Charts as inline SVG: line chart, histogram, funnel. The page's style gives colours and fonts.

A chart is as wide as a telephone and is set side by side on wider screens, so its text is never
scaled below its size; the funnel stretches by percentages instead.
"""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from dynamicrafter.pages.tables import number

WIDTH, HEIGHT = 300, 230
LEFT, RIGHT, TOP, BOTTOM = 44, 292, 22, 190  # the plot area
FUNNEL_STEP = 46  # px from one bar of a funnel to the next


@dataclass(frozen=True)
class Series:
    """One line: a name for the legend, x and y of equal length; a `faint` one lies behind."""

    name: str
    x: Sequence[float]
    y: Sequence[float]
    faint: bool = False


@dataclass(frozen=True)
class Bar:
    """One bar of a funnel: what it counts, the count, and a note on what was lost before it."""

    name: str
    count: int
    note: str = ""


def ticks(low: float, high: float, count: int = 5) -> list[float]:
    """Round numbers (1, 2 or 5 times a power of ten) inside [low, high], about `count` of them."""
    if high <= low:
        return [low]
    rough = (high - low) / count
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * 0.999)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [index * step for index in range(first, last + 1)]


def log_ticks(low: float, high: float) -> list[float]:
    """Powers of ten inside [low, high]; with fewer than two decades also 2 and 5 times them."""
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    factors = (1,) if math.log10(high / low) > 2 else (1, 2, 5)
    every = [factor * 10.0**decade for decade in decades for factor in factors]
    return [value for value in every if low * 0.999 <= value <= high * 1.001]


def place(value: float, low: float, high: float, start: float, end: float, log: bool) -> float:
    """The coordinate of `value` on an axis that puts `low` at `start` and `high` at `end`."""
    if log:
        value, low, high = math.log10(value), math.log10(low), math.log10(high)
    return start + (value - low) / (high - low) * (end - start)


def line_chart(
    series: Sequence[Series], title: str, x_label: str, y_label: str, log: bool = False
) -> Markup:
    """A line chart with axes, ticks and, for more than one series, a legend.

    Points that are not finite (on a log scale: not positive) are gaps in the line. Without any
    point the chart says that there is nothing to draw.
    """
    points = [(x, y) for one in series for x, y in _drawn(one, log)]
    if not points:
        return _svg(title, _note("nothing was recorded"), "Nothing was recorded.")
    x_low, x_high = _spread(min(x for x, _ in points), max(x for x, _ in points), False)
    y_low, y_high = _spread(min(y for _, y in points), max(y for _, y in points), log)
    y_ticks = log_ticks(y_low, y_high) if log else ticks(y_low, y_high)
    parts = [_y_axis(y_ticks, y_low, y_high, log, y_label)]
    parts.append(_x_axis(ticks(x_low, x_high), x_low, x_high, x_label))
    styles = _styles(series)
    for style, one in zip(styles, series, strict=True):
        path = _path(one, log, x_low, x_high, y_low, y_high)
        parts.append(Markup('<path class="{}" d="{}"/>').format(style, path))
    if len(series) > 1:
        parts.append(_legend(series, styles))
    last = ", ".join(f"{one.name} ends at {_short(one.y[-1])}" for one in series if len(one.y))
    return _svg(title, Markup("").join(parts), f"{y_label} against {x_label}: {last}.")


def histogram(
    values: Sequence[float], low: float, high: float, bins: int, title: str, x_label: str
) -> Markup:
    """Counts of `values` in `bins` equal bins over [low, high]; the last bin holds `high` too."""
    counts = [0] * bins
    for value in values:
        if low <= value <= high:
            counts[min(int((value - low) / (high - low) * bins), bins - 1)] += 1
    top = max(*counts, 1)
    width = (RIGHT - LEFT) / bins
    parts = [
        _y_axis([tick for tick in ticks(0, top) if tick == int(tick)], 0, top, False, "clips"),
        _x_axis(ticks(low, high), low, high, x_label),
    ]
    for index, count in enumerate(counts):
        height = count / top * (BOTTOM - TOP)
        edges = [_short(low + (high - low) * edge / bins) for edge in (index, index + 1)]
        parts.append(
            Markup(
                '<rect class="bar" x="{:.1f}" y="{:.1f}" width="{:.1f}" height="{:.1f}">'
                "<title>{} to {}: {}</title></rect>"
            ).format(LEFT + index * width + 1, BOTTOM - height, width - 2, height, *edges, count)
        )
    return _svg(title, Markup("").join(parts), f"{len(values)} values of {x_label}.")


def funnel(bars: Sequence[Bar], title: str) -> Markup:
    """Horizontal bars, each as long as its count is of the first; notes say what was lost."""
    whole = max([bar.count for bar in bars], default=0) or 1
    parts = []
    for index, bar in enumerate(bars):
        top = index * FUNNEL_STEP
        note = Markup('<tspan class="note">{}\u2003</tspan>').format(bar.note) if bar.note else ""
        parts.append(
            Markup(
                '<text x="0" y="{}" class="name">{}</text>'
                '<text x="100%" y="{}" text-anchor="end">{}<tspan class="count">{}</tspan></text>'
                '<rect class="track" x="0" y="{}" width="100%" height="12" rx="2"/>'
                '<rect class="bar" x="0" y="{}" width="{:.2f}%" height="12" rx="2"/>'
            ).format(
                top + 14, bar.name, top + 14, note, number(bar.count), top + 22, top + 22,
                100 * bar.count / whole,
            )
        )  # fmt: skip
    description = "; ".join(f"{bar.name}: {bar.count}" for bar in bars)
    return Markup(
        '<svg class="funnel" role="img" aria-label="{}" width="100%" height="{}">{}</svg>'
    ).format(f"{title}. {description}.", len(bars) * FUNNEL_STEP, Markup("").join(parts))


def _drawn(series: Series, log: bool) -> list[tuple[float, float]]:
    return [
        (x, y)
        for x, y in zip(series.x, series.y, strict=True)
        if math.isfinite(y) and (y > 0 or not log)
    ]


def _spread(low: float, high: float, log: bool) -> tuple[float, float]:
    """The range of an axis; a single value gets some room on both sides."""
    if high > low:
        return low, high
    return (low / 2, high * 2) if log else (low - 0.5, high + 0.5)


def _path(
    series: Series, log: bool, x_low: float, x_high: float, y_low: float, y_high: float
) -> str:
    drawn = set(_drawn(series, log))
    words, pen = [], "M"
    for x, y in zip(series.x, series.y, strict=True):
        if (x, y) not in drawn:
            pen = "M"
            continue
        across = place(x, x_low, x_high, LEFT, RIGHT, False)
        down = place(y, y_low, y_high, BOTTOM, TOP, log)
        words.append(f"{pen}{across:.1f} {down:.1f}")
        pen = "L"
    return "".join(words)


def _y_axis(marks: Sequence[float], low: float, high: float, log: bool, label: str) -> Markup:
    parts = []
    for mark in marks:
        y = place(mark, low, high, BOTTOM, TOP, log)
        parts.append(
            Markup(
                '<line class="grid" x1="{}" x2="{}" y1="{:.1f}" y2="{:.1f}"/>'
                '<text x="{}" y="{:.1f}" text-anchor="end">{}</text>'
            ).format(LEFT, RIGHT, y, y, LEFT - 6, y + 4, _short(mark))
        )
    middle = (TOP + BOTTOM) / 2
    turned = Markup('<text x="10" y="{0}" transform="rotate(-90 10 {0})" {1}>{2}</text>')
    parts.append(turned.format(middle, Markup('text-anchor="middle"'), label))
    return Markup("").join(parts)


def _x_axis(marks: Sequence[float], low: float, high: float, label: str) -> Markup:
    parts = [
        Markup('<line class="axis" x1="{}" x2="{}" y1="{}" y2="{}"/>').format(
            LEFT, RIGHT, BOTTOM, BOTTOM
        )
    ]
    for mark in marks:
        x = place(mark, low, high, LEFT, RIGHT, False)
        parts.append(
            Markup('<text x="{:.1f}" y="{}" text-anchor="middle">{}</text>').format(
                x, BOTTOM + 16, _short(mark)
            )
        )
    parts.append(
        Markup('<text x="{}" y="{}" text-anchor="middle">{}</text>').format(
            (LEFT + RIGHT) / 2, BOTTOM + 35, label
        )
    )
    return Markup("").join(parts)


def _styles(series: Sequence[Series]) -> list[str]:
    """The classes of the lines: colours are counted over those that are not faint."""
    colours = itertools.cycle(range(4))
    return ["faint" if one.faint else f"line line-{next(colours)}" for one in series]


def _legend(series: Sequence[Series], styles: Sequence[str]) -> Markup:
    """Names beside samples of the lines, above the plot and aligned to its right end."""
    parts, x = [], float(RIGHT)
    for style, one in zip(reversed(styles), reversed(series), strict=True):
        x -= 6.2 * len(one.name) + 32
        parts.append(
            Markup('<path class="{}" d="M{:.0f} 4h16"/><text x="{:.0f}" y="8">{}</text>').format(
                style, x, x + 21, one.name
            )
        )
    return Markup("").join(parts)


def _note(text: str) -> Markup:
    return Markup('<text x="{}" y="{}" text-anchor="middle">{}</text>').format(
        WIDTH / 2, HEIGHT / 2, text
    )


def _short(value: float) -> str:
    """A tick's text: at most four digits, thousands as k."""
    if abs(value) >= 10_000:
        return f"{value / 1000:.4g}k".replace("-", "\u2212")
    return f"{value:.4g}".replace("-", "\u2212")


def _svg(title: str, content: Markup, description: str) -> Markup:
    return Markup(
        '<figure class="chart"><figcaption>{}</figcaption>'
        '<svg role="img" viewBox="0 0 {} {}" aria-label="{}">{}</svg></figure>'
    ).format(title, WIDTH, HEIGHT, f"{title}. {description}", content)
