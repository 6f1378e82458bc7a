"""Sampling by the full-size model as `animate` does it, with random weights, none of them silent.

`python -m dynamicrafter.bench.sampling CASE` prints the case's rows as lines of JSON.
"""

import sys
import time

import numpy as np
import torch
from torch import Tensor

from dynamicrafter.animate import Animator, Sampling
from dynamicrafter.bench.measure import (
    DECODE,
    FORWARD,
    Row,
    check,
    matrix_tflops,
    peak_gib,
    print_rows,
    relative,
    seconds,
)
from dynamicrafter.bench.weights import full_size
from dynamicrafter.items import Item
from dynamicrafter.model.animation import AnimationConfig
from dynamicrafter.model.placement import Placement
from dynamicrafter.model.pretrained import model_config

STEPS = 50


def animator(model: int) -> Animator:
    """The released model's shape, in bf16 on the GPU."""
    config = AnimationConfig.from_dict(model_config(f"dynamicrafter_{model}"))
    built = full_size(config)
    return Animator(built, Placement(built, torch.device("cuda"), "bf16", offload=False))


def items(count: int, size: tuple[int, int]) -> list[Item]:
    """Random images with prompts."""
    chance = np.random.default_rng(0)
    pictures = chance.integers(0, 256, (count, *size, 3), dtype=np.uint8)
    return [Item(str(n), image, f"a person waves {n}", None) for n, image in enumerate(pictures)]


def unet_inputs(made: Animator, batch: int) -> tuple[Tensor, ...]:
    """Latents, timesteps, contexts and strides of `batch` guidance branches or clips."""
    model = made.model
    shape = model.latent_shape(model.config.frames, *model.config.resolution)
    x = torch.randn(batch, model.config.unet.in_channels, *shape[1:], device="cuda")
    t = torch.randint(0, 1000, (batch,), device="cuda")
    context = torch.randn(batch, 77 + 16 * model.config.frames, 1024, device="cuda")
    return x, t, context, torch.full((batch,), 3, device="cuda")


def single(model: int) -> list[Row]:
    """A step, a whole sample and decoding at batch 1 with three branches."""
    made, goals = animator(model), GOALS[model]
    began = time.perf_counter()
    image = items(1, made.model.config.resolution)
    settings = Sampling(steps=STEPS, guidance_scale=7.5, image_guidance=1.5)
    first = made.batch(image, settings)
    cold = time.perf_counter() - began
    rows = [forward_row(made, model, 3, f"{model}: a step, 3 branches, batch 1", goals["step"])]

    torch.cuda.reset_peak_memory_stats()
    videos = []
    whole = seconds(lambda: videos.append(made.batch(image, settings)), 3, 1)
    check((videos[0] == videos[-1]).all() and videos[0].std() > 1, "videos of one seed differ")
    other = made.batch([Item("9", image[0].image, "another prompt", None)], settings)
    check(bool((other != videos[0]).any()), "another prompt and seed give the same video")
    check((first == videos[0]).all(), "the first video differs from later ones")
    rows.append(
        Row(
            f"{model}: {STEPS} steps, 3 branches, batch 1, with conditions and decoding",
            whole,
            "s",
            *goals["whole"],
            details={"peak_gib": peak_gib(), "first_s": cold},
        )
    )
    return [*rows, *decode_rows(made, model)]


def forward_row(made: Animator, model: int, batch: int, what: str, goal: tuple) -> Row:
    """The U-Net replayed as in sampling, beside its plain pass in float32."""
    inputs = unet_inputs(made, batch)
    with torch.no_grad(), made.placement.using("unet"):
        found = made.placement.unet(*inputs)
        taken = seconds(lambda: made.placement.unet(*inputs), 20)
        other = made.placement.unet(inputs[0].flip(2), *inputs[1:])
        plain = made.model.unet(*inputs)
    check(bool(found.isfinite().all()), "not finite")
    check(relative(other, found) > 1e-3, "the result does not depend on the latents")
    check(relative(found, plain) < 1e-3, "the replayed pass differs from the plain one")
    rate = batch * FORWARD[model] / taken
    ceiling = matrix_tflops()
    details = {"tflops": rate, "matrix_tflops": ceiling, "share": rate / ceiling}
    return Row(what, 1000 * taken, "ms", *goal, details=details)


def decode_rows(made: Animator, model: int) -> list[Row]:
    """The autoencoder's decoder on 16 frames, beside float32."""
    shape = made.model.latent_shape(16, *made.model.config.resolution)
    z = torch.randn(1, *shape, device="cuda") * 0.18215
    with torch.no_grad(), made.placement.using("autoencoder"):
        found = made.model.decode_latents(z)
        taken = seconds(lambda: made.model.decode_latents(z), 8)
    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = False
    with torch.no_grad():
        exact = made.model.decode_latents(z)
    torch.backends.cudnn.allow_tf32 = before
    lost = relative(found, exact)
    check(bool(found.isfinite().all()) and 0 < lost < 1e-2, "decoding is not what it was")
    ceiling = matrix_tflops()
    share = DECODE[model] / taken / ceiling
    details = {"ms": 1000 * taken, "relative_to_fp32": lost, "matrix_tflops": ceiling}
    goal = ("≥ 25", "40") if model == 256 else ("", "")
    what = f"{model}: decoding 16 frames, share of the matrix rate"
    return [Row(what, 100 * share, "%", *goal, details=details)]


def batches(model: int) -> list[Row]:
    """Samples a second of many clips at once, two branches."""
    made = animator(model)
    rates = {}
    for clips in (4, 8, 16):
        inputs = unet_inputs(made, 2 * clips)
        with torch.no_grad(), made.placement.using("unet"):
            rates[clips] = clips / seconds(lambda given=inputs: made.placement.unet(*given), 3)
    best = max(rates, key=rates.get)
    settings = Sampling(steps=STEPS, guidance_scale=7.5)
    many = items(best, made.model.config.resolution)
    made.batch(many, Sampling(steps=2, guidance_scale=7.5))
    found = []
    taken = seconds(lambda: found.append(made.batch(many, settings)), 1, 0)
    videos = found[0]
    check(len(np.unique(videos.reshape(best, -1)[:, ::97], axis=0)) == best, "videos are equal")
    details = {"batch": best, "clips_times_steps_a_second": rates, "peak_gib": peak_gib()}
    what = f"{model}: samples at the best batch, {STEPS} steps, 2 branches"
    return [Row(what, best / taken, "samples/s", "≥ 0.6", "0.8", details=details)]


def cold(model: int) -> list[Row]:
    """A first sample in a fresh process, less a later one: kernels, libraries, graph."""
    made = animator(model)
    torch.cuda.synchronize()
    image = items(1, made.model.config.resolution)
    settings = Sampling(steps=STEPS, guidance_scale=7.5, image_guidance=1.5)
    times = []
    for _ in range(2):
        began = time.perf_counter()
        made.batch(image, settings)
        times.append(time.perf_counter() - began)
    return [
        Row(f"{model}: first sample of a process", times[0], "s", details={"second_s": times[1]})
    ]


GOALS = {
    256: {"step": ("≤ 50", "40", "3 x 171"), "whole": ("≤ 3", "2.2", "25.7")},
    512: {"step": ("", "", ""), "whole": ("≤ 7", "5.5", "")},
}
CASES = {
    "sample-256": lambda: single(256),
    "sample-512": lambda: single(512),
    "batch-256": lambda: batches(256),
    "cold-256": lambda: cold(256),
}


def main() -> None:
    """Print the rows of one case."""
    print_rows(CASES[sys.argv[1]]())


if __name__ == "__main__":
    main()
