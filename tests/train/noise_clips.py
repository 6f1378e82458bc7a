"""Batches of noise by sample number, and an objective for them, for the small model."""

import numpy as np
import torch

from train.data import Batch
from train.objectives import Diffusion

FRAMES = 4


def objective(**changes):
    settings = {"condition_frame": "random", "drop_conditions": 0.05, "fs": "stride"}
    return Diffusion(**{**settings, **changes})


def batch_of(*numbers, frames=FRAMES):
    """Clips whose content is a function of their numbers."""
    chances = [np.random.default_rng(n) for n in numbers]
    clips = [c.integers(0, 256, (frames, 16, 16, 3), np.uint8) for c in chances]
    return Batch(
        numbers=list(numbers),
        keys=[f"clip-{n}" for n in numbers],
        frames=torch.from_numpy(np.stack(clips)),
        captions=[f"square {n} moves" for n in numbers],
        frame_stride=torch.tensor([1 + n % 5 for n in numbers]),
        fps=torch.tensor([24 / (1 + n % 5) for n in numbers]),
        replaced=[],
    )
