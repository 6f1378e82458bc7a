"""VideoMAE v2, the feature network of the content-debiased FVD.

A plain vision transformer over tubes of 2 frames by 14x14 pixels: fixed sinusoids for the place of
a tube, the mean over all tubes, a last layer norm. The feature is what stands before the head.

Wang et al., "VideoMAE V2", 2023; Ge et al., "On the Content Bias in Frechet Video Distance", 2024.
Parameter names are those of the released checkpoints; sizes are taken from the file.

What could be verified and what not: the layer layout, the epsilon of 1e-6, straight bilinear
resizing to 224x224 and frames in [0, 1] without mean and deviation were read in the code of the
content-debiased FVD. The released file itself was not at hand, so no digest is pinned: a file is
taken for the named one by its sizes, and its digest stands in the fingerprint.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args

from dynamicrafter.errors import InputError
from dynamicrafter.features import MissingWeights
from dynamicrafter.features.network import Extract, Network, Rule, extractor
from dynamicrafter.features.weights import fill, read_tensors
from dynamicrafter.files import file_digest

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from dynamicrafter.features.layers.videomae import VideoMae

NAME = "videomae-v2-ssv2"
FRAMES, SIZE = 16, 224
WIDTH_OF_HEAD = 64  # but for the widths below
HEADS = {1280: 16, 1408: 16}

Scaling = Literal["unit", "imagenet"]


@dataclass(frozen=True)
class Sizes:
    """What the shapes in a file say of the network."""

    width: int
    depth: int
    hidden: int  # of the MLP
    tube: tuple[int, int, int]  # frames, pixels, pixels
    classes: int

    @property
    def heads(self) -> int:
        """Attention heads; no shape tells their number."""
        return HEADS.get(self.width, max(1, self.width // WIDTH_OF_HEAD))


GIANT_SSV2 = Sizes(width=1408, depth=40, hidden=6144, tube=(2, 14, 14), classes=174)


def videomae_network(
    path: str | Path,
    rule: Rule = "direct_bilinear_halfpixel",
    scaling: Scaling = "unit",
    *,
    batch: int = 4,
) -> Network:
    """VideoMAE as a feature network: windows of 16 frames → `[b, width]`, 1408 for the giant.

    Args:
        path: a fine-tuned checkpoint, safetensors or a torch file of tensors alone. One of other
            sizes than ViT-g on Something-Something v2 gives features under the name of its file.
        rule: how frames are brought to 224x224.
        scaling: "unit" leaves pixels in [0, 1], as the code of the content-debiased FVD does;
            "imagenet" takes mean and deviation off, as the network is said to have been trained.
        batch: windows at a time.

    Raises:
        MissingWeights: there is no such file, or it holds no such network.
        InputError: an unknown scaling.
    """
    if scaling not in get_args(Scaling):
        raise InputError(f"scaling {scaling!r}: it is {' or '.join(get_args(Scaling))}")
    sizes = find_sizes(_read(path), path)
    name = NAME if sizes == GIANT_SSV2 else f"videomae[{Path(path).stem}]"

    def load(device: "str | torch.device") -> Extract:
        from dynamicrafter.features.layers.videomae import scaled
        from dynamicrafter.features.preprocess import preprocess

        model = load_videomae(path, device)

        def run(part: "Tensor") -> "Tensor":
            if part.shape[1] != FRAMES:
                raise InputError(f"VideoMAE sees {FRAMES} frames, not {part.shape[1]}")
            return model(scaled(preprocess(part, rule, SIZE), scaling))

        return extractor(run, device, batch)

    return Network(name, f"{name}/{file_digest(path)}", f"{rule}/{scaling}", load)


def load_videomae(path: str | Path, device: "str | torch.device" = "cpu") -> "VideoMae":
    """The network of a checkpoint, in evaluation mode.

    Raises:
        MissingWeights: there is no such file, or it holds no such network.
    """
    import torch

    from dynamicrafter.features.layers.videomae import VideoMae

    tensors = _read(path)
    with torch.device("meta"):
        sizes = find_sizes(tensors, path)
        model = VideoMae(**asdict(sizes), heads=sizes.heads)
    fill(model, tensors, path, "VideoMAE")
    return model.to(device)


def find_sizes(tensors: "Mapping[str, Tensor]", path: str | Path) -> Sizes:
    """The sizes of the network whose weights these are.

    Raises:
        MissingWeights: they are not those of such a network.
    """
    try:
        width, _, *tube = tensors["patch_embed.proj.weight"].shape
        frames, height, across = tube
        hidden = tensors["blocks.0.mlp.fc1.weight"].shape[0]
        classes = tensors["head.weight"].shape[0]
    except (KeyError, ValueError) as error:
        raise MissingWeights(
            f"{path} does not hold weights of a fine-tuned VideoMAE: {error}"
        ) from None
    depth = len({name.split(".")[1] for name in tensors if name.startswith("blocks.")})
    return Sizes(width, depth, hidden, (frames, height, across), classes)


def _read(path: str | Path) -> "dict[str, Tensor]":
    return read_tensors(path, "VideoMAE")
