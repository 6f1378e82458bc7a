"""The small layers that every network here shares: norms with fp32 statistics, gated GELU, zeros.

The norms cast by hand instead of leaving it to autocast, so that they are exact on every device and
in a model whose weights themselves are bf16. On a GPU they and the gate are kernels of their own in
a pass without gradient, and part of the layer around them in a compiled one.
"""

import functools
import importlib.util

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class GroupNorm(nn.GroupNorm):
    """Group norm with 32 groups, computed in fp32 and returned in the dtype of the input."""

    activates = False  # whether SiLU follows

    def __init__(self, channels: int, eps: float):
        super().__init__(32, channels, eps)

    def forward(self, x: Tensor) -> Tensor:
        """Normalise x `[n, c, ...]` over each group of c/32 channels and all later axes."""
        if has_kernels(x):
            from dynamicrafter.model import sampling_kernels as kernels

            if kernels.lies_channels_last(x):
                norm = (self.weight, self.bias, self.num_groups, self.eps)
                return kernels.group_norm(x, *norm, silu=self.activates)
        if torch.compiler.is_compiling():
            normed = self._by_channel(x)
        else:
            weight, bias = self.weight.float(), self.bias.float()
            normed = F.group_norm(x.float(), self.num_groups, weight, bias, self.eps)
        normed = normed.to(x.dtype)
        return F.silu(normed) if self.activates else normed

    def _by_channel(self, x: Tensor) -> Tensor:
        """The same from moments of each channel, which a compiler reads in the order of memory.

        Where channels lie last, the values of a group are few and far apart, and those of all
        channels side by side.
        """
        n, c = x.shape[:2]
        values = x.float().flatten(2)
        variance, mean = (
            moment.view(n, self.num_groups, -1)
            for moment in torch.var_mean(values, dim=2, correction=0)
        )
        center = mean.mean(dim=2, keepdim=True)
        spread = (variance + (mean - center).square()).mean(dim=2, keepdim=True)
        scale = (spread + self.eps).rsqrt() * self.weight.float().view(self.num_groups, -1)
        shift = self.bias.float().view(self.num_groups, -1) - center * scale
        values = values * scale.reshape(n, c, 1) + shift.reshape(n, c, 1)
        return values.view(x.shape)


class GroupNormSiLU(GroupNorm):
    """Group norm, then SiLU, in one pass over memory where that can be."""

    activates = True


class LayerNorm(nn.LayerNorm):
    """Layer norm (eps 1e-5), computed in fp32 and returned in the dtype of the input."""

    def forward(self, x: Tensor) -> Tensor:
        """Normalise x `[..., c]` over its last axis."""
        if has_kernels(x) and x.is_contiguous():
            from dynamicrafter.model import sampling_kernels as kernels

            return kernels.layer_norm(x, self.weight, self.bias, self.eps)
        weight, bias = self.weight.float(), self.bias.float()
        return F.layer_norm(x.float(), self.normalized_shape, weight, bias, self.eps).to(x.dtype)


def gated_gelu(x: Tensor) -> Tensor:
    """`[..., 2*d]` → `[..., d]`: the first half times GELU of the second."""
    if has_kernels(x) and x.is_contiguous():
        from dynamicrafter.model import sampling_kernels as kernels

        return kernels.gated_gelu(x)
    value, gate = x.chunk(2, dim=-1)
    return value * F.gelu(gate)


def laid_out(frames: Tensor) -> Tensor:
    """Frames `[n, c, h, w]`, on a GPU channels last: its matrix units want them so."""
    return frames.contiguous(memory_format=torch.channels_last) if frames.is_cuda else frames


def has_kernels(x: Tensor) -> bool:
    """Whether x is where the Triton kernels run: on a GPU, without gradient, not compiled."""
    if not x.is_cuda or torch.is_grad_enabled() or torch.compiler.is_compiling():
        return False
    return _has_triton()


@functools.cache
def _has_triton() -> bool:
    return importlib.util.find_spec("triton") is not None


def zero_init(module: nn.Module) -> nn.Module:
    """Set all parameters of `module` to zero and return it: a branch that starts as nothing."""
    for parameter in module.parameters():
        nn.init.zeros_(parameter)
    return module
