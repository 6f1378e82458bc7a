"""How well an autoencoder reconstructs, and the scale of its latents."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from dynamicrafter import files
from dynamicrafter.media.decode import read_frames
from dynamicrafter.media.sampling import center_crop
from dynamicrafter.model.animation import AnimationModel
from dynamicrafter.shards import ShardReader, may_be_passed_on
from train.data import ClipWindows
from train.objectives import to_video

SCALE_CLIPS = 32  # windows that the scale of the latents is measured on
SHOWN = 8  # frames in the picture


@torch.no_grad()
def latent_scale(model: AnimationModel, windows: ClipWindows, seed: int) -> float:
    """1 / standard deviation of the posterior means, so that scaled latents have unit variance.

    The rule behind the 0.18215 of Stable Diffusion (arXiv:2112.10752, section D.1).
    """
    frames = np.stack([windows[number]["frames"][0] for number in range(SCALE_CLIPS)])
    images = to_video(torch.from_numpy(frames)[:, None], model.device)[:, :, 0]
    means, _ = model.first_stage_model.moments(images)
    return 1.0 / means.std().item()


@torch.no_grad()
def reconstruction_quality(
    model: AnimationModel, reader: ShardReader, picture: Path
) -> dict[str, Any]:
    """Mean PSNR over the first frame of every clip of `reader`; writes a picture of some.

    Returns:
        `psnr_db`: mean of the frames' PSNR in dB (peak 255); `frames`: how many;
        `media_may_be_passed_on`: whether the sources of all of them let the picture leave.
    """
    samples = [reader[i] for i in range(len(reader))]
    first = [read_frames(sample.video, [0]) for sample in samples]
    size = model.config.resolution
    frames = np.concatenate([center_crop(frame, size) for frame in first])  # [n, h, w, 3]
    images = to_video(torch.from_numpy(frames)[:, None], model.device)[:, :, 0]
    decoded = model.first_stage_model.decode(model.first_stage_model.moments(images)[0])
    restored = ((decoded.permute(0, 2, 3, 1) + 1) * 127.5).round().clamp(0, 255)
    restored = restored.byte().cpu().numpy()
    error = ((restored.astype(np.float64) - frames) ** 2).mean(axis=(1, 2, 3))
    psnr = 10 * np.log10(255.0**2 / np.maximum(error, 1e-10))
    rows = np.concatenate([np.hstack(frames[:SHOWN]), np.hstack(restored[:SHOWN])])
    with files.atomic_path(picture) as path:
        Image.fromarray(rows).save(path, format="PNG")
    return {
        "psnr_db": round(float(psnr.mean()), 2),
        "frames": len(frames),
        "media_may_be_passed_on": all(may_be_passed_on(sample.info) for sample in samples),
    }
