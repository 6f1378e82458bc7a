"""The feature network of FVD, from frames in memory to logits."""

import numpy as np

from dynamicrafter import assets
from dynamicrafter.features import I3D_ASSET
from dynamicrafter.features.i3d import load_i3d, logits
from tests.bench.matrix import CPU, network_row
from tests.bench.timing import Row

SHAPE = (1, 16, 224, 224, 3)


def rows() -> list[Row]:
    """One clip at a time, 16 frames."""
    model = load_i3d(assets.path(I3D_ASSET))
    clip = np.random.default_rng(0).integers(0, 256, SHAPE, dtype=np.uint8)

    def work() -> np.ndarray:
        return logits(model, clip, "direct_bilinear_halfpixel")

    return [network_row("I3D", work, CPU, count=1, unit="clips")]
