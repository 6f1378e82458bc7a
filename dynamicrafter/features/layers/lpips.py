"""AlexNet's convolutions with the linear heads of LPIPS, version 0.1."""

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dynamicrafter.errors import InputError
from dynamicrafter.features.network import float32_products

SHIFT, SCALE = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)  # of pixels in [-1, 1]
# Channels in, channels out, kernel, stride, padding of AlexNet's convolutions.
CONVOLUTIONS = (
    (3, 64, 11, 4, 2),
    (64, 192, 5, 1, 2),
    (192, 384, 3, 1, 1),
    (384, 256, 3, 1, 1),
    (256, 256, 3, 1, 1),
)
POOLED = (1, 2)  # convolutions with a max pool in front
MIN_SIDE = 31  # pixels; from less the last pool makes nothing


class Lpips(nn.Module):
    """AlexNet's convolutions, and for each a head that weights its channels."""

    def __init__(self) -> None:
        super().__init__()
        self.convs = nn.ModuleList(nn.Conv2d(*sizes) for sizes in CONVOLUTIONS)
        self.heads = nn.ModuleList(
            nn.Conv2d(width, 1, 1, bias=False) for _, width, *_ in CONVOLUTIONS
        )

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        """Two batches of images `[n, 3, h, w]` in [-1, 1] → distances `[n]`."""
        return self._apart(self._layers(a), self._layers(b))

    @torch.inference_mode()
    def distance(self, a: np.ndarray, b: np.ndarray, batch: int = 16) -> np.ndarray:
        """Distances of images, pair by pair.

        Args:
            a: uint8 `[n, h, w, 3]`.
            b: the same shape.
            batch: pairs at a time.

        Returns:
            float32 `[n]`; 0 for equal images.

        Raises:
            InputError: not two such arrays of one shape, or images under 31 pixels.
        """
        if a.shape != b.shape or a.ndim != 4 or a.dtype != np.uint8 or b.dtype != np.uint8:
            raise InputError(
                f"LPIPS takes two uint8 [n, h, w, 3] of one shape, not {a.dtype} {list(a.shape)} "
                f"and {b.dtype} {list(b.shape)}"
            )
        result = np.empty(len(a), np.float32)
        with float32_products():
            for start in range(0, len(a), batch):
                part = slice(start, start + batch)
                result[part] = self(*(self._pixels(x[part]) for x in (a, b))).cpu().numpy()
        return result

    def to_first(self, videos: Tensor) -> Tensor:
        """Distance of each frame to its video's first: uint8 `[b, t, h, w, 3]` → `[b, t]`."""
        return torch.stack([self._to_first(_images(video)) for video in videos])

    def _to_first(self, frames: Tensor) -> Tensor:
        layers = self._layers(frames)
        return self._apart([layer[:1] for layer in layers], layers)

    def _pixels(self, images: np.ndarray) -> Tensor:
        device = self.convs[0].weight.device
        return _images(torch.from_numpy(np.ascontiguousarray(images)).to(device))

    def _layers(self, x: Tensor) -> list[Tensor]:
        """What stands behind each ReLU, `[n, c, h, w]`, of length 1 along the channels."""
        if min(x.shape[-2:]) < MIN_SIDE:
            raise InputError(
                f"LPIPS needs {MIN_SIDE} pixels a side, this image has {list(x.shape[-2:])}"
            )
        shift, scale = (x.new_tensor(values).view(3, 1, 1) for values in (SHIFT, SCALE))
        x = (x - shift) / scale
        layers = []
        for number, convolution in enumerate(self.convs):
            if number in POOLED:
                x = F.max_pool2d(x, 3, 2)
            x = F.relu(convolution(x))
            layers.append(x / (x.norm(dim=1, keepdim=True) + 1e-10))
        return layers

    def _apart(self, a: list[Tensor], b: list[Tensor]) -> Tensor:
        """The sum over layers of the weighted squares' mean over places, `[n]`."""
        parts = [
            head((x - y) ** 2).mean(dim=(1, 2, 3))
            for head, x, y in zip(self.heads, a, b, strict=True)
        ]
        return torch.stack(parts).sum(dim=0)


def _images(images: Tensor) -> Tensor:
    """uint8 `[n, h, w, 3]` → `[n, 3, h, w]` in [-1, 1]."""
    return images.permute(0, 3, 1, 2).float() / 127.5 - 1
