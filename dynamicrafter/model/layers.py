"""The small layers that every network here shares: norms with fp32 statistics, zero initialisation.

The norms cast by hand instead of leaving it to autocast, so that they are exact on every device and
in a model whose weights themselves are bf16.
"""

import torch.nn.functional as F
from torch import Tensor, nn


class GroupNorm(nn.GroupNorm):
    """Group norm with 32 groups, computed in fp32 and returned in the dtype of the input."""

    def __init__(self, channels: int, eps: float):
        super().__init__(32, channels, eps)

    def forward(self, x: Tensor) -> Tensor:
        """Normalise x `[n, c, ...]` over each group of c/32 channels and all later axes."""
        weight, bias = self.weight.float(), self.bias.float()
        return F.group_norm(x.float(), self.num_groups, weight, bias, self.eps).to(x.dtype)


class LayerNorm(nn.LayerNorm):
    """Layer norm (eps 1e-5), computed in fp32 and returned in the dtype of the input."""

    def forward(self, x: Tensor) -> Tensor:
        """Normalise x `[..., c]` over its last axis."""
        weight, bias = self.weight.float(), self.bias.float()
        return F.layer_norm(x.float(), self.normalized_shape, weight, bias, self.eps).to(x.dtype)


def zero_init(module: nn.Module) -> nn.Module:
    """Set all parameters of `module` to zero and return it: a branch that starts as nothing."""
    for parameter in module.parameters():
        nn.init.zeros_(parameter)
    return module
