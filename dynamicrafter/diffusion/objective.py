"""The training objective: noising, targets, conversions between them, and condition dropout.

All functions work on a batch whose samples are independent: t is `[b]`, latents are `[b, c, ...]`.
"""

import torch
from torch import Tensor

from dynamicrafter.diffusion.schedule import Schedule


def q_sample(schedule: Schedule, x0: Tensor, t: Tensor, noise: Tensor) -> Tensor:
    """Noise clean latents to timestep t: sqrt(a) x0 + sqrt(1 - a) noise."""
    signal, sigma = schedule.signal_and_noise(t, x0)
    return signal * x0 + sigma * noise


def velocity(schedule: Schedule, x0: Tensor, t: Tensor, noise: Tensor) -> Tensor:
    """The v target: sqrt(a) noise - sqrt(1 - a) x0 (arXiv:2202.00512)."""
    signal, sigma = schedule.signal_and_noise(t, x0)
    return signal * noise - sigma * x0


def x0_and_eps_from_v(schedule: Schedule, x: Tensor, t: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
    """Clean latents and noise in noisy latents x at t, from a velocity."""
    signal, sigma = schedule.signal_and_noise(t, x)
    return signal * x - sigma * v, signal * v + sigma * x


def x0_from_eps(schedule: Schedule, x: Tensor, t: Tensor, eps: Tensor) -> Tensor:
    """Clean latents in noisy latents x at t, from the noise; undefined where no signal is left."""
    signal, sigma = schedule.signal_and_noise(t, x)
    return (x - sigma * eps) / signal


def x0_and_eps(schedule: Schedule, x: Tensor, t: Tensor, output: Tensor) -> tuple[Tensor, Tensor]:
    """Clean latents and noise that a model output means for noisy latents x at t."""
    if schedule.config.parameterization == "v":
        return x0_and_eps_from_v(schedule, x, t, output)
    return x0_from_eps(schedule, x, t, output), output


def offset_noise(noise: Tensor, offset: Tensor, strength: float) -> Tensor:
    """Noise with a shift of its own for every channel and frame: offset is `[b, c, t, 1, 1]`."""
    return noise + strength * offset


def training_pair(
    schedule: Schedule, x0: Tensor, t: Tensor, noise: Tensor
) -> tuple[Tensor, Tensor]:
    """Noisy input and target for clean latents.

    The dynamic rescale multiplies the clean latents first, so it is part of the target too.
    """
    x0 = x0 * schedule.scale_at(t, x0)
    noisy = q_sample(schedule, x0, t, noise)
    if schedule.config.parameterization == "v":
        return noisy, velocity(schedule, x0, t, noise)
    return noisy, noise


def sample_losses(prediction: Tensor, target: Tensor) -> Tensor:
    """Mean squared error of each sample, in float32: `[b]`."""
    return (prediction.float() - target.float()).square().flatten(1).mean(dim=1)


def dropped_conditions(draw: Tensor, share: float = 0.05) -> tuple[Tensor, Tensor]:
    """Which samples lose their text and which their image, from one uniform draw `[b]` each.

    Returns:
        (text dropped, image dropped), bool `[b]`: a share loses the text alone, a share both, a
        share the image alone. The condition latents are never dropped.
    """
    text = draw < 2 * share
    image = (draw >= share) & (draw < 3 * share)
    return text, image


def replace_dropped(values: Tensor, dropped: Tensor, replacement: Tensor) -> Tensor:
    """Put `replacement` (broadcast) in the place of the samples of values that are dropped."""
    return torch.where(dropped.reshape(-1, *[1] * (values.ndim - 1)), replacement, values)


def repeat_frame(z: Tensor, index: Tensor) -> Tensor:
    """Condition latents: frame index `[b]` of z `[b, c, t, h, w]`, in the place of every frame."""
    rows = torch.arange(z.shape[0], device=z.device)
    return z[rows, :, index].unsqueeze(2).expand_as(z)


def keep_ends(z: Tensor) -> Tensor:
    """Condition latents for interpolation: first and last frame of z, zero between them."""
    ends = torch.zeros_like(z)
    ends[:, :, 0] = z[:, :, 0]
    ends[:, :, -1] = z[:, :, -1]
    return ends
