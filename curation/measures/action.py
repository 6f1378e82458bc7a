"""A guess at what is done in a clip, by a network that knows 400 human actions and nothing else.

The highest softmax value is not a calibrated probability; outside its classes the network guesses
all the same.
"""

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from curation.measures.contract import Column, Footage, Measure
from dynamicrafter.features import I3D_ASSET

FRAMES = 16
SIZE = 224


def available() -> tuple[Path | None, str]:
    """The network's weights, or None and the reason why there are none."""
    from dynamicrafter import assets
    from dynamicrafter.errors import InputError

    try:
        return assets.path(I3D_ASSET), ""
    except InputError as error:
        return None, str(error)


def guess_action(frames: Sequence[np.ndarray], weights: Path) -> tuple[str, float]:
    """The likeliest Kinetics-400 class of a clip and its softmax value.

    Args:
        frames: uint8 RGB [h, w, 3] each; 16 of them, evenly spaced, are looked at.
        weights: path of the asset `i3d-kinetics-400`.
    """
    import torch

    from dynamicrafter.features.i3d import kinetics_400_labels
    from dynamicrafter.media.sampling import center_crop

    chosen = np.linspace(0, len(frames) - 1, FRAMES).round().astype(int)
    video = center_crop(np.stack([frames[i] for i in chosen]), (SIZE, SIZE))  # [16, 224, 224, 3]
    pixels = torch.from_numpy(video).permute(3, 0, 1, 2)[None] / 127.5 - 1  # [1, 3, 16, 224, 224]
    with torch.inference_mode():
        probabilities = _network(weights)(pixels)[0][0].softmax(dim=0)
    best = int(probabilities.argmax())
    return kinetics_400_labels()[best], float(probabilities[best])


@functools.cache
def _network(weights: Path):
    from dynamicrafter.features.i3d import load_i3d

    return load_i3d(weights)


def measure(footage: Footage, settings: None) -> dict[str, Any]:
    """The likeliest action; nothing without the weights."""
    weights, _ = available()
    if weights is None:
        return {"action": None, "action_probability": None}
    label, probability = guess_action(footage.frames, weights)
    return {"action": label, "action_probability": probability}


def _digest(settings: None) -> str:
    """Digest of the asset, which the loader checks the file against."""
    from dynamicrafter.assets import load_manifest

    return load_manifest()[I3D_ASSET].stored_sha256


MEASURE = Measure(
    name="action",
    version=1,
    columns={
        "action": Column("Kinetics-400 class, guessed", "text"),
        "action_probability": Column("0 to 1"),
    },
    compute=measure,
    absent=lambda settings: available()[1],
    weights=_digest,
)
