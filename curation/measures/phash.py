"""Perceptual hashes: near copies differ in few of their bits."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from curation.measures.contract import Column, Footage, Measure

POSITIONS = (0.25, 0.5, 0.75)
"""Where in the clip the hashed frames lie."""


def clip_phash(frames: Sequence[np.ndarray]) -> str:
    """Three 64-bit hashes of a clip (uint8 RGB [h, w, 3] each) as 48 hex digits."""
    import imagehash
    from PIL import Image

    chosen = [frames[int(position * len(frames))] for position in POSITIONS]
    return "".join(str(imagehash.phash(Image.fromarray(frame))) for frame in chosen)


def phash_bits(phash: str) -> np.ndarray:
    """The hashes of `clip_phash` as uint64 [3]."""
    return np.array([int(phash[i : i + 16], 16) for i in range(0, len(phash), 16)], np.uint64)


def measure(footage: Footage, settings: None) -> dict[str, Any]:
    """The hashes by which near copies are found."""
    return {"phash": clip_phash(footage.frames)}


MEASURE = Measure(
    name="phash",
    version=1,
    columns={"phash": Column("three 64-bit perceptual hashes, hexadecimal", "text")},
    compute=measure,
)
