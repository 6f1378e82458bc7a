"""Bars beside the picture: what a letterboxed film loses of its frame.

A bar is a run of lines along a side that keep one colour over the whole shot and end in a straight
edge, where the picture begins along much of the side at once. A night sky fades in or ends in a
skyline, so it is none. Bars that are not dark count in pairs of one colour alone: a white sky above
a straight horizon has no counterpart below. Bars filled with a blurred picture are not found.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from curation.measures.contract import Column, Footage, Measure

FRAMES = 8
"""At most so many frames are looked at, evenly spaced."""

TOLERANCE = 6
"""0 … 255. What coding noise moves a channel of the bar's colour by."""

CONSTANT_SHARE = 0.99
"""Share of a line's values, over the shot, that lie within the tolerance in a bar."""

EDGE_DIFFERENCE = 16
"""0 … 255. A picture's value beside the bar differs from it by more, at some time."""

EDGE_SHARE = 0.4
"""Share of the edge along which it does."""

DARK = 32
"""0 … 255. A bar with no channel above it is dark and may stand alone."""

MIN_LINES = 2
"""A single line is the frayed border of a scan, or of a resize."""


def letterbox_share(frames: Sequence[np.ndarray]) -> float:
    """Share of the picture that bars take.

    Args:
        frames: uint8 [h, w, 3] each, about 72 pixels high; the result comes in steps of a line.
    """
    count = min(FRAMES, len(frames))
    chosen = np.linspace(0, len(frames) - 1, count).round().astype(int)
    video = np.stack([frames[i] for i in chosen]).astype(np.int16)  # [t, h, w, 3]
    height, width = video.shape[1:3]
    top, bottom = _pair(video)
    video = video[:, top : height - bottom].transpose(0, 2, 1, 3)  # [t, w, h', 3]
    left, right = _pair(video)
    return 1 - (height - top - bottom) * (width - left - right) / (height * width)


def _pair(video: np.ndarray) -> tuple[int, int]:
    """Lines of the bars before the first and after the last line of the picture."""
    first, first_colour = _bar(video)
    last, last_colour = _bar(video[:, ::-1])
    alike = (
        min(first, last) > 0
        and abs(first - last) <= 1
        and np.abs(first_colour - last_colour).max() <= TOLERANCE
    )
    if not alike:
        first = first if first_colour.max() <= DARK else 0
        last = last if last_colour.max() <= DARK else 0
    return first, last


def _bar(video: np.ndarray) -> tuple[int, np.ndarray]:
    """Lines of the bar at the beginning of the second axis of [t, lines, n, 3], and its colour."""
    colour = np.median(video[:, 0], axis=(0, 1)).astype(np.int16)  # [3]
    away = np.abs(video - colour)  # [t, lines, n, 3]
    constant = (away <= TOLERANCE).mean(axis=(0, 2, 3)) >= CONSTANT_SHARE  # [lines]
    if constant.all():  # nothing but one colour: there is no picture that bars could frame
        return 0, colour
    lines = int(constant.argmin())
    edge = away[:, lines : lines + 2].max(axis=(0, 1, 3))  # [n]; the first line may be a mixture
    straight = np.mean(edge > EDGE_DIFFERENCE) >= EDGE_SHARE
    return (lines if straight and lines >= MIN_LINES else 0), colour


def measure(footage: Footage, settings: None) -> dict[str, Any]:
    """What bars take of the picture."""
    return {"letterbox_share": letterbox_share(footage.tiny)}


MEASURE = Measure(
    name="letterbox",
    version=1,
    columns={"letterbox_share": Column("share of the picture")},
    compute=measure,
)
