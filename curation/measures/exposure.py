"""Frames that show nothing, and frames that show nothing new.

Both look at every frame of the shot, seen small, where coding noise is averaged away.
"""

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np

from curation.measures.contract import Column, Footage, Measure

DARK_LUMA = 32
"""0 … 255. A pixel below it is dark."""

DARK_SHARE = 0.95
"""Share of dark pixels above which a frame counts as black."""

REPEAT_DIFFERENCE = 4
"""0 … 255. A pixel that differs by no more has not changed, but for the coding."""

REPEAT_SHARE = 0.001
"""Share of the pixels that may change between a frame and its repetition."""


def black_share(frames: Sequence[np.ndarray]) -> float:
    """Share of black frames among `frames` (uint8 BGR [h, w, 3] each, seen small)."""
    return _black_share(_lumas(frames))


def frozen_share(frames: Sequence[np.ndarray]) -> float:
    """Share of frames that repeat the one before. Animation drawn on twos has 0.5.

    Args:
        frames: uint8 BGR [h, w, 3] each, consecutive, about 72 pixels high: in large frames coding
            noise is change.
    """
    return _frozen_share(_lumas(frames))


def measure(footage: Footage, settings: None) -> dict[str, Any]:
    """Shares of black frames and of repeated ones."""
    lumas = _lumas(footage.tiny)
    return {"black_share": _black_share(lumas), "frozen_share": _frozen_share(lumas)}


def _lumas(frames: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Rec. 601 luma, uint8 [h, w] each."""
    import cv2

    return [cv2.cvtColor(frame, cv2.COLOR_BGR2GRAY) for frame in frames]


def _black_share(lumas: Sequence[np.ndarray]) -> float:
    dark = [np.count_nonzero(luma < DARK_LUMA) / luma.size for luma in lumas]
    return float(np.mean(np.array(dark) > DARK_SHARE))


def _frozen_share(lumas: Sequence[np.ndarray]) -> float:
    import cv2

    changed = [
        np.count_nonzero(cv2.absdiff(before, after) > REPEAT_DIFFERENCE) / after.size
        for before, after in itertools.pairwise(lumas)
    ]
    return float(np.mean(np.array(changed) < REPEAT_SHARE)) if changed else 0.0


MEASURE = Measure(
    name="exposure",
    version=1,
    columns={
        "black_share": Column("share of frames"),
        "frozen_share": Column("share of frames"),
    },
    compute=measure,
)
