"""Fixed clips and small models with weights that tell: what the tests of validation share."""

import torch

from dynamicrafter.model.animation import AnimationConfig, AnimationModel
from dynamicrafter.shards import ShardReader
from tests.train.conftest import SMALL_MODEL
from train.data import ClipFrames, ClipWindows, Window, one_set
from train.objectives import Diffusion
from train.validation import STREAM, Validation, load_fixed

SIZE = (16, 16)
DIFFUSION = Diffusion(condition_frame="random", drop_conditions=0.05, fs="stride")


def build(frames=4, **unet):
    """The small model; zero layers at initialisation would hide differences."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        tree = {**SMALL_MODEL, "unet": {**SMALL_MODEL["unet"], **unet}, "frames": frames}
        tree["resampler"] = {**SMALL_MODEL["resampler"], "frames": frames}
        model = AnimationModel(AnimationConfig.from_dict(tree))
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(0.05 * torch.randn_like(parameter))
    return model


def fixed_clips(folder, settings: Validation, frames=4):
    window = Window(frames=frames, strides=(1, 6))
    clips = one_set(ClipFrames(ShardReader(folder), SIZE))
    windows = ClipWindows(clips, settings.seed, STREAM, window)
    return load_fixed(windows, settings)
