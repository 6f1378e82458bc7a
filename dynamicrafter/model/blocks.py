"""Blocks of the U-Net: the sinusoidal embedding, the residual block, down- and up-sampling."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dynamicrafter.model.dropout import Dropout
from dynamicrafter.model.layers import GroupNormSiLU, zero_init
from dynamicrafter.model.temporal import TemporalConvBlock, as_clips, as_frames


def timestep_embedding(t: Tensor, dim: int) -> Tensor:
    """Sinusoidal embedding of t `[b]` → float32 `[b, dim]`, dim even: cosines, then sines."""
    half = dim // 2
    i = torch.arange(half, dtype=torch.float32, device=t.device)
    angles = t[:, None].float() * torch.exp(-math.log(10000) * i / half)
    return torch.cat([angles.cos(), angles.sin()], dim=-1)


class Downsample(nn.Module):
    """Halve height and width with a strided convolution."""

    def __init__(self, channels: int):
        super().__init__()
        self.op = nn.Conv2d(channels, channels, 3, stride=2, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """`[n, c, h, w]` → `[n, c, ceil(h/2), ceil(w/2)]`."""
        return self.op(x)


class Upsample(nn.Module):
    """Double height and width: nearest neighbour, then a convolution."""

    def __init__(self, in_channels: int, out_channels: int):
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """`[n, c, h, w]` → `[n, c', 2h, 2w]`."""
        return self.conv(F.interpolate(x, scale_factor=2, mode="nearest"))


class ResBlock(nn.Module):
    """Two convolutions with the time embedding between them and a skip; then over the frames."""

    def __init__(
        self, channels: int, out_channels: int, emb_dim: int, dropout: float, *, temporal: bool
    ):
        super().__init__()
        self.in_layers = nn.Sequential(
            GroupNormSiLU(channels, eps=1e-5),
            nn.Identity(),  # keeps the place of the activation in the names
            nn.Conv2d(channels, out_channels, 3, padding=1),
        )
        self.emb_layers = nn.Sequential(nn.SiLU(), nn.Linear(emb_dim, out_channels))
        self.out_layers = nn.Sequential(
            GroupNormSiLU(out_channels, eps=1e-5),
            nn.Identity(),
            Dropout(dropout),
            zero_init(nn.Conv2d(out_channels, out_channels, 3, padding=1)),
        )
        if channels == out_channels:
            self.skip_connection = nn.Identity()
        else:
            self.skip_connection = nn.Conv2d(channels, out_channels, 1)
        # The misspelling is part of the names in every released checkpoint.
        self.temopral_conv = TemporalConvBlock(out_channels, dropout) if temporal else None

    def forward(self, x: Tensor, emb: Tensor, frames: int) -> Tensor:
        """`[(b t), c, h, w]` → `[(b t), c', h, w]`; emb is `[(b t), emb_dim]`, frames is t."""
        h = self.in_layers(x)
        h = h + self.emb_layers(emb)[:, :, None, None]
        h = self.out_layers(h)
        h = self.skip_connection(x) + h
        if self.temopral_conv is not None:
            h = as_frames(self.temopral_conv(as_clips(h, frames)), h)
        return h
