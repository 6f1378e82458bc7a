"""Training steps of the full-size U-Net, latents and contexts given, with random weights.

`python -m train.bench CASE` prints the case's rows as lines of JSON; the cases: `CASES` below.
"""

import gc
import math
import statistics
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from dynamicrafter.bench.measure import (
    FORWARD,
    PEAK,
    Row,
    check,
    matrix_tflops,
    peak_gib,
    print_rows,
    seconds,
)
from dynamicrafter.bench.weights import fill
from dynamicrafter.diffusion.objective import sample_losses
from dynamicrafter.features.network import float32_products
from dynamicrafter.model.animation import AnimationConfig
from dynamicrafter.model.compiled import channels_last, compile_layers
from dynamicrafter.model.dropout import keyed_dropout
from dynamicrafter.model.names import parameter_group
from dynamicrafter.model.placement import LOWERED_LAYERS
from dynamicrafter.model.pretrained import model_config
from dynamicrafter.model.unet import UNet
from dynamicrafter.progress import progress
from dynamicrafter.ranks import Ranks
from train.graphed import GraphedGradients
from train.optimizer import clip_gradients, gradient_norms, make_optimizer
from train.plan.memory import Workload, training_pass
from train.recompute import apply_recompute
from train.settings import Settings

SPATIAL = ("image_cross_attention_kv", "spatial", "lambda_alpha")  # of the joint stage
PREFIX = "model.diffusion_model"  # of the U-Net's names in a whole model
STEPS, BLOCK = 200, 25  # of the curves; neighbouring losses differ alike, blocks hardly
CURVES = f"256: mean of {STEPS} losses (128x128 pixels, batch 1)"
ROUNDING = 2e-3  # of a loss in bf16, relative


@dataclass
class Training:
    """A U-Net in training on random latents.

    Attributes:
        unet: on the GPU, fp32 master weights.
        batch: clips of a step.
        precision: of products and convolutions; None for float32.
        side: of the latents.
        recorded: forward and backward pass are one CUDA graph, see `train/graphed.py`.
    """

    unet: UNet
    batch: int
    precision: torch.dtype | None = torch.bfloat16
    side: tuple[int, int] = (32, 32)
    recorded: bool = False

    def __post_init__(self) -> None:
        named = self.unet.named_parameters(prefix=PREFIX)
        self.trained = {name: p for name, p in named if p.requires_grad}
        self.settings = Settings(name="bench", steps=STEPS, batch=self.batch, learning_rate=1e-5)
        self.optimizer = make_optimizer(self.trained, self.settings)
        self.norms: dict[str, float] = {}
        self.graphed = GraphedGradients(self.losses, list(self.trained.values()))

    def clips(self, number: int) -> tuple[Tensor, ...]:
        """Inputs and target of step `number`."""
        chance = torch.Generator("cuda").manual_seed(number)

        def normal(*shape: int) -> Tensor:
            return torch.randn(shape, device="cuda", generator=chance)

        b, frames = self.batch, 16
        x = normal(b, self.unet.config.in_channels, frames, *self.side)
        t = torch.randint(0, 1000, (b,), device="cuda", generator=chance)
        context = normal(b, 77 + 16 * frames, self.unet.config.context_dim)
        target = 0.7 * x[:, :4] + 0.7 * normal(b, 4, frames, *self.side)
        return x, t, context, torch.full((b,), 3, device="cuda"), target

    def step(self, number: int) -> float:
        """One optimizer step as the loop takes it; returns the loss."""
        inputs = self.clips(number)
        numbers = range(number * self.batch, (number + 1) * self.batch)
        with keyed_dropout(self.unet, 0, "bench/dropout", numbers):
            if self.recorded:
                loss = self.graphed(inputs, 1 / self.batch).mean()
            else:
                loss = self.losses(*inputs).mean()
                loss.backward()
        self.norms = gradient_norms(self.trained, Ranks())
        clip_gradients(self.trained, self.norms[""], self.settings.gradient_clip)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        return loss.item()

    def losses(self, *inputs: Tensor) -> Tensor:
        """Of each clip, `[b]`."""
        *given, target = inputs
        low = torch.autocast("cuda", self.precision or torch.bfloat16, enabled=bool(self.precision))
        with low:
            return sample_losses(self.unet(*given), target)

    def plain_loss(self, number: int) -> float:
        """The loss of a step before it is taken, without gradient and recording."""
        numbers = range(number * self.batch, (number + 1) * self.batch)
        with torch.no_grad(), keyed_dropout(self.unet, 0, "bench/dropout", numbers):
            return self.losses(*self.clips(number)).mean().item()


def speeds(model: int) -> Iterator[Row]:
    """What is trained, and what is computed again, one after the other: they share compilations."""
    batch = BATCHES[model]
    yield speed(model, batch, "init_attn", goals=RATES[model])
    if model == 256:
        yield speed(model, batch, "full")
        yield speed(model, batch, "none")
    yield speed(model, batch, "init_attn", recorded=True)
    if model == 256:
        yield speed(model, batch, "input_blocks.1.0", recorded=True)
        yield speed(model, batch, "none", recipe=True)


