"""Triton kernels for what is between the products of a forward pass without gradient.

Group norm with its activation, layer norm and gated GELU are bound by memory: each reads its input
in the order in which it lies, computes in float32 and writes once. (A training step has its layers
compiled instead, `compiled.py`: there the backward pass decides what is kept.)
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

ROWS, CHANNELS = 64, 64  # of a tile of `[n, p, c]`
ELEMENTS = 1024  # of a tile without structure


def lies_channels_last(x: Tensor) -> bool:
    """Whether x `[n, c, a, b]` has its channels side by side in memory."""
    return x.ndim == 4 and x.permute(0, 2, 3, 1).is_contiguous()


def group_norm(
    x: Tensor, weight: Tensor, bias: Tensor, groups: int, eps: float, silu: bool
) -> Tensor:
    """Group norm of x `[n, c, a, b]`, channels last, and SiLU after it if asked for."""
    n, c, a, b = x.shape
    rows = a * b
    chunks = triton.cdiv(rows, ROWS)
    moments = torch.empty(2, n, chunks, c, dtype=torch.float32, device=x.device)
    of_groups = torch.empty(2, n, groups, dtype=torch.float32, device=x.device)
    out = torch.empty_like(x)
    tiles = (n, chunks, triton.cdiv(c, CHANNELS))
    _chunk_moments[tiles](x, moments, n, rows, c, ROWS=ROWS, CHANNELS=CHANNELS)
    _group_moments[(n, groups)](
        moments,
        of_groups,
        n,
        rows,
        c,
        eps,
        chunks=chunks,
        WIDTH=c // groups,
        ROWS=ROWS,
        CHUNKS=min(triton.next_power_of_2(chunks), 64),
        SPAN=triton.next_power_of_2(c // groups),
    )
    _normalise[tiles](
        x,
        out,
        weight,
        bias,
        of_groups,
        n,
        rows,
        c,
        groups,
        WIDTH=c // groups,
        SILU=silu,
        ROWS=ROWS,
        CHANNELS=CHANNELS,
    )
    return out


def layer_norm(x: Tensor, weight: Tensor, bias: Tensor, eps: float) -> Tensor:
    """Layer norm over the last axis of x, which is contiguous."""
    out = torch.empty_like(x)
    width = x.shape[-1]
    span = triton.next_power_of_2(width)
    _layer_norm[(x.numel() // width,)](x, out, weight, bias, width, eps, SPAN=span)
    return out


def gated_gelu(x: Tensor) -> Tensor:
    """`[..., 2*d]`, contiguous → `[..., d]`: the first half times GELU of the second."""
    width = x.shape[-1] // 2
    out = x.new_empty(*x.shape[:-1], width)
    count = out.numel()
    _gated_gelu[(triton.cdiv(count, ELEMENTS),)](x, out, count, width, ELEMENTS=ELEMENTS)
    return out


@triton.jit
def _tile(rows, c, ROWS: tl.constexpr, CHANNELS: tl.constexpr):
    """Offsets of a tile of `[n, p, c]`, its channels, and what of it is there."""
    row = tl.program_id(1) * ROWS + tl.arange(0, ROWS)
    channel = tl.program_id(2) * CHANNELS + tl.arange(0, CHANNELS)
    start = tl.program_id(0).to(tl.int64) * rows * c
    offset = start + row[:, None] * c + channel[None, :]
    return offset, channel, (row < rows)[:, None] & (channel < c)[None, :]


@triton.jit
def _chunk_moments(x, moments, n, rows, c, ROWS: tl.constexpr, CHANNELS: tl.constexpr):
    """Mean, and sum of squares around it, of every channel over some rows."""
    offset, channel, mask = _tile(rows, c, ROWS, CHANNELS)
    values = tl.load(x + offset, mask=mask, other=0.0).to(tl.float32)
    count = tl.minimum(rows - tl.program_id(1) * ROWS, ROWS).to(tl.float32)
    mean = tl.sum(values, 0) / count
    apart = tl.where(mask, values - mean[None, :], 0.0)
    squares = tl.sum(apart * apart, 0)
    place = (tl.program_id(0) * tl.num_programs(1) + tl.program_id(1)) * c + channel
    tl.store(moments + place, mean, mask=channel < c)
    tl.store(moments + n * tl.num_programs(1) * c + place, squares, mask=channel < c)


@triton.jit
def _group_moments(
    moments,
    of_groups,
    n,
    rows,
    c,
    eps,
    chunks: tl.constexpr,
    WIDTH: tl.constexpr,
    ROWS: tl.constexpr,
    CHUNKS: tl.constexpr,
    SPAN: tl.constexpr,
):
    """Mean and inverse deviation of a group, from the moments of its channels' chunks."""
    sample, group = tl.program_id(0), tl.program_id(1)
    channel = tl.arange(0, SPAN)
    means = moments + sample * chunks * c + group * WIDTH
    squares = means + n * chunks * c
    total = tl.zeros((CHUNKS, SPAN), tl.float32)
    for start in range(0, chunks, CHUNKS):
        chunk = start + tl.arange(0, CHUNKS)
        count = tl.minimum(rows - chunk * ROWS, ROWS).to(tl.float32)
        mask = (chunk < chunks)[:, None] & (channel < WIDTH)[None, :]
        here = tl.load(means + chunk[:, None] * c + channel[None, :], mask=mask, other=0.0)
        total += here * count[:, None]
    size = rows * WIDTH
    mean = tl.sum(total) / size
    total = tl.zeros((CHUNKS, SPAN), tl.float32)
    for start in range(0, chunks, CHUNKS):
        chunk = start + tl.arange(0, CHUNKS)
        count = tl.minimum(rows - chunk * ROWS, ROWS).to(tl.float32)
        mask = (chunk < chunks)[:, None] & (channel < WIDTH)[None, :]
        at = chunk[:, None] * c + channel[None, :]
        here = tl.load(means + at, mask=mask, other=0.0) - mean
        spread = tl.load(squares + at, mask=mask, other=0.0)
        total += tl.where(mask, spread + here * here * count[:, None], 0.0)
    place = sample * tl.num_programs(1) + group
    tl.store(of_groups + place, mean)
    tl.store(of_groups + n * tl.num_programs(1) + place, 1 / tl.sqrt(tl.sum(total) / size + eps))


