"""C3D fine-tuned on UCF-101, whose class probabilities the video Inception Score is made of.

Tran et al., "Learning Spatiotemporal Features with 3D Convolutional Networks", 2015. The score and
its way of preparing frames are those of TGAN (Saito et al., 2017) and TGAN2, which StyleGAN-V took
over.

What could be verified and what not: layers, pooling, the order blue-green-red, resizing straight to
112x112 and the mean over a crop of a stored mean video were read in the code of TGAN2; the rule
with 128x171 was not. Neither its weights nor the TorchScript file that StyleGAN-V converted them to
were at hand, so no digest is pinned: a file is taken for the named one by its widths. The mean
video is a file of its own there; where the weights hold no tensor `mean`, the mean of each channel
stands for it, as in a remark of that code, and the probabilities then differ a little.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args

from dynamicrafter.errors import InputError
from dynamicrafter.features import MissingWeights
from dynamicrafter.features.network import Extract, Network, extractor
from dynamicrafter.features.weights import fill, read_tensors
from dynamicrafter.files import file_digest

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from dynamicrafter.features.layers.c3d import C3D

FRAMES, SIZE = 16, 112
MEAN = (90.25164795, 97.65701294, 101.4083252)  # of blue, green, red in 0..255
# Output channels of each layer as published, with the classes of UCF-101.
WIDTHS = {
    "conv1a": 64,
    "conv2a": 128,
    "conv3a": 256,
    "conv3b": 256,
    "conv4a": 512,
    "conv4b": 512,
    "conv5a": 512,
    "conv5b": 512,
    "fc6": 4096,
    "fc7": 4096,
    "fc8": 101,
}
C3dRule = Literal[
    "direct_112",  # TGAN2: bilinear straight to the square, corners on corners
    "crop_128x171",  # the network's authors: bilinear to 128x171, then the centre
]


def c3d_network(path: str | Path, rule: C3dRule = "direct_112", *, batch: int = 8) -> Network:
    """C3D as a feature network: windows of 16 frames → class probabilities `[b, 101]`.

    Args:
        path: safetensors, or a torch file of tensors alone, with the names `conv1a.weight` …
            `fc8.bias` and perhaps `mean` (blue-green-red in 0..255, `[3]` or `[3, 16, 112, 112]`).
            One of other widths gives features under the name of its file.
        rule: how frames are brought to 112x112.
        batch: windows at a time.

    Raises:
        MissingWeights: there is no such file, or it holds no such network.
        InputError: an unknown rule.
    """
    if rule not in get_args(C3dRule):
        raise InputError(f"there is no rule {rule!r}; there are {', '.join(get_args(C3dRule))}")
    widths = find_widths(read_tensors(path, "C3D"), path)
    name = "c3d-ucf101" if widths == WIDTHS else f"c3d[{Path(path).stem}]"

    def load(device: "str | torch.device") -> Extract:
        from dynamicrafter.features.layers.c3d import resized

        model = load_c3d(path, device)

        def run(part: "Tensor") -> "Tensor":
            if part.shape[1] != FRAMES:
                raise InputError(f"C3D sees {FRAMES} frames, not {part.shape[1]}")
            return model(resized(part, rule)).softmax(dim=1)

        return extractor(run, device, batch)

    return Network(name, f"{name}/{file_digest(path)}", rule, load)


def load_c3d(path: str | Path, device: "str | torch.device" = "cpu") -> "C3D":
    """The network, in evaluation mode; its widths are taken from the file.

    Raises:
        MissingWeights: there is no such file, it does not fit, or it is a TorchScript archive.
    """
    import torch

    from dynamicrafter.features.layers.c3d import C3D

    tensors = read_tensors(path, "C3D")
    tensors["mean"] = _mean(tensors, path)
    with torch.device("meta"):
        model = C3D(find_widths(tensors, path), torch.empty(tensors["mean"].shape))
    fill(model, tensors, path, "C3D")
    return model.to(device)


def find_widths(tensors: "Mapping[str, Tensor]", path: str | Path) -> dict[str, int]:
    """Output channels of each layer, by the shapes in a file.

    Raises:
        MissingWeights: a layer is missing.
    """
    try:
        return {name: tensors[f"{name}.weight"].shape[0] for name in WIDTHS}
    except KeyError as error:
        raise MissingWeights(f"{path} does not hold weights of C3D: no {error}") from None


def _mean(tensors: "Mapping[str, Tensor]", path: str | Path) -> "Tensor":
    """What is taken off the pixels, `[3, 1, 1, 1]` or `[3, 16, 112, 112]`, blue first."""
    import torch

    mean = tensors.get("mean", torch.tensor(MEAN))
    if mean.shape == (3,):
        return mean.view(3, 1, 1, 1)
    if mean.shape != (3, FRAMES, SIZE, SIZE):
        raise MissingWeights(
            f"{path}: 'mean' is {list(mean.shape)}, not [3] or {[3, FRAMES, SIZE, SIZE]}"
        )
    return mean
