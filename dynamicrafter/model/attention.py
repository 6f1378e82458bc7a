"""Spatial attention: self-attention within a frame, and cross-attention to text and image tokens.

Text and image have keys and values of their own and a softmax each (dual cross-attention); one
query serves both. The two streams travel as separate tensors. A stream that is the same for all
frames of a clip is projected once a clip.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from dynamicrafter.model.layers import GroupNorm, LayerNorm, gated_gelu, zero_init


def attend(q: Tensor, k: Tensor, v: Tensor, heads: int) -> Tensor:
    """Multi-head attention of q `[n, l, heads*d]` over k and v `[n, m, heads*d]` → shape of q."""
    q, k, v = (rearrange(x, "n l (h d) -> n h l d", h=heads) for x in (q, k, v))
    out = F.scaled_dot_product_attention(q, k, v)
    return rearrange(out, "n h l d -> n l (h d)")


class GEGLU(nn.Module):
    """Linear layer whose second half gates the first through GELU."""

    def __init__(self, dim: int, inner_dim: int):
        super().__init__()
        self.proj = nn.Linear(dim, inner_dim * 2)

    def forward(self, x: Tensor) -> Tensor:
        """`[..., dim]` → `[..., inner_dim]`."""
        if torch.compiler.is_compiling():  # gradients of two products need not be joined first
            (to_value, to_gate), (value, gate) = self.proj.weight.chunk(2), self.proj.bias.chunk(2)
            return F.linear(x, to_value, value) * F.gelu(F.linear(x, to_gate, gate))
        return gated_gelu(self.proj(x))


class FeedForward(nn.Module):
    """GEGLU to four times the width, and back."""

    def __init__(self, dim: int):
        super().__init__()
        # The identity keeps the place of a dropout that is never on: `net.2` is part of the names.
        self.net = nn.Sequential(GEGLU(dim, 4 * dim), nn.Identity(), nn.Linear(4 * dim, dim))

    def forward(self, x: Tensor) -> Tensor:
        """`[..., dim]` → `[..., dim]`."""
        return self.net(x)


class SelfAttention(nn.Module):
    """Multi-head self-attention; queries, keys and values without bias."""

    def __init__(self, dim: int, heads: int):
        super().__init__()
        self.heads = heads
        self.to_q = nn.Linear(dim, dim, bias=False)
        self.to_k = nn.Linear(dim, dim, bias=False)
        self.to_v = nn.Linear(dim, dim, bias=False)
        self.to_out = nn.Sequential(nn.Linear(dim, dim))

    def forward(self, x: Tensor) -> Tensor:
        """`[n, l, dim]` → `[n, l, dim]`."""
        return self.to_out(attend(*self.projections(x).chunk(3, dim=-1), self.heads))

    def projections(self, x: Tensor) -> Tensor:
        """Queries, keys and values `[..., 3*dim]` in one product, three times as wide as each."""
        weights = (self.to_q.weight, self.to_k.weight, self.to_v.weight)
        return F.linear(x, torch.cat(weights))


class DualCrossAttention(nn.Module):
    """Cross-attention to text tokens and, with `image`, to image tokens: `text + gate * image`.

    The gate is 1, or `tanh(alpha) + 1` with a learned scalar alpha that starts at 0 (the lambda of
    the paper, section 3.2).

    Attributes:
        gate_factor: multiplies the gate, to look into a trained model (`gates.py`); 1 by default.
        observer: called at every pass with the outputs of both streams `[n, l, dim]`, the image's
            gated, and with m (see `forward`); None by default (`attention_ratio.py`).
    """

    def __init__(self, dim: int, context_dim: int, heads: int, *, image: bool, learned_gate: bool):
        super().__init__()
        self.heads = heads
        self.gate_factor = 1.0
        self.observer: Callable[[Tensor, Tensor, int], None] | None = None
        self.to_q = nn.Linear(dim, dim, bias=False)
        self.to_k = nn.Linear(context_dim, dim, bias=False)
        self.to_v = nn.Linear(context_dim, dim, bias=False)
        self.to_out = nn.Sequential(nn.Linear(dim, dim))
        if image:
            self.to_k_ip = nn.Linear(context_dim, dim, bias=False)
            self.to_v_ip = nn.Linear(context_dim, dim, bias=False)
        if image and learned_gate:
            self.alpha = nn.Parameter(torch.tensor(0.0))
        else:
            self.alpha = None

    def forward(self, x: Tensor, text: Tensor, image: Tensor | None) -> Tensor:
        """Attend from every frame to its tokens.

        Args:
            x: `[n, l, dim]`, n = clips times frames, frames fastest.
            text: `[m, 77, context_dim]` with m dividing n: row i serves n/m rows of x.
            image: like text, any number of tokens; None for a model without image stream.
        """
        q = self.to_q(x)
        out = self._attend(q, self.to_k(text), self.to_v(text))
        if image is not None:
            image_out = self._attend(q, self.to_k_ip(image), self.to_v_ip(image))
            if self.alpha is not None:
                image_out = image_out * (torch.tanh(self.alpha) + 1)
            if self.gate_factor != 1:
                image_out = image_out * self.gate_factor
            if self.observer is not None:
                self.observer(out, image_out, len(text))
            out = out + image_out
        return self.to_out(out)

    def _attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Rows of q that share a row of k and v become one long row: nothing is repeated."""
        return attend(q.reshape(len(k), -1, q.shape[-1]), k, v, self.heads).reshape(q.shape)


class SpatialBlock(nn.Module):
    """Self-attention, cross-attention and feed-forward, each normed before, with residuals."""

    def __init__(self, dim: int, context_dim: int, heads: int, *, image: bool, learned_gate: bool):
        super().__init__()
        self.attn1 = SelfAttention(dim, heads)
        self.ff = FeedForward(dim)
        self.attn2 = DualCrossAttention(
            dim, context_dim, heads, image=image, learned_gate=learned_gate
        )
        self.norm1 = LayerNorm(dim)
        self.norm2 = LayerNorm(dim)
        self.norm3 = LayerNorm(dim)

    def forward(self, x: Tensor, text: Tensor, image: Tensor | None) -> Tensor:
        """`[n, l, dim]` → `[n, l, dim]`."""
        x = x + self.attn1(self.norm1(x))
        x = x + self.attn2(self.norm2(x), text, image)
        return x + self.ff(self.norm3(x))


class SpatialTransformer(nn.Module):
    """A residual transformer over the positions of each frame; starts as the identity."""

    def __init__(
        self,
        channels: int,
        context_dim: int,
        heads: int,
        *,
        depth: int = 1,
        image: bool,
        learned_gate: bool,
    ):
        super().__init__()
        self.norm = GroupNorm(channels, eps=1e-6)
        self.proj_in = nn.Linear(channels, channels)
        self.transformer_blocks = nn.ModuleList(
            SpatialBlock(channels, context_dim, heads, image=image, learned_gate=learned_gate)
            for _ in range(depth)
        )
        self.proj_out = zero_init(nn.Linear(channels, channels))

    def forward(self, x: Tensor, text: Tensor, image: Tensor | None) -> Tensor:
        """`[(b t), c, h, w]` → the same; text and image are `[b or (b t), l, context_dim]`."""
        tokens = rearrange(self.norm(x), "n c h w -> n (h w) c")
        tokens = self.proj_in(tokens)
        for block in self.transformer_blocks:
            tokens = block(tokens, text, image)
        tokens = self.proj_out(tokens)
        return x + rearrange(tokens, "n (h w) c -> n c h w", h=x.shape[2])
