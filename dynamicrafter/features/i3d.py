"""I3D (Inception-v1 inflated to 3D), the Kinetics-400 feature network of FVD and KVD.

The same weights circulate in two networks that differ in one number, the epsilon of the batch
norms: 1e-3 in the original graph ("tfhub"), 1e-5 in the copies that descend from VideoGPT
("videogpt"). That moves the logits by a percent, so a protocol says which it means.

Carreira and Zisserman, "Quo Vadis, Action Recognition?", 2017.
"""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from dynamicrafter.assets import load_manifest
from dynamicrafter.assets.store import location
from dynamicrafter.errors import InputError
from dynamicrafter.features import I3D_ASSET
from dynamicrafter.features.i3d_names import to_own_names
from dynamicrafter.features.network import Extract, Network, Rule, extractor
from dynamicrafter.features.weights import asset_digest, fill, read_tensors, require_file
from dynamicrafter.files import file_digest

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from dynamicrafter.features.layers.i3d import I3D

EPSILON = {"tfhub": 1e-3, "videogpt": 1e-5}
SIZE = 224  # pixels
MIN_FRAMES = 9


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
        name, digest = f"i3d-{variant}", asset_digest(path, I3D_ASSET)
    else:
        path = Path(weights)
        require_file(path, "I3D")
        name, digest = f"i3d-{variant}[{path.stem}]", file_digest(path)

    def load(device: "str | torch.device") -> Extract:
        read = load_i3d if weights is None else load_other_i3d
        return _extractor(read(path, variant, device), rule, device, batch, tf32)

    return Network(name, f"{name}/{digest}", rule + ("/tf32" if tf32 else ""), load)


def load_i3d(
    path: str | Path, network: str = "tfhub", device: "str | torch.device" = "cpu"
) -> "I3D":
    """The network with the Kinetics-400 weights, in evaluation mode.

    Args:
        path: the asset `i3d-kinetics-400`, a safetensors file.
        network: "tfhub" (batch-norm epsilon 1e-3, the reference) or "videogpt" (1e-5).
        device: where it runs.

    Raises:
        MissingWeights: there is no file, or it is not the asset by its sha256.
        InputError: an unknown network.
    """
    import safetensors.torch

    from dynamicrafter.features.layers.i3d import I3D

    _check_variant(network)
    asset_digest(path, I3D_ASSET)
    model = I3D(EPSILON[network])
    model.load_state_dict(safetensors.torch.load_file(path))
    return model.eval().requires_grad_(False).to(device)


def load_other_i3d(
    path: str | Path, network: str = "tfhub", device: "str | torch.device" = "cpu"
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
    from dynamicrafter.features.layers.i3d import I3D

    _check_variant(network)
    model = I3D(EPSILON[network])
    fill(model, to_own_names(read_tensors(path, "I3D")), path, "I3D")
    return model.to(device)


def _check_variant(variant: str) -> None:
    if variant not in EPSILON:
        raise InputError(f"there is no I3D network {variant!r}; there are {', '.join(EPSILON)}")


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
        InputError: not such an array, or of fewer frames.
    """
    return _extractor(model, rule, next(model.parameters()).device, batch)(videos)


def _extractor(
    model: "I3D", rule: Rule, device: "str | torch.device", batch: int, tf32: bool = False
) -> Extract:
    from dynamicrafter.features.preprocess import preprocess

    def run(part: "Tensor") -> "Tensor":
        if part.shape[1] < MIN_FRAMES:
            raise InputError(f"I3D needs {MIN_FRAMES} frames, this video has {part.shape[1]}")
        return model(preprocess(part, rule, SIZE))[0]

    return extractor(run, device, batch, tf32)


def kinetics_400_labels() -> tuple[str, ...]:
    """The 400 class names as torchvision orders them.

    That this is the order of the checkpoint's logits has not been verified against its authors'
    label map; it is plausible on clips of known content.
    """
    from torchvision.models._meta import _KINETICS400_CATEGORIES

    return tuple(_KINETICS400_CATEGORIES)
