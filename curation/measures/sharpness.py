"""How sharp the picture is: the variance of its Laplacian, which falls steeply with defocus.

The usual focus measure (Pech-Pacheco and others, "Diatom autofocusing in brightfield microscopy",
2000). It grows with the contrast squared and is ruled by the sharpest part of the picture: a sharp
subject before a blurred background counts as sharp, while fog and plain sky are as smooth as a
defocused picture. The median over the shot passes over moments of motion blur.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from curation.measures.contract import Column, Footage, Measure

FRAMES = 8
"""At most so many frames are looked at, evenly spaced."""

SHORT_SIDE = 256
"""Pixels. Larger frames are shrunk to it, so the figure does not depend on how they were decoded;
smaller ones are measured as they are."""


def sharpness(frames: Sequence[np.ndarray]) -> float:
    """Median over the frames of the variance of the Laplacian of the luma, in grey levels squared.

    Args:
        frames: uint8 RGB [h, w, 3] each.
    """
    import cv2

    count = min(FRAMES, len(frames))
    chosen = np.linspace(0, len(frames) - 1, count).round().astype(int)
    variances = [cv2.Laplacian(_luma(frames[i]), cv2.CV_32F).var() for i in chosen]
    return float(np.median(variances))


def _luma(frame: np.ndarray) -> np.ndarray:
    import cv2

    height, width = frame.shape[:2]
    luma = cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY)
    scale = SHORT_SIDE / min(height, width)
    if scale >= 1:
        return luma
    size = (round(width * scale), round(height * scale))
    return cv2.resize(luma, size, interpolation=cv2.INTER_AREA)


def measure(footage: Footage, settings: None) -> dict[str, Any]:
    """The median focus measure of the shot."""
    return {"sharpness": sharpness(footage.frames)}


MEASURE = Measure(
    name="sharpness",
    version=1,
    columns={
        "sharpness": Column("grey levels squared, variance of the Laplacian at 256 px short side")
    },
    compute=measure,
)
