"""From CLIP image features to context tokens: the query transformer P, and a linear projector.

P (paper, section 3.1) lets learned queries, 16 a frame, attend to all 257 tokens of the image. The
linear projector serves the ablation in which the image comes in as one global embedding.
"""

from dataclasses import dataclass

import torch
from einops import rearrange
from torch import Tensor, nn

from dynamicrafter.model.attention import attend
from dynamicrafter.model.layers import LayerNorm

FRAME_TOKENS = 16  # queries, hence context tokens, a frame


@dataclass(frozen=True, kw_only=True)
class ResamplerConfig:
    """Shape of the query transformer; the defaults are the released one.

    Attributes:
        dim: width of the queries.
        heads, head_dim: attention; the inner width is their product.
        frames: frames of a clip; 1 for the image model.
        embedding_dim: width of the CLIP tokens.
        output_dim: width of the U-Net's context.
    """

    dim: int = 1024
    depth: int = 4
    heads: int = 12
    head_dim: int = 64
    frames: int = 16
    embedding_dim: int = 1280
    output_dim: int = 1024
    ff_mult: int = 4


class QueryAttention(nn.Module):
    """Queries attend to the image tokens and to themselves."""

    def __init__(self, dim: int, heads: int, head_dim: int):
        super().__init__()
        self.heads = heads
        self.norm1 = LayerNorm(dim)
        self.norm2 = LayerNorm(dim)
        self.to_q = nn.Linear(dim, heads * head_dim, bias=False)
        self.to_kv = nn.Linear(dim, 2 * heads * head_dim, bias=False)
        self.to_out = nn.Linear(heads * head_dim, dim, bias=False)

    def forward(self, x: Tensor, latents: Tensor) -> Tensor:
        """Image tokens `[b, n, dim]`, latents `[b, q, dim]` → `[b, q, dim]`."""
        x, latents = self.norm1(x), self.norm2(latents)
        k, v = self.to_kv(torch.cat([x, latents], dim=1)).chunk(2, dim=-1)
        return self.to_out(attend(self.to_q(latents), k, v, self.heads))


class Resampler(nn.Module):
    """The query transformer P: image tokens → context tokens, frame by frame."""

    def __init__(self, config: ResamplerConfig):
        super().__init__()
        dim, inner = config.dim, config.dim * config.ff_mult
        queries = torch.randn(1, FRAME_TOKENS * config.frames, dim)
        self.latents = nn.Parameter(queries / dim**0.5)
        self.proj_in = nn.Linear(config.embedding_dim, dim)
        self.proj_out = nn.Linear(dim, config.output_dim)
        self.norm_out = LayerNorm(config.output_dim)
        self.layers = nn.ModuleList()
        for _ in range(config.depth):
            feed_forward = nn.Sequential(
                LayerNorm(dim),
                nn.Linear(dim, inner, bias=False),
                nn.GELU(),
                nn.Linear(inner, dim, bias=False),
            )
            attention = QueryAttention(dim, config.heads, config.head_dim)
            self.layers.append(nn.ModuleList([attention, feed_forward]))

    def forward(self, x: Tensor) -> Tensor:
        """`[b, n, embedding_dim]` → `[b, frames * 16, output_dim]`, frames slowest."""
        latents = self.latents.expand(x.shape[0], -1, -1)
        x = self.proj_in(x)
        for attention, feed_forward in self.layers:
            latents = latents + attention(x, latents)
            latents = latents + feed_forward(latents)
        return self.norm_out(self.proj_out(latents))


def frame_tokens(tokens: Tensor, frames: int) -> Tensor:
    """The context tokens of a clip of `frames` frames, from those of the trained number.

    Frame i of n takes the 16 tokens of the trained frame nearest to its relative place, number
    `i * (trained - 1) / (n - 1)` rounded half up, so the first and the last frame keep their own; a
    single frame takes the first. `[b, trained * 16, d]` → `[b, frames * 16, d]`.
    """
    trained = tokens.shape[1] // FRAME_TOKENS
    if frames == trained:
        return tokens
    span = max(frames - 1, 1)
    nearest = [(2 * i * (trained - 1) + span) // (2 * span) for i in range(frames)]
    by_frame = rearrange(tokens, "b (t n) d -> b t n d", t=trained)
    return rearrange(by_frame[:, nearest], "b t n d -> b (t n) d")


class LinearProjector(nn.Module):
    """One image embedding → a few context tokens that all frames share."""

    def __init__(self, embedding_dim: int, output_dim: int, tokens: int):
        super().__init__()
        self.tokens = tokens
        self.proj = nn.Linear(embedding_dim, tokens * output_dim)
        self.norm = LayerNorm(output_dim)

    def forward(self, x: Tensor) -> Tensor:
        """`[b, embedding_dim]` → `[b, tokens, output_dim]`."""
        return self.norm(rearrange(self.proj(x), "b (n d) -> b n d", n=self.tokens))
