"""Frames that show nothing, and frames that show nothing new."""

import itertools
from collections.abc import Sequence

import numpy as np

DARK_LUMA = 32.0
"""0 … 255. A frame whose 95 % darkest pixels stay below it counts as black."""

REPEAT_DIFFERENCE = 4.0
"""0 … 255. A pixel that differs less has not changed, but for the coding."""

REPEAT_SHARE = 0.001
"""Share of the pixels that may change between a frame and its repetition."""


def black_share(frames: Sequence[np.ndarray]) -> float:
    """Share of black frames among `frames` (uint8 RGB [h, w, 3] each)."""
    return float(np.mean([np.percentile(_luma(frame), 95) < DARK_LUMA for frame in frames]))


def frozen_share(frames: Sequence[np.ndarray]) -> float:
    """Share of frames that repeat the one before. Animation drawn on twos has 0.5."""
    lumas = [_luma(frame) for frame in frames]
    changed = [np.mean(np.abs(b - a) > REPEAT_DIFFERENCE) for a, b in itertools.pairwise(lumas)]
    return float(np.mean(np.array(changed) < REPEAT_SHARE)) if changed else 0.0


def _luma(frame: np.ndarray) -> np.ndarray:
    """Rec. 601 luma at a quarter of the size, float32 [h/4, w/4]."""
    import cv2

    height, width = frame.shape[:2]
    size = (max(1, width // 4), max(1, height // 4))
    small = cv2.resize(frame, size, interpolation=cv2.INTER_AREA)
    return cv2.cvtColor(small, cv2.COLOR_RGB2GRAY).astype(np.float32)
