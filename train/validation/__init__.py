"""Validation while training: fixed losses, sample videos, and how strong the image stream is.

    fixed = load_fixed(windows, settings)                            # once
    rows = validation_losses(model, objective, fixed, settings)      # every settings.every steps
    scalars = {**summarise(rows), **gate_scalars(model.unet)}
    videos = sample_videos(model, fixed, settings, folder)           # every settings.sample_every
    scalars |= motion_scalars(videos)

Clips, noise and timesteps are functions of the settings' seed: two steps of a run, and two arms of
an ablation, are compared clip by clip (`paired_difference`).
"""

from train.validation.clips import FixedClip, load_fixed
from train.validation.losses import LossRow, validation_losses
from train.validation.samples import VideoSample, sample_videos
from train.validation.settings import STREAM, Validation
from train.validation.summary import (
    gate_scalars,
    loss_intervals,
    motion_scalars,
    paired_difference,
    summarise,
)

__all__ = [
    "STREAM",
    "FixedClip",
    "LossRow",
    "Validation",
    "VideoSample",
    "gate_scalars",
    "load_fixed",
    "loss_intervals",
    "motion_scalars",
    "paired_difference",
    "sample_videos",
    "summarise",
    "validation_losses",
]
