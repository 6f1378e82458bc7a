"""DDIM sampling as one function over a denoiser.

The noise comes from the caller, a tensor a step, so an item's result does not depend on the batch
around it. As in the official sampler, the last step goes to the first entry of the schedule and not
to clean latents: at eta 1 a little noise stays, and with dynamic rescale a factor near 1.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from dynamicrafter.diffusion.guidance import Denoiser
from dynamicrafter.diffusion.objective import x0_and_eps
from dynamicrafter.diffusion.schedule import Schedule

StepCallback = Callable[[int, Tensor, Tensor], None]  # (step from 0, x_prev, predicted x0)


def ddim(
    denoiser: Denoiser,
    x: Tensor,
    noise: Callable[[int], Tensor],
    *,
    schedule: Schedule,
    timesteps: Tensor,
    eta: float = 1.0,
    on_step: StepCallback | None = None,
) -> Tensor:
    """Sample from pure noise (Song et al., arXiv:2010.02502, equation 12).

    Args:
        denoiser: (x `[b, ...]`, t int64 `[b]`) → the model's output, eps or v.
        x: standard normal `[b, ...]`.
        noise: step number, from 0 → standard normal `[b, ...]`; not called if eta is 0.
        schedule: the model's noise schedule.
        timesteps: int64, ascending, from `ddim_timesteps`.
        eta: 0 is deterministic, 1 adds as much noise as ancestral sampling.
        on_step: called after each step.

    Returns:
        The last step's latents `[b, ...]`.
    """
    alphas = schedule.alphas_cumprod[timesteps]
    alphas_prev = torch.cat([schedule.alphas_cumprod[:1], alphas[:-1]])
    sigmas = eta * ((1 - alphas_prev) / (1 - alphas) * (1 - alphas / alphas_prev)).sqrt()
    # The radicand is 0 where all signal is noise; rounding must not make it negative.
    directions = (1 - alphas_prev - sigmas**2).clamp(min=0).sqrt()
    scales = schedule.scale[timesteps]
    rescales = torch.cat([torch.ones_like(scales[:1]), scales[:-1] / scales[1:]])

    for step, i in enumerate(reversed(range(len(timesteps)))):
        t = torch.full((x.shape[0],), int(timesteps[i]), device=x.device)
        output = denoiser(x, t).to(x.dtype)
        # Drawn while a GPU still works on the output: what comes next has to wait for it.
        fresh = noise(step) if eta > 0 else None
        x0, eps = x0_and_eps(schedule, x, t, output)
        x0 = x0 * float(rescales[i])
        x = float(alphas_prev[i].sqrt()) * x0 + float(directions[i]) * eps
        if fresh is not None:
            x = x + float(sigmas[i]) * fresh
        if on_step is not None:
            on_step(step, x, x0)
    return x
