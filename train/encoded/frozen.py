"""Moments of frames and states of prompts, to the bit the same whatever else is in the batch.

What a kernel makes of an image depends, in its last bits, on how many images there are. So that a
clip that was encoded earlier and elsewhere can stand for one that is encoded now, every call takes
equally many: one at a time on a CPU, where that costs nothing, and on a GPU as many as fill it. A
last call that has fewer is filled up with copies of its last one.
"""

from collections.abc import Callable, Sequence

import torch
from einops import rearrange
from torch import Tensor

from dynamicrafter.model.animation import AnimationModel, frames_at_once

PROMPTS_PER_CALL = 8  # on a GPU: the text tower is bound by launches up to there


def frames_per_call(device: torch.device, height: int, width: int) -> int:
    """How many frames of a size the autoencoder takes at once: a power of two on a GPU."""
    if device.type == "cpu":
        return 1
    return 2 ** (frames_at_once(height * width).bit_length() - 1)


def prompts_per_call(device: torch.device) -> int:
    """How many prompts the text tower takes at once."""
    return 1 if device.type == "cpu" else PROMPTS_PER_CALL


@torch.no_grad()
def frame_moments(model: AnimationModel, video: Tensor) -> Tensor:
    """Mean and log variance of the latents of every frame, one after the other in the channels.

    video `[b, 3, t, H, W]` in [-1, 1] → `[b, t, 2z, h, w]`, in the type in which it is computed.
    """
    b, _, _, height, width = video.shape
    images = rearrange(video, "b c t h w -> (b t) c h w")
    size = frames_per_call(video.device, height, width)
    found = _in_calls(
        lambda part: torch.cat(model.first_stage_model.moments(part), dim=1), images, size
    )
    return found.unflatten(0, (b, -1))


@torch.no_grad()
def latents(model: AnimationModel, moments: Tensor, noise: Tensor) -> Tensor:
    """Scaled latents, sampled from `moments` `[b, t, 2z, h, w]` by `noise` `[b, z, t, h, w]`."""
    mean, logvar = rearrange(moments, "b t (two z) h w -> two b z t h w", two=2)
    return (mean + torch.exp(0.5 * logvar) * noise) * model.config.scale_factor


@torch.no_grad()
def prompt_states(model: AnimationModel, prompts: Sequence[str]) -> Tensor:
    """Text features `[n, 77, d]`; equal prompts are encoded once."""
    distinct = list(dict.fromkeys(prompts))
    size = prompts_per_call(model.device)
    parts = [distinct[start : start + size] for start in range(0, len(distinct), size)]
    parts[-1] += parts[-1][-1:] * (size - len(parts[-1]))
    found = torch.cat([model.encode_prompts(part) for part in parts])
    row = {prompt: number for number, prompt in enumerate(distinct)}
    return found[[row[prompt] for prompt in prompts]]


def _in_calls(encode: Callable[[Tensor], Tensor], items: Tensor, size: int) -> Tensor:
    """`encode` of `items` `[n, ...]`, exactly `size` at a time."""
    found = []
    for part in items.split(size):
        missing = size - len(part)
        full = torch.cat([part, part[-1:].expand(missing, *part.shape[1:])]) if missing else part
        found.append(encode(full)[: len(part)])
    return torch.cat(found)
