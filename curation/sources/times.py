"""Times as tables write them: seconds, clocks, ISO durations, pairs of these, frames."""

import json
import re
from functools import lru_cache

from curation.sources.cells import BadRow, literal, shown

LONGEST_S = 1e7  # seconds, 115 days; a time beyond it is a mistake

Interval = tuple[float, float | None]
"""Start and end in seconds; None: to the end of the file."""

_CLOCK = re.compile(r"(?:(\d{1,6}):)?(\d{1,6}):(\d{1,2}(?:[.,]\d{1,9})?)", re.ASCII)
_ISO = re.compile(
    r"PT(?:(\d{1,6})H)?(?:(\d{1,6})M)?(?:(\d{1,6}(?:\.\d{1,9})?)S)?", re.ASCII | re.IGNORECASE
)


@lru_cache(maxsize=4096)  # stated durations are few and come again and again
def seconds(text: str) -> float:
    """Seconds of `12.5`, `H:MM:SS.mmm`, `MM:SS` or `PT00H00M18S`.

    Raises:
        ValueError: none of these, negative, not finite, or longer than any video.
    """
    if match := _CLOCK.fullmatch(text) or (len(text) > 2 and _ISO.fullmatch(text)):
        hours, minutes, rest = match.groups()
        value = int(hours or 0) * 3600 + int(minutes or 0) * 60
        value += float((rest or "0").replace(",", "."))
    else:
        value = float(text)
    if not 0 <= value <= LONGEST_S:
        raise ValueError(f"{text} s")
    return value


def stated(cell: str) -> float | None:
    """A duration that only informs: None where it cannot be read."""
    try:
        return seconds(cell) or None
    except ValueError:
        return None


def interval(start: str, end: str | None) -> Interval:
    """Start and end in seconds.

    Raises:
        BadRow: one of them is no time, or the end is not behind the start.
    """
    try:
        start_s = seconds(start)
        end_s = None if end is None else seconds(end)
    except ValueError:
        raise BadRow("bad_time", f"from {shown(start)} to {shown(str(end))}") from None
    if end_s is not None and end_s <= start_s:
        raise BadRow("bad_time", f"from {shown(start)} to {shown(str(end))}: reversed or empty")
    return start_s, end_s


def span(cell: str) -> Interval:
    """Start and end from a cell such as `['0:00:08.3', '0:00:12.2']`, `[8.3, 12.2]` or `8.3-12.2`.

    Raises:
        BadRow: the cell is no pair of times.
    """
    value = literal(cell) if cell[:1] in "[(" else re.split(r"\s*(?:,|-->|-|–)\s*", cell[:80])
    if not isinstance(value, list | tuple) or len(value) != 2:
        raise BadRow("bad_time", f"the span {shown(cell)} is no pair")
    start, end = (part if isinstance(part, str) else json.dumps(part) for part in value)
    return interval(start.strip(), end.strip())


def frame_interval(first: str, last: str, rate: str) -> Interval:
    """Start and end in seconds of the frames [first, last) at `rate` frames per second.

    Raises:
        BadRow: one of the three is no such number.
    """
    try:
        fps, start, end = float(rate), float(first), float(last)
        if not 0 < fps < 10_000:
            raise ValueError
        return interval(repr(start / fps), repr(end / fps))
    except ValueError:
        message = f"frames {shown(first)} to {shown(last)} at {shown(rate)} frames/s"
        raise BadRow("bad_time", message) from None
