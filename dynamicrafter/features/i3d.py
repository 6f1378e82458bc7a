"""I3D (Inception-v1 inflated to 3D), the Kinetics-400 feature network of FVD and KVD.

The same weights circulate in two networks that differ in one number, the epsilon of the batch
norms: 1e-3 in the original graph ("tfhub"), 1e-5 in the copies that descend from VideoGPT
("videogpt"). That moves the logits by a percent, so a protocol says which it means.

Carreira and Zisserman, "Quo Vadis, Action Recognition?", 2017. Parameter names are those of the
common PyTorch ports.
"""

from pathlib import Path

import numpy as np
import safetensors.torch
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dynamicrafter.assets import load_manifest
from dynamicrafter.assets.store import location
from dynamicrafter.errors import InputError
from dynamicrafter.features import I3D_ASSET, MissingWeights
from dynamicrafter.features.i3d_names import to_own_names
from dynamicrafter.features.network import Extract, Network, extractor
from dynamicrafter.features.preprocess import Rule, preprocess
from dynamicrafter.features.weights import fill, read_tensors, require_file
from dynamicrafter.files import file_digest

EPSILON = {"tfhub": 1e-3, "videogpt": 1e-5}
SIZE = 224  # pixels
MIN_FRAMES = 9  # the last average pool spans two of t/8 steps

# Output channels of the branches: 1x1, (1x1, 3x3), (1x1, 3x3), 1x1 after the pool.
MIXED = {
    "Mixed_3b": (64, 96, 128, 16, 32, 32),
    "Mixed_3c": (128, 128, 192, 32, 96, 64),
    "Mixed_4b": (192, 96, 208, 16, 48, 64),
    "Mixed_4c": (160, 112, 224, 24, 64, 64),
    "Mixed_4d": (128, 128, 256, 24, 64, 64),
    "Mixed_4e": (112, 144, 288, 32, 64, 64),
    "Mixed_4f": (256, 160, 320, 32, 128, 128),
    "Mixed_5b": (256, 160, 320, 32, 128, 128),
    "Mixed_5c": (384, 192, 384, 48, 128, 128),
}
# Kernel and stride (t, h, w) of the max pool in front of a layer.
POOLS = {
    "Conv3d_2b_1x1": ((1, 3, 3), (1, 2, 2)),
    "Mixed_3b": ((1, 3, 3), (1, 2, 2)),
    "Mixed_4b": ((3, 3, 3), (2, 2, 2)),
    "Mixed_5b": ((2, 2, 2), (2, 2, 2)),
}


def i3d_network(
    variant: str = "tfhub",
    rule: Rule = "direct_bilinear_halfpixel",
    weights: str | Path | None = None,
    *,
    tf32: bool = False,
    batch: int = 4,
) -> Network:
    """I3D as a feature network: windows → logits `[b, 400]`.

    Args:
        variant: "tfhub" or "videogpt", see `EPSILON`.
        rule: how frames are brought to 224x224.
        weights: None takes the asset that FVD and KVD are defined on. A file of other weights, in
            either naming, gives features under the name of that file: `i3d-tfhub[rgb_imagenet]`.
        tf32: see `network.float32_products`; the features are then those of a TF32 card.
        batch: windows at a time.

    Raises:
        MissingWeights: there is no such file, or it is not the asset.
        InputError: an unknown variant.
    """
    _check_variant(variant)
    if weights is None:
        path = location(load_manifest()[I3D_ASSET])
        name, digest = f"i3d-{variant}", _asset_digest(path)
    else:
        path = Path(weights)
        require_file(path, "I3D")
        name, digest = f"i3d-{variant}[{path.stem}]", file_digest(path)

    def load(device: str | torch.device) -> Extract:
        read = load_i3d if weights is None else load_other_i3d
        model = read(path, variant, device)
        return extractor(lambda part: model(preprocess(part, rule, SIZE))[0], device, batch, tf32)

    return Network(name, f"{name}/{digest}", rule + ("/tf32" if tf32 else ""), load)


def load_i3d(path: str | Path, network: str = "tfhub", device: str | torch.device = "cpu") -> "I3D":
    """The network with the Kinetics-400 weights, in evaluation mode.

    Args:
        path: the asset `i3d-kinetics-400`, a safetensors file.
        network: "tfhub" (batch-norm epsilon 1e-3, the reference) or "videogpt" (1e-5).
        device: where it runs.

    Raises:
        MissingWeights: there is no file, or it is not the asset by its sha256.
        InputError: an unknown network.
    """
    _check_variant(network)
    _asset_digest(path)
    model = I3D(EPSILON[network])
    model.load_state_dict(safetensors.torch.load_file(path))
    return model.eval().requires_grad_(False).to(device)


def load_other_i3d(
    path: str | Path, network: str = "tfhub", device: str | torch.device = "cpu"
) -> "I3D":
    """The network with any weights of its shape, which are not those of FVD and KVD.

    Args:
        path: safetensors, or a torch file of tensors alone, in one of the two namings.
        network: as in `load_i3d`; the ports from which such files come have 1e-3.
        device: where it runs.

    Raises:
        MissingWeights: there is no file, or it does not fit.
        InputError: an unknown network.
    """
    _check_variant(network)
    model = I3D(EPSILON[network])
    fill(model, to_own_names(read_tensors(path, "I3D")), path, "I3D")
    return model.to(device)


def _check_variant(variant: str) -> None:
    if variant not in EPSILON:
        raise InputError(f"there is no I3D network {variant!r}; there are {', '.join(EPSILON)}")


