"""The optimizer and what stands around it: learning rate, gradient norms, clipping, EMA."""

import contextlib
import math
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

from dynamicrafter.model.names import parameter_group
from dynamicrafter.ranks import Ranks
from train.parallel import added, own_part
from train.settings import Settings

NEAR_ZERO = 1e-6  # beside a norm that is divided by


def make_optimizer(trained: Mapping[str, Tensor], settings: Settings) -> torch.optim.AdamW:
    """AdamW over the trained tensors; one kernel for all of them on a GPU."""
    fused = all(parameter.is_cuda for parameter in trained.values())
    return torch.optim.AdamW(
        list(trained.values()),
        settings.learning_rate,
        betas=settings.betas,
        weight_decay=settings.weight_decay,
        fused=fused,
    )


def learning_rate(settings: Settings, step: int) -> float:
    """Linear warm-up, then a cosine from the peak to its final share."""
    if step < settings.warmup_steps:
        return settings.learning_rate * (step + 1) / settings.warmup_steps
    length = max(settings.steps - settings.warmup_steps, 1)
    cosine = 0.5 * (1 + math.cos(math.pi * (step - settings.warmup_steps) / length))
    share = settings.final_learning_rate + (1 - settings.final_learning_rate) * cosine
    return settings.learning_rate * share


@torch.no_grad()
def gradient_norms(trained: Mapping[str, Tensor], ranks: Ranks) -> dict[str, float]:
    """L2 norm of the gradient of each parameter group, over all ranks' parts; "" is the whole.

    Not finite where a gradient is not.
    """
    names = [name for name, parameter in trained.items() if parameter.grad is not None]
    parts = [own_part(trained[name].grad) for name in names]
    squares = torch.stack(torch._foreach_norm(parts)).double().square()
    divided = [part is not trained[name].grad for name, part in zip(names, parts, strict=True)]
    if any(divided):  # the others lie whole on every rank
        mask = torch.tensor(divided, device=squares.device)
        squares = torch.where(mask, added(ranks, torch.where(mask, squares, 0)), squares)
    groups = [parameter_group(name) for name in names]
    norms = {}
    values = squares.tolist()
    for group in sorted(set(groups)):
        norms[group] = math.sqrt(sum(v for v, g in zip(values, groups, strict=True) if g == group))
    return {"": math.sqrt(sum(values)), **norms}


@torch.no_grad()
def clip_gradients(trained: Mapping[str, Tensor], norm: float, limit: float) -> None:
    """Scale all gradients so that their common norm is at most `limit`."""
    scale = limit / (norm + NEAR_ZERO)
    if scale < 1:
        parts = [own_part(p.grad) for p in trained.values() if p.grad is not None]
        torch._foreach_mul_(parts, scale)


class Ema:
    """An exponential moving average of the trained tensors.

    Attributes:
        decay: of the average at each step.
        average: name → fp32 tensor, laid out as the trained one.
    """

    def __init__(self, trained: Mapping[str, Tensor], decay: float):
        """Begin at the present values."""
        self.decay = decay
        self._trained = dict(trained)
        self.average = {name: p.detach().clone() for name, p in trained.items()}

    @torch.no_grad()
    def update(self) -> None:
        """Move towards the present values."""
        averages = [own_part(tensor) for tensor in self.average.values()]
        present = [own_part(tensor.detach()) for tensor in self._trained.values()]
        torch._foreach_lerp_(averages, present, 1 - self.decay)

    @contextlib.contextmanager
    @torch.no_grad()
    def in_place(self) -> Iterator[None]:
        """Inside the block the model computes with the averages."""
        self._swap()
        try:
            yield
        finally:
            self._swap()

    @torch.no_grad()
    def _swap(self) -> None:
        for name, tensor in self._trained.items():
            here, there = own_part(tensor.detach()), own_part(self.average[name])
            kept = here.clone()
            here.copy_(there)
            there.copy_(kept)