@triton.jit
def _normalise(
    x,
    out,
    weight,
    bias,
    of_groups,
    n,
    rows,
    c,
    groups,
    WIDTH: tl.constexpr,
    SILU: tl.constexpr,
    ROWS: tl.constexpr,
    CHANNELS: tl.constexpr,
):
    offset, channel, mask = _tile(rows, c, ROWS, CHANNELS)
    there = channel < c
    place = tl.program_id(0) * groups + channel // WIDTH
    mean = tl.load(of_groups + place, mask=there, other=0.0)
    scale = tl.load(of_groups + n * groups + place, mask=there, other=0.0)
    scale *= tl.load(weight + channel, mask=there, other=0.0).to(tl.float32)
    shift = tl.load(bias + channel, mask=there, other=0.0).to(tl.float32)
    values = tl.load(x + offset, mask=mask, other=0.0).to(tl.float32)
    values = (values - mean[None, :]) * scale[None, :] + shift[None, :]
    if SILU:
        values = values / (1 + tl.exp(-values))
    tl.store(out + offset, values.to(out.dtype.element_ty), mask=mask)


@triton.jit
def _layer_norm(x, out, weight, bias, width, eps, SPAN: tl.constexpr):
    at = tl.arange(0, SPAN)
    mask = at < width
    start = tl.program_id(0).to(tl.int64) * width
    values = tl.load(x + start + at, mask=mask, other=0.0).to(tl.float32)
    mean = tl.sum(values) / width
    apart = tl.where(mask, values - mean, 0.0)
    scale = 1 / tl.sqrt(tl.sum(apart * apart) / width + eps)
    scaled = apart * scale * tl.load(weight + at, mask=mask, other=0.0).to(tl.float32)
    result = scaled + tl.load(bias + at, mask=mask, other=0.0).to(tl.float32)
    tl.store(out + start + at, result.to(out.dtype.element_ty), mask=mask)


@triton.jit
def _gated_gelu(x, out, count, width, ELEMENTS: tl.constexpr):
    index = tl.program_id(0).to(tl.int64) * ELEMENTS + tl.arange(0, ELEMENTS)
    mask = index < count
    at = index // width * (2 * width) + index % width
    value = tl.load(x + at, mask=mask, other=0.0).to(tl.float32)
    gate = tl.load(x + at + width, mask=mask, other=0.0).to(tl.float32)
    gate = 0.5 * gate * (1 + tl.erf(gate * 0.7071067811865476))
    tl.store(out + index, (value * gate).to(out.dtype.element_ty), mask=mask)
