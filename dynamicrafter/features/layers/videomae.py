"""VideoMAE: a plain vision transformer over tubes of frames."""

import functools

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet


class VideoMae(nn.Module):
    """The network, with the head that its features do not pass."""

    def __init__(
        self,
        width: int,
        depth: int,
        hidden: int,
        tube: tuple[int, int, int],
        classes: int,
        heads: int,
    ):
        """See `videomae.Sizes`."""
        super().__init__()
        self.patch_embed = nn.Module()
        self.patch_embed.proj = nn.Conv3d(3, width, tube, tube)
        self.blocks = nn.ModuleList(Block(width, hidden, heads) for _ in range(depth))
        self.fc_norm = nn.LayerNorm(width, eps=1e-6)
        self.head = nn.Linear(width, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Video `[b, 3, t, h, w]`, whose sides the tubes divide → `[b, width]`."""
        x = self.patch_embed.proj(x).flatten(2).transpose(1, 2)  # [b, tubes, width]
        x = x + sinusoids(x.shape[1], x.shape[2]).to(x)
        for block in self.blocks:
            x = block(x)
        return self.fc_norm(x.mean(dim=1))


class Block(nn.Module):
    """Attention and MLP, each behind a layer norm and beside a residual path."""

    def __init__(self, width: int, hidden: int, heads: int):
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=1e-6)
        self.attn = Attention(width, heads)
        self.norm2 = nn.LayerNorm(width, eps=1e-6)
        self.mlp = nn.Module()
        self.mlp.fc1 = nn.Linear(width, hidden)
        self.mlp.fc2 = nn.Linear(hidden, width)

    def forward(self, x: Tensor) -> Tensor:
        """`[b, tubes, width]` → the same shape."""
        x = x + self.attn(self.norm1(x))
        return x + self.mlp.fc2(F.gelu(self.mlp.fc1(self.norm2(x))))


class Attention(nn.Module):
    """Self-attention whose queries and values have a bias, and whose keys have none (BEiT)."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.q_bias = nn.Parameter(torch.zeros(width))
        self.v_bias = nn.Parameter(torch.zeros(width))
        self.proj = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """`[b, tubes, width]` → the same shape."""
        bias = torch.cat([self.q_bias, torch.zeros_like(self.q_bias), self.v_bias])
        q, k, v = (
            part.unflatten(2, (self.heads, -1)).transpose(1, 2)  # [b, heads, tubes, d]
            for part in F.linear(x, self.qkv.weight, bias).chunk(3, dim=2)
        )
        x = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
        return self.proj(x)


def scaled(pixels: Tensor, scaling: str) -> Tensor:
    """Videos `[n, 3, t, h, w]` in [-1, 1] → as the network takes them, see `videomae_network`."""
    pixels = (pixels + 1) / 2
    if scaling == "unit":
        return pixels
    mean, deviation = (pixels.new_tensor(values).view(3, 1, 1, 1) for values in (MEAN, DEVIATION))
    return (pixels - mean) / deviation


@functools.cache
def sinusoids(places: int, width: int) -> Tensor:
    """The fixed encoding of place p, `[places, width]`: sine and cosine of p / 10000^(2i/width).

    Sines stand in even columns, cosines in odd ones (Vaswani et al., 2017).
    """
    column = np.arange(width)
    angle = np.arange(places)[:, None] / 10000 ** (2 * (column // 2) / width)
    return torch.from_numpy(np.where(column % 2 == 0, np.sin(angle), np.cos(angle))).float()
