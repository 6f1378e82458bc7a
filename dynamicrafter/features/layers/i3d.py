"""I3D (Inception-v1 inflated to 3D) with TensorFlow's SAME padding.

Parameter names are those of the common PyTorch ports.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

# Output channels of the branches: 1x1, (1x1, 3x3), (1x1, 3x3), 1x1 after the pool.
MIXED = {
    "Mixed_3b": (64, 96, 128, 16, 32, 32),
    "Mixed_3c": (128, 128, 192, 32, 96, 64),
    "Mixed_4b": (192, 96, 208, 16, 48, 64),
    "Mixed_4c": (160, 112, 224, 24, 64, 64),
    "Mixed_4d": (128, 128, 256, 24, 64, 64),
    "Mixed_4e": (112, 144, 288, 32, 64, 64),
    "Mixed_4f": (256, 160, 320, 32, 128, 128),
    "Mixed_5b": (256, 160, 320, 32, 128, 128),
    "Mixed_5c": (384, 192, 384, 48, 128, 128),
}
# Kernel and stride (t, h, w) of the max pool in front of a layer.
POOLS = {
    "Conv3d_2b_1x1": ((1, 3, 3), (1, 2, 2)),
    "Mixed_3b": ((1, 3, 3), (1, 2, 2)),
    "Mixed_4b": ((3, 3, 3), (2, 2, 2)),
    "Mixed_5b": ((2, 2, 2), (2, 2, 2)),
}


class I3D(nn.Module):
    """The network. A mean over time is taken of the logits, not of what they are computed from."""

    def __init__(self, epsilon: float):
        """`epsilon`: of the batch norms, see `i3d.EPSILON`."""
        super().__init__()
        self.Conv3d_1a_7x7 = Unit(3, 64, 7, epsilon, stride=2)
        self.Conv3d_2b_1x1 = Unit(64, 64, 1, epsilon)
        self.Conv3d_2c_3x3 = Unit(64, 192, 3, epsilon)
        channels = 192
        for name, widths in MIXED.items():
            self.add_module(name, Mixed(channels, widths, epsilon))
            channels = widths[0] + widths[2] + widths[4] + widths[5]
        self.logits = nn.Module()
        self.logits.conv3d = nn.Conv3d(channels, 400, 1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Video `[b, 3, t, 224, 224]` in [-1, 1] → logits `[b, 400]`, pooled features `[b, 1024]`.

        t is at least 9: the last average pool spans two of t/8 steps.
        """
        for name, layer in self.named_children():
            if name == "logits":
                break
            if name in POOLS:
                x = max_pool_same(x, *POOLS[name])
            x = layer(x)
        x = F.avg_pool3d(x, (2, 7, 7), stride=1)  # [b, 1024, t/8 - 1, 1, 1]
        scores = self.logits.conv3d(x)
        return scores.mean(dim=(2, 3, 4)), x.mean(dim=(2, 3, 4))  # [b, 400], [b, 1024]


class Mixed(nn.Module):
    """Four parallel branches, concatenated along the channels."""

    def __init__(self, channels: int, widths: tuple[int, ...], epsilon: float):
        super().__init__()
        self.b0 = Unit(channels, widths[0], 1, epsilon)
        self.b1a = Unit(channels, widths[1], 1, epsilon)
        self.b1b = Unit(widths[1], widths[2], 3, epsilon)
        self.b2a = Unit(channels, widths[3], 1, epsilon)
        self.b2b = Unit(widths[3], widths[4], 3, epsilon)
        self.b3b = Unit(channels, widths[5], 1, epsilon)

    def forward(self, x: Tensor) -> Tensor:
        """`[b, c, t, h, w]` → `[b, sum of the branches, t, h, w]`."""
        pooled = max_pool_same(x, (3, 3, 3), (1, 1, 1))
        branches = [self.b0(x), self.b1b(self.b1a(x)), self.b2b(self.b2a(x)), self.b3b(pooled)]
        return torch.cat(branches, dim=1)


class Unit(nn.Module):
    """Convolution without bias, batch norm, ReLU; padded as TensorFlow's SAME."""

    def __init__(
        self, channels: int, width: int, kernel: int, epsilon: float, stride: int = 1
    ) -> None:
        super().__init__()
        self.conv3d = nn.Conv3d(channels, width, kernel, stride, bias=False)
        self.bn = nn.BatchNorm3d(width, eps=epsilon)

    def forward(self, x: Tensor) -> Tensor:
        """`[b, c, t, h, w]` → `[b, width, t/stride, h/stride, w/stride]`, rounded up."""
        x = pad_same(x, self.conv3d.kernel_size, self.conv3d.stride)
        return F.relu(self.bn(self.conv3d(x)))


def max_pool_same(x: Tensor, kernel: tuple[int, ...], stride: tuple[int, ...]) -> Tensor:
    """Max pool padded as TensorFlow's SAME; zeros serve, for x follows a ReLU."""
    return F.max_pool3d(pad_same(x, kernel, stride), kernel, stride)


def pad_same(x: Tensor, kernel: tuple[int, ...], stride: tuple[int, ...]) -> Tensor:
    """Zeros around `[..., t, h, w]`, the odd one behind: the output has ceil(size / stride)."""
    padding: list[int] = []
    for size, k, s in zip(x.shape[2:], kernel, stride, strict=True):
        total = max(k - (s if size % s == 0 else size % s), 0)
        padding = [total // 2, total - total // 2, *padding]  # F.pad counts from the last axis
    return F.pad(x, padding)
