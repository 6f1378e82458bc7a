"""Temporal layers: attention and convolution along the frames of a clip, position by position.

A clip is `[b, c, t, p]` here, with the positions p = h*w of a frame on one axis. Where frames lie
channels last, that is the same memory as `[(b t), c, h, w]`: going over to the frames and back
moves nothing, attention finds its tokens where they lie, and the convolutions are 2D ones, for
which the libraries have their best kernels.

The group norms take statistics over the frames too. No layer knows the number of frames: there is
neither a position table nor a mask in any released model.
"""

import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from dynamicrafter.model.attention import FeedForward, SelfAttention
from dynamicrafter.model.dropout import Dropout
from dynamicrafter.model.frame_attention import attend_over_frames
from dynamicrafter.model.layers import GroupNorm, GroupNormSiLU, LayerNorm, zero_init


class PointwiseConv1d(nn.Conv1d):
    """A linear layer whose weight is stored as `[out, in, 1]`, as the init attention has it."""

    def __init__(self, in_channels: int, out_channels: int):
        super().__init__(in_channels, out_channels, kernel_size=1)

    def forward(self, x: Tensor) -> Tensor:
        """`[..., in]` → `[..., out]`."""
        return F.linear(x, self.weight.squeeze(-1), self.bias)


class FrameConv(nn.Conv3d):
    """A convolution over three frames, as wide as one position; stored as `[out, in, 3, 1, 1]`."""

    def __init__(self, channels: int):
        super().__init__(channels, channels, kernel_size=(3, 1, 1), padding=(1, 0, 0))

    def forward(self, x: Tensor) -> Tensor:
        """`[b, c, t, p]` → the same."""
        return F.conv2d(x, self.weight.squeeze(-1), self.bias, padding=(1, 0))


class FrameAttention(SelfAttention):
    """Self-attention over the frames of each position."""

    def forward(self, x: Tensor) -> Tensor:
        """`[b, t, p, dim]` → the same."""
        return self.to_out(attend_over_frames(self.projections(x), self.heads))


class TemporalBlock(nn.Module):
    """Two self-attentions over the frames and a feed-forward, with residuals."""

    def __init__(self, dim: int, heads: int):
        super().__init__()
        self.attn1 = FrameAttention(dim, heads)
        self.ff = FeedForward(dim)
        self.attn2 = FrameAttention(dim, heads)
        self.norm1 = LayerNorm(dim)
        self.norm2 = LayerNorm(dim)
        self.norm3 = LayerNorm(dim)

    def forward(self, x: Tensor) -> Tensor:
        """`[b, t, p, dim]` → the same."""
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
        """`[b, c, t, p]` → the same."""
        tokens = self.proj_in(rearrange(self.norm(x), "b c t p -> b t p c"))
        for block in self.transformer_blocks:
            tokens = block(tokens)
        tokens = self.proj_out(tokens)
        return x + rearrange(tokens, "b t p c -> b c t p")


class TemporalConvBlock(nn.Module):
    """Four convolutions over three frames each, with a residual; starts as the identity."""

    def __init__(self, channels: int, dropout: float):
        super().__init__()
        self.conv1 = nn.Sequential(
            GroupNormSiLU(channels, eps=1e-5), nn.Identity(), FrameConv(channels)
        )
        self.conv2 = _conv_layer(channels, dropout)
        self.conv3 = _conv_layer(channels, dropout)
        self.conv4 = _conv_layer(channels, dropout)
        zero_init(self.conv4[-1])

    def forward(self, x: Tensor) -> Tensor:
        """`[b, c, t, p]` → the same."""
        return x + self.conv4(self.conv3(self.conv2(self.conv1(x))))


def _conv_layer(channels: int, dropout: float) -> nn.Sequential:
    return nn.Sequential(
        GroupNormSiLU(channels, eps=1e-5), nn.Identity(), Dropout(dropout), FrameConv(channels)
    )


def as_clips(h: Tensor, frames: int) -> Tensor:
    """Frames `[(b t), c, h, w]` as clips `[b, c, t, (h w)]`; a view where channels lie last."""
    return rearrange(h, "(b t) c h w -> b c t (h w)", t=frames)


def as_frames(clips: Tensor, like: Tensor) -> Tensor:
    """Clips as frames again, in the shape of the frames that they were."""
    return rearrange(clips, "b c t (h w) -> (b t) c h w", h=like.shape[2])
