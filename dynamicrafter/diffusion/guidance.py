"""Classifier-free guidance: from the outputs under several conditions to one.

The branches of a step are evaluated in one batched call (`batched`), so guidance costs arithmetic
but no further launches.
"""

from collections.abc import Callable

import torch
from torch import Tensor

Denoiser = Callable[[Tensor, Tensor], Tensor]  # (x [b, ...], t [b]) -> model output [b, ...]
Branches = Callable[[Tensor, Tensor], Tensor]  # the same -> [n, b, ...], one row per condition


def batched(denoiser: Denoiser, n: int) -> Branches:
    """Evaluate n conditions in one call of a denoiser that takes a batch of n*b.

    The denoiser carries its conditions, ordered branch by branch: `[(n b), ...]`.
    """

    def branches(x: Tensor, t: Tensor) -> Tensor:
        x = x.repeat(n, *[1] * (x.ndim - 1))  # [(n b), ...]
        return denoiser(x, t.repeat(n)).unflatten(0, (n, -1))

    return branches


def guided(
    branches: Branches,
    *,
    scale: float,
    image_scale: float | None = None,
    rescale: float = 0.0,
) -> Denoiser:
    """A denoiser whose output is the guided one, in float32 whatever the branches compute in.

    Args:
        branches: outputs for (full condition, no condition), and with `image_scale` a third for
            (image, no text).
        scale: strength of the guidance; 1 is none.
        image_scale: strength of the image's share in two-fold guidance.
        rescale: 0 to 1, how far to pull the standard deviation back (`rescale_guidance`).
    """

    def denoiser(x: Tensor, t: Tensor) -> Tensor:
        outputs = branches(x, t).float()
        output = guide(outputs, scale, image_scale)
        return rescale_guidance(output, outputs[0], rescale) if rescale > 0 else output

    return denoiser


def guide(outputs: Tensor, scale: float, image_scale: float | None = None) -> Tensor:
    """Combine branch outputs `[2 or 3, b, ...]` → `[b, ...]`.

    Two: `u + scale * (c - u)`. Three, with i under the image alone:
    `u + image_scale * (i - u) + scale * (c - i)`.
    """
    if image_scale is None:
        conditional, unconditional = outputs
        return unconditional + scale * (conditional - unconditional)
    conditional, unconditional, image = outputs
    return unconditional + image_scale * (image - unconditional) + scale * (conditional - image)


def rescale_guidance(output: Tensor, conditional: Tensor, amount: float) -> Tensor:
    """Blend the guided output with itself at the conditional one's standard deviation.

    The deviation is unbiased and over all axes but the batch (arXiv:2305.08891, section 3.4).
    """
    axes = tuple(range(1, output.ndim))
    ratio = conditional.std(dim=axes, keepdim=True) / output.std(dim=axes, keepdim=True)
    return output * torch.lerp(torch.ones_like(ratio), ratio, amount)
