"""The feature network of FVD, from frames in memory to logits."""

import numpy as np

from dynamicrafter.features.i3d import i3d_network
from tests.bench.matrix import CPU, network_row
from tests.bench.timing import Row

SHAPE = (1, 16, 224, 224, 3)


def rows() -> list[Row]:
    """One clip at a time, 16 frames."""
    extract = i3d_network("tfhub", "direct_bilinear_halfpixel").load("cpu")
    clip = np.random.default_rng(0).integers(0, 256, SHAPE, dtype=np.uint8)

    def work() -> np.ndarray:
        return extract(clip)

    return [network_row("I3D", work, CPU, count=1, unit="clips")]
