"""How frames are brought to the square that I3D sees: the rules that published codes follow.

They give different numbers for the same videos, so the rule is part of a protocol's name.
"""

import math
from typing import get_args

import torch
import torch.nn.functional as F
from torch import Tensor

from dynamicrafter.errors import InputError
from dynamicrafter.features.network import Rule


def preprocess(videos: Tensor, rule: Rule, size: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """Resize videos to `size` x `size` and scale them to [-1, 1].

    Args:
        videos: uint8 `[n, t, h, w, 3]`.
        rule: one of `Rule`.
        size: pixels of the square's side.
        dtype: of the result and of the arithmetic.

    Returns:
        `[n, 3, t, size, size]`.

    Raises:
        InputError: not uint8, not of that shape, or an unknown rule.
    """
    if videos.dtype != torch.uint8 or videos.ndim != 5 or videos.shape[-1] != 3:
        raise InputError(
            f"videos are uint8 [n, t, h, w, 3], not {videos.dtype} {list(videos.shape)}"
        )
    n, t = videos.shape[:2]
    frames = videos.flatten(0, 1).permute(0, 3, 1, 2).to(dtype)  # [n*t, 3, h, w]
    if rule == "direct_bilinear_halfpixel":
        frames = F.interpolate(frames, (size, size), mode="bilinear")
    elif rule == "direct_bilinear_antialias":
        frames = F.interpolate(frames, (size, size), mode="bilinear", antialias=True)
    elif rule == "shortside_ceil_centercrop":
        frames = _short_side_centre(frames, size)
    elif rule == "tf1_legacy_bilinear":
        frames = _legacy_bilinear(_legacy_bilinear(frames, 2, size), 3, size)
    else:
        raise InputError(f"there is no resize rule {rule!r}; there are {', '.join(get_args(Rule))}")
    frames = frames / 127.5 - 1
    return frames.unflatten(0, (n, t)).transpose(1, 2)  # [n, 3, t, size, size]


def _short_side_centre(frames: Tensor, size: int) -> Tensor:
    height, width = frames.shape[-2:]
    short = min(height, width)
    target = [size if side == short else math.ceil(side * size / short) for side in (height, width)]
    frames = F.interpolate(frames, target, mode="bilinear")
    top, left = ((side - size) // 2 for side in target)
    return frames[..., top : top + size, left : left + size]


def _legacy_bilinear(frames: Tensor, axis: int, size: int) -> Tensor:
    """Along one axis, output i looks at i * old / size: corner to corner, not centre to centre."""
    old = frames.shape[axis]
    position = torch.arange(size, device=frames.device, dtype=torch.float64) * (old / size)
    low = position.floor().long()
    high = (low + 1).clamp(max=old - 1)
    shape = [1] * frames.ndim
    shape[axis] = size
    weight = (position - low).to(frames.dtype).view(shape)
    return frames.index_select(axis, low).lerp(frames.index_select(axis, high), weight)