def _asset_digest(path: str | Path) -> str:
    """The sha256 of the file, which must be the asset's."""
    if not Path(path).is_file():
        raise MissingWeights(
            f"no I3D weights at {path}; run: dynamicrafter assets fetch {I3D_ASSET}"
        )
    expected, found = load_manifest()[I3D_ASSET].stored_sha256, file_digest(path)
    if found != expected:
        raise MissingWeights(
            f"{path} is not {I3D_ASSET} (sha256 {found}, not {expected}); FVD and KVD are defined "
            f"on those weights alone; run: dynamicrafter assets fetch {I3D_ASSET}"
        )
    return found


def logits(model: "I3D", videos: np.ndarray, rule: Rule, batch: int = 4) -> np.ndarray:
    """The FVD features of videos.

    Args:
        model: the network, in evaluation mode.
        videos: uint8 `[n, t, h, w, 3]`, n at least 1, t at least 9.
        rule: how frames are brought to 224x224.
        batch: videos at a time; it bounds the memory.

    Returns:
        float32 `[n, 400]`.

    Raises:
        InputError: not such an array.
    """
    device = next(model.parameters()).device
    extract = extractor(lambda part: model(preprocess(part, rule, SIZE))[0], device, batch)
    return extract(videos)


def kinetics_400_labels() -> tuple[str, ...]:
    """The 400 class names as torchvision orders them.

    That this is the order of the checkpoint's logits has not been verified against its authors'
    label map; it is plausible on clips of known content.
    """
    from torchvision.models._meta import _KINETICS400_CATEGORIES

    return tuple(_KINETICS400_CATEGORIES)


class I3D(nn.Module):
    """The network. A mean over time is taken of the logits, not of what they are computed from."""

    def __init__(self, epsilon: float = EPSILON["tfhub"]):
        super().__init__()
        self.Conv3d_1a_7x7 = Unit(3, 64, 7, epsilon, stride=2)
        self.Conv3d_2b_1x1 = Unit(64, 64, 1, epsilon)
        self.Conv3d_2c_3x3 = Unit(64, 192, 3, epsilon)
        channels = 192
        for name, widths in MIXED.items():
            self.add_module(name, Mixed(channels, widths, epsilon))
            channels = widths[0] + widths[2] + widths[4] + widths[5]
        self.logits = nn.Module()
        self.logits.conv3d = nn.Conv3d(channels, 400, 1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Video `[b, 3, t, 224, 224]` in [-1, 1] → logits `[b, 400]`, pooled features `[b, 1024]`.

        Raises:
            InputError: t is below 9.
        """
        if x.shape[2] < MIN_FRAMES:
            raise InputError(f"I3D needs {MIN_FRAMES} frames, this video has {x.shape[2]}")
        for name, layer in self.named_children():
            if name == "logits":
                break
            if name in POOLS:
                x = max_pool_same(x, *POOLS[name])
            x = layer(x)
        x = F.avg_pool3d(x, (2, 7, 7), stride=1)  # [b, 1024, t/8 - 1, 1, 1]
        scores = self.logits.conv3d(x)
        return scores.mean(dim=(2, 3, 4)), x.mean(dim=(2, 3, 4))  # [b, 400], [b, 1024]


class Mixed(nn.Module):
    """Four parallel branches, concatenated along the channels."""

    def __init__(self, channels: int, widths: tuple[int, ...], epsilon: float):
        super().__init__()
        self.b0 = Unit(channels, widths[0], 1, epsilon)
        self.b1a = Unit(channels, widths[1], 1, epsilon)
        self.b1b = Unit(widths[1], widths[2], 3, epsilon)
        self.b2a = Unit(channels, widths[3], 1, epsilon)
        self.b2b = Unit(widths[3], widths[4], 3, epsilon)
        self.b3b = Unit(channels, widths[5], 1, epsilon)

    def forward(self, x: Tensor) -> Tensor:
        """`[b, c, t, h, w]` → `[b, sum of the branches, t, h, w]`."""
        pooled = max_pool_same(x, (3, 3, 3), (1, 1, 1))
        branches = [self.b0(x), self.b1b(self.b1a(x)), self.b2b(self.b2a(x)), self.b3b(pooled)]
        return torch.cat(branches, dim=1)


class Unit(nn.Module):
    """Convolution without bias, batch norm, ReLU; padded as TensorFlow's SAME."""

    def __init__(
        self, channels: int, width: int, kernel: int, epsilon: float, stride: int = 1
    ) -> None:
        super().__init__()
        self.conv3d = nn.Conv3d(channels, width, kernel, stride, bias=False)
        self.bn = nn.BatchNorm3d(width, eps=epsilon)

    def forward(self, x: Tensor) -> Tensor:
        """`[b, c, t, h, w]` → `[b, width, t/stride, h/stride, w/stride]`, rounded up."""
        x = pad_same(x, self.conv3d.kernel_size, self.conv3d.stride)
        return F.relu(self.bn(self.conv3d(x)))


def max_pool_same(x: Tensor, kernel: tuple[int, ...], stride: tuple[int, ...]) -> Tensor:
    """Max pool padded as TensorFlow's SAME; zeros serve, for x follows a ReLU."""
    return F.max_pool3d(pad_same(x, kernel, stride), kernel, stride)


def pad_same(x: Tensor, kernel: tuple[int, ...], stride: tuple[int, ...]) -> Tensor:
    """Zeros around `[..., t, h, w]`, the odd one behind: the output has ceil(size / stride)."""
    padding: list[int] = []
    for size, k, s in zip(x.shape[2:], kernel, stride, strict=True):
        total = max(k - (s if size % s == 0 else size % s), 0)
        padding = [total // 2, total - total // 2, *padding]  # F.pad counts from the last axis
    return F.pad(x, padding)