def speed(
    model: int,
    batch: int,
    recompute: str,
    goals: tuple = ("", "", ""),
    recipe: bool = False,
    recorded: bool = False,
) -> Row:
    """Clips a second of training steps, MFU, and memory."""
    gc.collect()  # the case before may have left cycles
    torch.cuda.empty_cache()
    unet = _unet(model, recipe)
    channels_last(unet)
    side = (32, 32) if model == 256 else (40, 64)
    training = Training(unet, batch, side=side, recorded=recorded)
    expected = training.plain_loss(0)
    compile_layers(unet)
    apply_recompute(unet, recompute)
    torch.cuda.reset_peak_memory_stats()
    began = time.perf_counter()
    losses = [training.step(0)]
    first = time.perf_counter() - began
    numbers = iter(range(1, 100))
    taken = seconds(lambda: losses.append(training.step(next(numbers))), 8)
    check(all(math.isfinite(loss) and loss > 0 for loss in losses), f"losses {losses}")
    check(len(set(losses)) == len(losses), "losses do not depend on the clips")
    check(abs(losses[0] / expected - 1) < ROUNDING, f"{losses[0]} compiled, {expected} eager")
    check(all(norm > 0 for norm in training.norms.values()), "a group has no gradient")
    flop = 3 * FORWARD[model]
    if recipe:
        flop = _recipe_flop(model)
    ceiling, rate = matrix_tflops(), batch / taken
    details = {
        "batch": batch,
        "recompute": recompute,
        "tflop_a_clip": flop,
        "mfu_percent": 100 * rate * flop / PEAK,
        "share_of_matrix_rate": rate * flop / ceiling,
        "matrix_tflops": ceiling,
        "peak_gib": peak_gib(recorded),
        "first_step_s": first,
        "first_loss": losses[0],
    }
    trained = "the recipe's parameters" if recipe else "all parameters"
    how = ", recorded" if recorded else ""
    what = f"{model}: training, {trained}, recompute {recompute}{how}"
    return Row(what, rate, "clips/s", *goals, details=details)


def curves() -> Iterator[Row]:
    """The losses of the same steps in plain float32, as is trained here, and in plain bf16."""
    plain = _plain_curve()
    yield Row(f"{CURVES}, fp32 eager", statistics.mean(plain), "loss", details={"losses": plain})
    yield _apart("bf16 compiled", plain, _curve(torch.bfloat16, compiled=True))
    yield _apart("bf16 eager", plain, _curve(torch.bfloat16, compiled=False))


def noise() -> Iterator[Row]:
    """How far float32 training comes to lie from itself when it begins a rounding apart."""
    plain = _plain_curve()
    for seed in range(2):
        found = _plain_curve(seed)
        yield _apart(f"fp32 eager from shifted weights, seed {seed},", plain, found)


def _plain_curve(shifted: int | None = None) -> list[float]:
    with float32_products():
        return _curve(None, compiled=False, shifted=shifted)


def _curve(
    precision: torch.dtype | None, compiled: bool, shifted: int | None = None
) -> list[float]:
    gc.collect()
    torch.cuda.empty_cache()
    unet = _unet(256, recipe=False)
    if shifted is not None:
        _shift(unet, shifted)
    if compiled:
        channels_last(unet)
        compile_layers(unet)
    training, losses = Training(unet, 1, precision, (16, 16)), []
    title = f"{precision or torch.float32}{', compiled' if compiled else ''}"
    with progress(title, STEPS, "steps") as advance:
        for number in range(STEPS):
            losses.append(training.step(number))
            advance(1)
    return losses


def _apart(name: str, plain: list[float], found: list[float]) -> Row:
    exact = torch.tensor(plain, dtype=torch.float64)
    difference = torch.tensor(found, dtype=torch.float64) - exact
    blocks = difference.reshape(-1, BLOCK).mean(1)
    details = {
        "losses": found,
        "largest_relative_difference": float((difference / exact).abs().max()),
        "standard_error": float(blocks.std() / len(blocks) ** 0.5),
        "blocks": len(blocks),
        "scatter_of_losses": float(exact.std()),
    }
    return Row(
        f"{CURVES}, {name} less fp32 eager", float(difference.mean()), "loss", details=details
    )


@torch.no_grad()
def _shift(unet: UNet, seed: int) -> None:
    """Shift each weight by chance, as far at the most as rounding to bf16 would."""
    chance = torch.Generator("cuda").manual_seed(seed)
    for parameter in unet.parameters():
        shift = torch.rand(parameter.shape, device="cuda", generator=chance) - 0.5
        parameter.mul_(1 + shift * torch.finfo(torch.bfloat16).eps)


def _unet(model: int, recipe: bool) -> UNet:
    config = AnimationConfig.from_dict(model_config(f"dynamicrafter_{model}"))
    with torch.device("cuda"):
        unet = UNet(config.unet)
    fill(unet).train()
    if recipe:
        for name, parameter in unet.named_parameters(prefix=PREFIX):
            parameter.requires_grad_(parameter_group(name) in SPATIAL)
        for layer in unet.modules():
            frozen = not any(p.requires_grad for p in layer.parameters(recurse=False))
            if frozen and isinstance(layer, LOWERED_LAYERS):
                layer.to(torch.bfloat16)
    return unet


def _recipe_flop(model: int) -> float:
    config = model_config(f"dynamicrafter_{model}")
    work = Workload(config, SPATIAL, "diffusion", 1)
    return training_pass(work, "none").flop / 1e12


def main() -> None:
    """Print the rows of one case."""
    print_rows(CASES[sys.argv[1]]())


BATCHES = {256: 8, 512: 3}
RATES = {256: ("≥ 20", "25", "8.3 (16.4 compiled)"), 512: ("≥ 7.5", "9", "")}
CASES = {
    "train-256": lambda: speeds(256),
    "train-512": lambda: speeds(512),
    "curves": curves,
    "noise": noise,
}

if __name__ == "__main__":
    main()
