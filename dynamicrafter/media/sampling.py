"""Which frames of a clip a model sees, and how they become square."""

import numpy as np

from dynamicrafter.errors import MediaError


def window_indices(frames: int, length: int, stride: int, position: float) -> np.ndarray:
    """Frame numbers of a window of `length` frames, `stride` apart.

    A clip too short for the stride gets `frames // length` instead, as in the official loader.

    Args:
        frames: frames of the clip.
        length: frames of the window.
        stride: wanted distance between them.
        position: in [0, 1), where the window lies among its possible starts; draw it uniformly
            for training, take 0 for the beginning.

    Returns:
        int64 [length].

    Raises:
        MediaError: `too_short`, the clip has fewer than `length` frames.
    """
    if frames < length:
        raise MediaError("too_short", f"{frames} frames, a window needs {length}")
    if (length - 1) * stride + 1 > frames:
        stride = frames // length
    starts = frames - (length - 1) * stride
    return int(position * starts) + stride * np.arange(length, dtype=np.int64)


def resize(frames: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Bilinear, antialiased: uint8 [t, h, w, 3] → [t, *size, 3]."""
    import torch

    pixels = torch.from_numpy(frames).permute(0, 3, 1, 2).float()  # [t, 3, h, w]
    pixels = torch.nn.functional.interpolate(pixels, size=size, mode="bilinear", antialias=True)
    return pixels.round().clamp(0, 255).byte().permute(0, 2, 3, 1).numpy()


def center_crop(frames: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Scale until `size` is just covered (bilinear, antialiased), then cut out the centre.

    Args:
        frames: uint8 [t, h, w, 3].
        size: height and width in pixels.

    Returns:
        uint8 [t, *size, 3].
    """
    height, width = frames.shape[1:3]
    scale = max(size[0] / height, size[1] / width)
    if scale != 1:
        height, width = max(size[0], round(height * scale)), max(size[1], round(width * scale))
        frames = resize(frames, (height, width))
    top, left = (height - size[0]) // 2, (width - size[1]) // 2
    return np.ascontiguousarray(frames[:, top : top + size[0], left : left + size[1]])
