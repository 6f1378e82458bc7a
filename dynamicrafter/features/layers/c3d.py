"""C3D: eight convolutions, five pools that round up, three linear layers."""

from collections.abc import Mapping

import torch.nn.functional as F
from torch import Tensor, nn

CONVOLUTIONS = ("conv1a", "conv2a", "conv3a", "conv3b", "conv4a", "conv4b", "conv5a", "conv5b")
LINEAR = ("fc6", "fc7", "fc8")
SIZE = 112  # pixels
# Kernel and stride (t, h, w) of the max pool behind a layer.
POOLS = {
    "conv1a": (1, 2, 2),
    "conv2a": (2, 2, 2),
    "conv3b": (2, 2, 2),
    "conv4b": (2, 2, 2),
    "conv5b": (2, 2, 2),
}


class C3D(nn.Module):
    """The network up to the scores of its classes."""

    def __init__(self, widths: Mapping[str, int], mean: Tensor):
        """Output channels of each layer by name; what is taken off the pixels, blue first."""
        super().__init__()
        channels = 3
        for name in CONVOLUTIONS:
            self.add_module(name, nn.Conv3d(channels, widths[name], 3, padding=1))
            channels = widths[name]
        channels *= 4 * 4
        for name in LINEAR:
            self.add_module(name, nn.Linear(channels, widths[name]))
            channels = widths[name]
        self.register_buffer("mean", mean)

    def forward(self, x: Tensor) -> Tensor:
        """Video `[b, 3, 16, 112, 112]` in 0..255, red first → scores `[b, classes]`."""
        x = x.flip(1) - self.mean
        for name in CONVOLUTIONS:
            x = F.relu(self.get_submodule(name)(x))
            if name in POOLS:
                # Caffe's and Chainer's pools round up: the last one makes 4x4 of 7x7.
                x = F.max_pool3d(x, POOLS[name], ceil_mode=True)
        x = x.flatten(1)  # [b, 512 * 1 * 4 * 4]
        return self.fc8(F.relu(self.fc7(F.relu(self.fc6(x)))))


def resized(videos: Tensor, rule: str) -> Tensor:
    """Videos uint8 `[n, t, h, w, 3]` → `[n, 3, t, 112, 112]` in 0..255, red first.

    `rule`: as in `c3d_network`.
    """
    n, t = videos.shape[:2]
    frames = videos.flatten(0, 1).permute(0, 3, 1, 2).float()  # [n*t, 3, h, w]
    if rule == "direct_112":
        frames = F.interpolate(frames, (SIZE, SIZE), mode="bilinear", align_corners=True)
    else:
        frames = F.interpolate(frames, (128, 171), mode="bilinear")[..., 8:120, 29:141]
    return frames.unflatten(0, (n, t)).transpose(1, 2)
