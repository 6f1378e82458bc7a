"""The noise schedule: betas linear in their square root, zero terminal SNR, dynamic rescale.

Everything is computed in float64 and never read from a checkpoint: the tables that official
checkpoints carry are only written for them (`official_buffers`).
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from dynamicrafter.errors import InputError

TIMESTEPS = 1000
FIRST_BETA, LAST_BETA = 0.00085, 0.012
RESCALE_STEPS = 400  # timesteps over which the dynamic rescale falls from 1 to its base


@dataclass(frozen=True, kw_only=True)
class ScheduleConfig:
    """What the model predicts, and over which noise levels.

    Attributes:
        parameterization: "eps" (noise) or "v" (velocity).
        zero_snr: rescale the betas so that the last step is pure noise (arXiv:2305.08891).
        base_scale: factor on the clean latents at late timesteps; None for no dynamic rescale.
    """

    parameterization: Literal["eps", "v"] = "eps"
    zero_snr: bool = False
    base_scale: float | None = None

    def __post_init__(self) -> None:
        if self.parameterization not in ("eps", "v"):
            raise InputError(f"schedule.parameterization is {self.parameterization!r}; eps or v")
        if self.zero_snr and self.parameterization == "eps":
            raise InputError(
                "schedule: eps cannot be predicted at zero terminal SNR; "
                "set parameterization: v or zero_snr: false"
            )


class Schedule:
    """The tables of a `ScheduleConfig`, float64 on the CPU; what is read at t is float32 there.

    Attributes:
        config: the configuration.
        betas: `[1000]`.
        alphas_cumprod: `[1000]`, the signal power at each timestep.
        scale: `[1400]`, the dynamic rescale of the clean latents (ones without it). It is as long
            as in the official checkpoints; entries from 1000 on are never used.
    """

    def __init__(self, config: ScheduleConfig):
        self.config = config
        betas = linear_betas()
        self.betas = zero_snr_betas(betas) if config.zero_snr else betas
        self.alphas_cumprod = torch.cumprod(1 - self.betas, dim=0)
        base = 1.0 if config.base_scale is None else config.base_scale
        ramp = torch.linspace(1, base, RESCALE_STEPS, dtype=torch.float64, device="cpu")
        self.scale = torch.cat([ramp, ramp[-1:].expand(TIMESTEPS)])
        self._on_gpu: dict[torch.device, tuple[Tensor, Tensor, Tensor]] = {}

    def signal_and_noise(self, t: Tensor, like: Tensor) -> tuple[Tensor, Tensor]:
        """sqrt(a) and sqrt(1 - a) at t `[b]`, shaped to multiply `like` `[b, ...]`."""
        signal, noise, _ = self._tables(t.device)
        return _at(signal, t, like), _at(noise, t, like)

    def scale_at(self, t: Tensor, like: Tensor) -> Tensor:
        """The dynamic rescale at t `[b]`, shaped to multiply `like` `[b, ...]`."""
        return _at(self._tables(t.device)[2], t, like)

    def _tables(self, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
        """sqrt(a), sqrt(1 - a) and the rescale in float32; on a GPU they are copied once."""
        if device in self._on_gpu:
            return self._on_gpu[device]
        exact = self.alphas_cumprod.sqrt(), (1 - self.alphas_cumprod).sqrt(), self.scale
        signal, noise, scale = (table.to(torch.float32).to(device) for table in exact)
        if device.type == "cuda":
            self._on_gpu[device] = signal, noise, scale
        return signal, noise, scale


def linear_betas() -> Tensor:
    """Betas that are linear in their square root, as in Stable Diffusion: float64 `[1000]`."""
    start, end = FIRST_BETA**0.5, LAST_BETA**0.5
    # On the CPU even where a model is being built on another default device.
    return torch.linspace(start, end, TIMESTEPS, dtype=torch.float64, device="cpu") ** 2


def zero_snr_betas(betas: Tensor) -> Tensor:
    """Shift and scale sqrt(alphas_cumprod) so that it ends at exactly 0 and starts as before.

    Source: Lin et al., arXiv:2305.08891, algorithm 1.
    """
    signal = torch.cumprod(1 - betas, dim=0).sqrt()
    signal = (signal - signal[-1]) * signal[0] / (signal[0] - signal[-1])
    alphas_cumprod = signal**2
    alphas = torch.cat([alphas_cumprod[:1], alphas_cumprod[1:] / alphas_cumprod[:-1]])
    return 1 - alphas


def _at(table: Tensor, t: Tensor, like: Tensor) -> Tensor:
    """Pick table[t] and add axes up to those of `like`."""
    return table[t].reshape(-1, *[1] * (like.ndim - 1))


def ddim_timesteps(spacing: str, steps: int) -> Tensor:
    """The timesteps that DDIM visits, ascending, int64 `[steps]`, all different.

    "uniform" is `floor(i * 1000 / steps) + 1` (for 1000 steps, all timesteps); "uniform_trailing"
    is `round(1000 - i * 1000 / steps) - 1`, half to even. Both give the official list wherever that
    has exactly `steps` entries within 0..999; where it has more, or runs out of range, they still
    spread the asked number of steps evenly.

    Raises:
        InputError: unknown spacing, or steps not in 1..1000.
    """
    if not 1 <= steps <= TIMESTEPS:
        raise InputError(f"steps is {steps}; choose 1 to {TIMESTEPS} sampling steps")
    if spacing == "uniform":
        return torch.arange(steps) * TIMESTEPS // steps + int(steps < TIMESTEPS)
    if spacing == "uniform_trailing":
        # NumPy's range, as in the official list: how it rounds decides some ties. It may run one
        # entry too far.
        descending = np.arange(TIMESTEPS, 0, -TIMESTEPS / steps)[:steps].round() - 1
        return torch.from_numpy(descending[::-1].astype(np.int64))
    raise InputError(f"timestep spacing is {spacing!r}; choose uniform or uniform_trailing")


def official_buffers(schedule: Schedule) -> dict[str, Tensor]:
    """The schedule as the official checkpoints store it: float32 buffers under their names.

    They let the official code load our weights strictly; nothing here reads them.
    """
    betas, cumprod = schedule.betas, schedule.alphas_cumprod
    previous = torch.cat([torch.ones(1, dtype=torch.float64), cumprod[:-1]])
    variance = betas * (1 - previous) / (1 - cumprod)
    velocity = schedule.config.parameterization == "v"
    zeros = torch.zeros_like(cumprod)  # the official code has no use for these two with v
    buffers = {
        "betas": betas,
        "alphas_cumprod": cumprod,
        "alphas_cumprod_prev": previous,
        "sqrt_alphas_cumprod": cumprod.sqrt(),
        "sqrt_one_minus_alphas_cumprod": (1 - cumprod).sqrt(),
        "log_one_minus_alphas_cumprod": (1 - cumprod).log(),
        "sqrt_recip_alphas_cumprod": zeros if velocity else (1 / cumprod).sqrt(),
        "sqrt_recipm1_alphas_cumprod": zeros if velocity else (1 / cumprod - 1).sqrt(),
        "posterior_variance": variance,
        "posterior_log_variance_clipped": variance.clamp(min=1e-20).log(),
        "posterior_mean_coef1": betas * previous.sqrt() / (1 - cumprod),
        "posterior_mean_coef2": (1 - previous) * (1 - betas).sqrt() / (1 - cumprod),
    }
    if schedule.config.base_scale is not None:
        buffers["scale_arr"] = schedule.scale
    return {name: buffer.float() for name, buffer in buffers.items()}
