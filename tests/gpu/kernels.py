"""`python -m tests.gpu.kernels`: the Triton kernels beside PyTorch in float64, on odd sizes too.

And masks of dropout in compiled layers beside those of eager ones: no element may differ.

Runs on a GPU, or slowly without one where Triton is there: TRITON_INTERPRET=1.
"""

import sys
from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import nn

from dynamicrafter.model import frame_attention, sampling_kernels
from dynamicrafter.model.dropout import Dropout, keyed_dropout
from dynamicrafter.model.frame_attention_kernel import backward, forward

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
# The interpreter multiplies no bf16; fp16 takes the same way through the kernels.
LOW = torch.bfloat16 if torch.cuda.is_available() else torch.float16
LIMITS = {torch.float32: 1e-5, LOW: 1e-2}  # relative L2
ATTENTIONS = ((2, 16, 9, 3, 64), (1, 5, 7, 2, 32), (1, 1, 5, 1, 16))


def main() -> None:
    """Print each error; exit with 1 if one is too large."""
    failed = False
    for dtype, limit in LIMITS.items():
        for name, error in (*norms(dtype), *gates(dtype), *attentions(dtype), *masks(dtype)):
            failed |= not error < limit
            print(f"{error:.2e} of {limit:.0e}  {dtype}  {name}")  # noqa: T201
    sys.exit(int(failed))


def norms(dtype: torch.dtype) -> Iterator[tuple[str, float]]:
    """Group norm with and without SiLU, and layer norm."""
    for shape in ((2, 320, 8, 8), (3, 1920, 7, 11), (1, 96, 16, 5), (1, 64, 1, 3)):
        x, weight, bias = normal(*shape) * 2 + 5 * normal(1, shape[1], 1, 1), *normal(2, shape[1])
        x = x.to(dtype).contiguous(memory_format=torch.channels_last)
        exact = F.group_norm(x.double(), 32, weight.double(), bias.double(), 1e-5)
        for silu in (False, True):
            found = sampling_kernels.group_norm(x, weight, bias, 32, 1e-5, silu)
            yield f"group norm {shape}, SiLU {silu}", apart(found, F.silu(exact) if silu else exact)
    for width in (320, 640, 1280, 77):
        x, weight, bias = (normal(3, 5, width) * 3 + 4).to(dtype), *normal(2, width)
        exact = F.layer_norm(x.double(), (width,), weight.double(), bias.double())
        found = sampling_kernels.layer_norm(x, weight, bias, 1e-5)
        yield f"layer norm {width}", apart(found, exact)


def gates(dtype: torch.dtype) -> Iterator[tuple[str, float]]:
    """Gated GELU."""
    for width in (1280, 77):
        x = normal(3, 7, 2 * width).to(dtype)
        value, gate = x.double().chunk(2, dim=-1)
        yield f"gated GELU {width}", apart(sampling_kernels.gated_gelu(x), value * F.gelu(gate))


def attentions(dtype: torch.dtype) -> Iterator[tuple[str, float]]:
    """Attention over frames and its gradient."""
    for clips, frames, positions, heads, dim in ATTENTIONS:
        qkv = normal(clips, frames, positions, 3 * heads * dim).to(dtype)
        exact = qkv.double().requires_grad_()
        result = frame_attention._general(exact, heads)
        grad = normal(*result.shape).to(dtype)
        result.backward(grad.double())
        name = f"{clips} clips, {frames} frames, {positions} positions, {heads} heads of {dim}"
        yield f"attention, {name}", apart(forward(qkv, heads, 64), result)
        if frames > 1:  # of a single frame queries and keys have none
            yield f"its gradient, {name}", apart(backward(grad, qkv, heads, 64), exact.grad)


def masks(dtype: torch.dtype) -> Iterator[tuple[str, float]]:
    """Share of elements that a compiled layer drops and an eager one keeps, or the other way."""
    for clips, channels, side in ((1, 640, 8), (2, 64, 5), (1, 32, 3)):
        layer = nn.Sequential(nn.GroupNorm(32, channels), nn.Sigmoid(), Dropout(0.1)).to(
            DEVICE, dtype
        )
        x = normal(4 * clips, channels, side, side).to(dtype)
        x = x.contiguous(memory_format=torch.channels_last).requires_grad_()
        with keyed_dropout(layer, 0, "x", range(clips)):
            expected, found = layer(x), torch.compile(layer, dynamic=False)(x)
            found.sum().backward()
        differ = ((expected == 0) != (found == 0)).double().mean()
        yield f"masks of {clips} clips, {channels} channels, side {side}", float(differ)


def normal(*shape: int) -> torch.Tensor:
    """Random values, anew at each call."""
    return torch.randn(shape, device=DEVICE)


def apart(found: torch.Tensor, exact: torch.Tensor) -> float:
    """Relative L2 difference."""
    return float(((found.double() - exact).norm() / exact.norm()).detach())


if __name__ == "__main__":
    main()
