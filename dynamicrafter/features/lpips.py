"""LPIPS with AlexNet: how far apart two images look, and a window from its first frame.

Zhang et al., "The Unreasonable Effectiveness of Deep Features as a Perceptual Metric", 2018,
version 0.1 with the linear heads.
"""

from pathlib import Path
from typing import TYPE_CHECKING

from dynamicrafter.assets import load_manifest
from dynamicrafter.assets.store import location
from dynamicrafter.features import LPIPS_ASSET
from dynamicrafter.features.network import Extract, Network, extractor
from dynamicrafter.features.weights import asset_digest

if TYPE_CHECKING:
    import torch

    from dynamicrafter.features.layers.lpips import Lpips


def lpips_network(batch: int = 4) -> Network:
    """LPIPS as a feature network: windows → distance of each frame to the first, `[b, t]`.

    Raises:
        MissingWeights: the asset has not been fetched.
    """
    path = location(load_manifest()[LPIPS_ASSET])
    digest = asset_digest(path, LPIPS_ASSET)

    def load(device: "str | torch.device") -> Extract:
        model = load_lpips(path, device)
        return extractor(model.to_first, device, batch)

    return Network(LPIPS_ASSET, f"{LPIPS_ASSET}/{digest}", "first frame, own size", load)


def load_lpips(path: str | Path, device: "str | torch.device" = "cpu") -> "Lpips":
    """The network with the weights of the asset `lpips-alexnet`, in evaluation mode.

    Raises:
        MissingWeights: there is no file, or it is not the asset by its sha256.
    """
    import safetensors.torch

    from dynamicrafter.features.layers.lpips import Lpips

    asset_digest(path, LPIPS_ASSET)
    model = Lpips()
    model.load_state_dict(safetensors.torch.load_file(path))
    return model.eval().requires_grad_(False).to(device)
