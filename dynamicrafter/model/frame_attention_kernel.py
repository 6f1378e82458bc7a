"""The Triton kernels of `frame_attention.py`: a tile of positions and one head a program.

A tile's rows are the frames of `rows // frames` positions. Scores between frames of different
positions are computed too, since a tile is the least that the matrix units take, and left out of
the softmax. Everything of a tile is there at once, so nothing but the inputs is kept for the
backward pass.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor


def forward(qkv: Tensor, heads: int, rows: int) -> Tensor:
    """`[b, t, p, 3*c]`, contiguous → `[b, t, p, c]`."""
    out = torch.empty(*qkv.shape[:3], qkv.shape[3] // 3, dtype=qkv.dtype, device=qkv.device)
    _launch(_forward, qkv, (qkv, out), heads, rows)
    return out


def backward(grad: Tensor, qkv: Tensor, heads: int, rows: int) -> Tensor:
    """Gradient of qkv `[b, t, p, 3*c]` from that of the result `[b, t, p, c]`; both contiguous."""
    grads = torch.empty_like(qkv)
    _launch(_backward, qkv, (qkv, grad, grads), heads, rows)
    return grads


def _launch(kernel, qkv: Tensor, tensors: tuple[Tensor, ...], heads: int, rows: int) -> None:
    clips, frames, positions, width = qkv.shape
    head_dim = width // (3 * heads)
    tiles = triton.cdiv(positions, rows // frames)
    kernel[(tiles, heads, clips)](
        *tensors,
        frames,
        positions,
        head_dim**-0.5,
        WIDTH=width // 3,
        HEAD_DIM=head_dim,
        ROWS=rows,
        PRECISION="ieee" if qkv.dtype == torch.float32 else "tf32",
    )


@triton.jit
def _places(frames, positions, ROWS: tl.constexpr):
    """Rows of a tile: which are there, which position each belongs to, its token in the clip."""
    row = tl.arange(0, ROWS)
    here = ROWS // frames
    place = row // frames
    position = tl.program_id(0) * here + place
    present = (place < here) & (position < positions)
    clip = tl.program_id(2).to(tl.int64)
    token = (clip * frames + row % frames) * positions + position
    return present, place, token


@triton.jit
def _projections(qkv, token, present, WIDTH: tl.constexpr, HEAD_DIM: tl.constexpr):
    """Offsets of a tile of one head in qkv and in the result; its queries, keys and values."""
    channel = tl.program_id(1) * HEAD_DIM + tl.arange(0, HEAD_DIM)
    mask = present[:, None]
    offset = token[:, None] * (3 * WIDTH) + channel[None, :]
    q = tl.load(qkv + offset, mask=mask, other=0.0)
    k = tl.load(qkv + offset + WIDTH, mask=mask, other=0.0)
    v = tl.load(qkv + offset + 2 * WIDTH, mask=mask, other=0.0)
    return offset, token[:, None] * WIDTH + channel[None, :], mask, q, k, v


@triton.jit
def _weights(q, k, place, present, scale, PRECISION: tl.constexpr):
    """Softmax over the frames of the same position, float32 `[ROWS, ROWS]`."""
    scores = tl.dot(q, tl.trans(k), input_precision=PRECISION) * scale
    scores = tl.where(place[:, None] == place[None, :], scores, -1e30)
    weights = tl.exp(scores - tl.max(scores, 1)[:, None])
    return weights / tl.sum(weights, 1)[:, None]


@triton.jit
def _forward(
    qkv,
    out,
    frames,
    positions,
    scale,
    WIDTH: tl.constexpr,
    HEAD_DIM: tl.constexpr,
    ROWS: tl.constexpr,
    PRECISION: tl.constexpr,
):
    present, place, token = _places(frames, positions, ROWS)
    _, place_out, mask, q, k, v = _projections(qkv, token, present, WIDTH, HEAD_DIM)
    weights = _weights(q, k, place, present, scale, PRECISION)
    result = tl.dot(weights.to(v.dtype), v, input_precision=PRECISION)
    tl.store(out + place_out, result.to(out.dtype.element_ty), mask=mask)


@triton.jit
def _backward(
    qkv,
    grad,
    grads,
    frames,
    positions,
    scale,
    WIDTH: tl.constexpr,
    HEAD_DIM: tl.constexpr,
    ROWS: tl.constexpr,
    PRECISION: tl.constexpr,
):
    present, place, token = _places(frames, positions, ROWS)
    offset, place_out, mask, q, k, v = _projections(qkv, token, present, WIDTH, HEAD_DIM)
    g = tl.load(grad + place_out, mask=mask, other=0.0)
    weights = _weights(q, k, place, present, scale, PRECISION)
    to_weights = tl.dot(g, tl.trans(v), input_precision=PRECISION)
    to_scores = weights * (to_weights - tl.sum(weights * to_weights, 1)[:, None]) * scale
    low = to_scores.to(q.dtype)
    to_q = tl.dot(low, k, input_precision=PRECISION)
    to_k = tl.dot(tl.trans(low), q, input_precision=PRECISION)
    to_v = tl.dot(tl.trans(weights.to(g.dtype)), g, input_precision=PRECISION)
    kind = grads.dtype.element_ty
    tl.store(grads + offset, to_q.to(kind), mask=mask)
    tl.store(grads + offset + WIDTH, to_k.to(kind), mask=mask)
    tl.store(grads + offset + 2 * WIDTH, to_v.to(kind), mask=mask)
