"""The tiny model on a CPU: a training step and a sample, beside the machine's matrix rate.

`python -m train.bench_cpu tiny-cpu` prints the rows as lines of JSON.
"""

import math

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from dynamicrafter.animate import Animator, Sampling
from dynamicrafter.bench.measure import Row, check, matrix_tflops, print_rows, seconds
from dynamicrafter.bench.weights import fill
from dynamicrafter.diffusion.objective import sample_losses
from dynamicrafter.items import Item
from dynamicrafter.model.animation import AnimationConfig, AnimationModel
from dynamicrafter.model.pretrained import model_config

BATCH, STEPS = 4, 10


def rows() -> list[Row]:
    """Both rows."""
    config = AnimationConfig.from_dict(model_config("tiny"))
    model = fill(AnimationModel(config))
    ceiling = matrix_tflops("cpu", torch.float32)
    return [step_row(model, ceiling), sample_row(model, ceiling)]


def step_row(model: AnimationModel, ceiling: float) -> Row:
    """Forward, backward and optimizer step of four clips' latents."""
    unet, config = model.unet.train(), model.config
    shape = model.latent_shape(config.frames, *config.resolution)
    x = torch.randn(BATCH, config.unet.in_channels, *shape[1:])
    context = torch.randn(BATCH, 77 + 16 * config.frames, config.unet.context_dim)
    given = (x, torch.randint(0, 1000, (BATCH,)), context, torch.full((BATCH,), 3))
    target = torch.randn(BATCH, *shape)
    optimizer = torch.optim.AdamW(unet.parameters(), 1e-3)
    losses = []

    def step() -> None:
        loss = sample_losses(unet(*given), target).mean()
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())

    with FlopCounterMode(display=False) as counted:
        step()
    taken = seconds(step, 5, 1)
    check(all(map(math.isfinite, losses)), f"losses {losses}")
    check(losses[-1] < losses[0], "the loss of one batch does not fall")
    tflops = counted.get_total_flops() / 1e12 / taken
    details = {"batch": BATCH, "tflops": tflops, "matrix_tflops": ceiling}
    return Row("tiny: training on the CPU", BATCH / taken, "clips/s", details=details)


def sample_row(model: AnimationModel, ceiling: float) -> Row:
    """A sample from image and prompt to frames."""
    animator = Animator(model.eval().requires_grad_(False))
    pixels = np.random.default_rng(0).integers(0, 256, (*model.config.resolution, 3), np.uint8)
    item = Item("0", pixels, "a square moves")
    settings = Sampling(steps=STEPS, guidance_scale=7.5)
    videos = []
    taken = seconds(lambda: videos.append(animator.batch([item], settings)), 2, 0)
    check((videos[0] == videos[-1]).all(), "one seed gives two videos")
    check(videos[0].std() > 0, "the video is of one colour")
    details = {"steps": STEPS, "branches": 2, "matrix_tflops": ceiling}
    return Row(f"tiny: a sample of {STEPS} steps on the CPU", taken, "s", details=details)


def main() -> None:
    """Print the rows."""
    print_rows(rows())


if __name__ == "__main__":
    main()
