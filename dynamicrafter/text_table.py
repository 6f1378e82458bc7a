"""Small tables for the terminal: plain text, columns under each other."""

from collections.abc import Sequence


def table_lines(rows: Sequence[Sequence[str]], sides: str, indent: str = "  ") -> list[str]:
    """Rows of cells as lines.

    Args:
        rows: the header first, if there is one; all of one length.
        sides: `l` or `r` for each column, the side that its cells stand at.
        indent: what begins every line.
    """
    widths = [max((len(row[i]) for row in rows), default=0) for i in range(len(sides))]
    lines = []
    for row in rows:
        cells = (
            cell.ljust(width) if side == "l" else cell.rjust(width)
            for cell, width, side in zip(row, widths, sides, strict=True)
        )
        lines.append((indent + "  ".join(cells)).rstrip())
    return lines


def byte_text(count: float) -> str:
    """A number of bytes with three digits and a decimal unit: `1.80 MB`."""
    units = ("B", "kB", "MB", "GB", "TB", "PB")
    power = 0
    while abs(count) >= 999.5 and power < len(units) - 1:
        count, power = count / 1000, power + 1
    if power == 0:
        return f"{count:.0f} B"
    places = 2 if abs(count) < 9.995 else 1 if abs(count) < 99.95 else 0
    return f"{count:.{places}f} {units[power]}"


def time_text(seconds: float) -> str:
    """A duration in the two units that tell: `42 s`, `3 min 5 s`, `2 h 10 min`, `3 d 4 h`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    minutes = round(seconds / 60)
    if minutes < 48 * 60:
        return f"{minutes // 60} h {minutes % 60} min"
    hours = round(seconds / 3600)
    return f"{hours // 24} d {hours % 24} h"
