"""`python -m tests.gpu.precision`: what bf16 loses against fp32 in the full-size 256 U-Net.

Relative L2 of one forward pass at several timesteps, under plain autocast of fp32 weights and with
the weights lowered as `Placement` does it; then of the latents after each of 50 DDIM steps, where
both runs see the same noise and each goes on from its own latents.
"""

import json

import torch

from dynamicrafter import draws
from dynamicrafter.bench.weights import full_size
from dynamicrafter.diffusion.guidance import batched, guided
from dynamicrafter.diffusion.sampler import ddim
from dynamicrafter.diffusion.schedule import ddim_timesteps
from dynamicrafter.model.animation import AnimationConfig, AnimationModel
from dynamicrafter.model.placement import Placement
from dynamicrafter.model.pretrained import model_config

STEPS, GUIDANCE = 50, 7.5
SHAPE = (4, 16, 32, 32)


def main() -> None:
    """Measure and print one JSON object."""
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    model = full_size(AnimationConfig.from_dict(model_config("dynamicrafter_256")))
    calls = {t: forward_arguments(t) for t in (1, 250, 500, 750, 981)}
    with torch.no_grad():
        exact = {t: model.unet(*call) for t, call in calls.items()}
        trajectory = sample(model)
        with torch.autocast("cuda", torch.bfloat16):
            autocast = {t: relative(model.unet(*call), exact[t]) for t, call in calls.items()}
        placement = Placement(model, torch.device("cuda"), "bf16", offload=False)
        with placement.using("unet"):
            lowered = {t: relative(model.unet(*call), exact[t]) for t, call in calls.items()}
            lowered_trajectory = sample(model)
    result = {
        "device": torch.cuda.get_device_name(),
        "torch": torch.__version__,
        "forward, autocast": autocast,
        "forward, lowered weights": lowered,
        "latents after each step": [
            relative(low, high) for low, high in zip(lowered_trajectory, trajectory, strict=True)
        ],
        "standard deviation of the last latents": float(trajectory[-1].std()),
    }
    print(json.dumps(result, indent=1))  # noqa: T201


def relative(value: torch.Tensor, expected: torch.Tensor) -> float:
    """Relative L2 difference."""
    return float((value.double() - expected.double()).norm() / expected.double().norm())


def forward_arguments(t: int, batch: int = 1) -> tuple[torch.Tensor, ...]:
    """Latents, timestep, context and frame stride, seeded."""
    x = draws.normal(1, t, "x", (batch, 8, *SHAPE[1:])).cuda()
    context = draws.normal(1, 0, "context", (batch, 77 + 256, 1024)).cuda()
    return x, torch.full((batch,), t).cuda(), context, torch.full((batch,), 3).cuda()


def sample(model: AnimationModel) -> list[torch.Tensor]:
    """The latents after each step of guided sampling at eta 1."""
    _, _, context, fs = forward_arguments(0, batch=2)
    condition = draws.normal(1, 0, "condition", (1, *SHAPE)).repeat(2, 1, 1, 1, 1).cuda()
    kept: list[torch.Tensor] = []
    ddim(
        guided(batched(model.denoiser(context, fs, condition), 2), scale=GUIDANCE),
        draws.normal(1, 0, "start", (1, *SHAPE)).cuda(),
        lambda step: draws.normal(1, 0, f"step-{step}", (1, *SHAPE)).cuda(),
        schedule=model.schedule,
        timesteps=ddim_timesteps("uniform", STEPS),
        on_step=lambda step, x, x0: kept.append(x.cpu()),
    )
    return kept


if __name__ == "__main__":
    main()
