"""Temporal layers: attention and convolution along the frames of a clip, position by position.

Their group norms take statistics over the frames too. No layer knows the number of frames: there is
neither a position table nor a mask in any released model.
"""

import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from dynamicrafter.model.attention import FeedForward, SelfAttention
from dynamicrafter.model.dropout import Dropout
from dynamicrafter.model.layers import GroupNorm, LayerNorm, zero_init


class PointwiseConv1d(nn.Conv1d):
    """A linear layer whose weight is stored as `[out, in, 1]`, as the init attention has it."""

    def __init__(self, in_channels: int, out_channels: int):
        super().__init__(in_channels, out_channels, kernel_size=1)

    def forward(self, x: Tensor) -> Tensor:
        """`[..., in]` → `[..., out]`."""
        return F.linear(x, self.weight.squeeze(-1), self.bias)


class TemporalBlock(nn.Module):
    """Two self-attentions over the frames and a feed-forward, with residuals."""

    def __init__(self, dim: int, heads: int):
        super().__init__()
        self.attn1 = SelfAttention(dim, heads)
        self.ff = FeedForward(dim)
        self.attn2 = SelfAttention(dim, heads)
        self.norm1 = LayerNorm(dim)
        self.norm2 = LayerNorm(dim)
        self.norm3 = LayerNorm(dim)

    def forward(self, x: Tensor) -> Tensor:
        """`[n, t, dim]` → `[n, t, dim]`."""
        x = x + self.attn1(self.norm1(x))
        x = x + self.attn2(self.norm2(x))
        return x + self.ff(self.norm3(x))


class TemporalTransformer(nn.Module):
    """A residual transformer over the frames of each position; starts as the identity.

    The init attention after the first convolution is the one with `pointwise_conv`: its inner width
    differs from its channels, and its projections are stored as convolutions.
    """

    def __init__(
        self,
        channels: int,
        heads: int,
        head_dim: int,
        *,
        depth: int = 1,
        pointwise_conv: bool = False,
    ):
        super().__init__()
        inner = heads * head_dim
        projection = PointwiseConv1d if pointwise_conv else nn.Linear
        self.norm = GroupNorm(channels, eps=1e-6)
        self.proj_in = projection(channels, inner)
        self.transformer_blocks = nn.ModuleList(TemporalBlock(inner, heads) for _ in range(depth))
        self.proj_out = zero_init(projection(inner, channels))

    def forward(self, x: Tensor) -> Tensor:
        """`[b, c, t, h, w]` → `[b, c, t, h, w]`."""
        _, _, _, height, width = x.shape
        tokens = rearrange(self.norm(x), "b c t h w -> (b h w) t c")
        tokens = self.proj_in(tokens)
        for block in self.transformer_blocks:
            tokens = block(tokens)
        tokens = self.proj_out(tokens)
        return x + rearrange(tokens, "(b h w) t c -> b c t h w", h=height, w=width)


class TemporalConvBlock(nn.Module):
    """Four convolutions over three frames each, with a residual; starts as the identity."""

    def __init__(self, channels: int, dropout: float):
        super().__init__()
        self.conv1 = nn.Sequential(GroupNorm(channels, eps=1e-5), nn.SiLU(), _frame_conv(channels))
        self.conv2 = _conv_layer(channels, dropout)
        self.conv3 = _conv_layer(channels, dropout)
        self.conv4 = _conv_layer(channels, dropout)
        zero_init(self.conv4[-1])

    def forward(self, x: Tensor) -> Tensor:
        """`[b, c, t, h, w]` → `[b, c, t, h, w]`."""
        return x + self.conv4(self.conv3(self.conv2(self.conv1(x))))


def _conv_layer(channels: int, dropout: float) -> nn.Sequential:
    return nn.Sequential(
        GroupNorm(channels, eps=1e-5), nn.SiLU(), Dropout(dropout), _frame_conv(channels)
    )


def _frame_conv(channels: int) -> nn.Conv3d:
    return nn.Conv3d(channels, channels, kernel_size=(3, 1, 1), padding=(1, 0, 0))
