"""Self-attention over the frames of each position, without moving a position's frames together.

Queries, keys and values come as one tensor `[b, t, p, 3*c]`, as a linear layer leaves it, and the
result is `[b, t, p, c]`. On a GPU one Triton kernel takes several positions and one head at a time:
a position has so few frames that general attention kernels leave most of their tile empty, and
would have every tensor transposed before and after.
"""

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor

BLOCK = 64  # rows of a tile, frames of several positions
HEAD_DIMS = (16, 32, 64, 128)
MAX_ROWS = 65535  # beyond it CUDA's fused kernels fail; here there is a row per position


def attend_over_frames(qkv: Tensor, heads: int) -> Tensor:
    """Multi-head attention along axis 1: `[b, t, p, 3*heads*d]` → `[b, t, p, heads*d]`."""
    frames, head_dim = qkv.shape[1], qkv.shape[3] // (3 * heads)
    if qkv.is_cuda and frames <= BLOCK and head_dim in HEAD_DIMS:
        return torch.ops.dynamicrafter.frame_attention(qkv.contiguous(), heads)
    return _general(qkv, heads)


def _general(qkv: Tensor, heads: int) -> Tensor:
    """The same by PyTorch's attention, position by position."""
    positions = qkv.shape[2]
    q, k, v = rearrange(qkv, "b t p (three h d) -> three (b p) h t d", three=3, h=heads)
    parts = zip(*(x.split(MAX_ROWS) for x in (q, k, v)), strict=True)
    out = torch.cat([F.scaled_dot_product_attention(*part) for part in parts])
    return rearrange(out, "(b p) h t d -> b t p (h d)", p=positions)


@torch.library.custom_op("dynamicrafter::frame_attention", mutates_args=())
def _frame_attention(qkv: Tensor, heads: int) -> Tensor:
    from dynamicrafter.model.frame_attention_kernel import forward

    return forward(qkv, heads, BLOCK)


@torch.library.custom_op("dynamicrafter::frame_attention_backward", mutates_args=())
def _frame_attention_backward(grad: Tensor, qkv: Tensor, heads: int) -> Tensor:
    from dynamicrafter.model.frame_attention_kernel import backward

    return backward(grad, qkv, heads, BLOCK)


@_frame_attention.register_fake
def _(qkv: Tensor, heads: int) -> Tensor:
    return qkv.new_empty(*qkv.shape[:3], qkv.shape[3] // 3)


@_frame_attention_backward.register_fake
def _(grad: Tensor, qkv: Tensor, heads: int) -> Tensor:
    return torch.empty_like(qkv)


def _keep(ctx, inputs: tuple[Tensor, int], output: Tensor) -> None:
    ctx.save_for_backward(inputs[0])
    ctx.heads = inputs[1]


def _differentiate(ctx, grad: Tensor) -> tuple[Tensor, None]:
    (qkv,) = ctx.saved_tensors
    grads = torch.ops.dynamicrafter.frame_attention_backward(grad.contiguous(), qkv, ctx.heads)
    return grads, None


_frame_attention.register_autograd(_differentiate, setup_context=_keep)
