"""A feature network as its users see it: a name, a fingerprint, and windows in, features out.

    network = i3d_network("tfhub", rule)
    extract = network.load("cuda")
    features = extract(windows)

What the cache needs to know of a network can be had without loading it.
"""

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from dynamicrafter.errors import InputError

if TYPE_CHECKING:
    import torch

Extract = Callable[[np.ndarray], np.ndarray]
"""Windows uint8 `[b, t, h, w, 3]` → features float32 `[b, ...]`, in batches of bounded size."""

Rule = Literal[
    "direct_bilinear_halfpixel",  # TATS, LVDM, cd-fvd: straight to the square, no antialiasing
    "direct_bilinear_antialias",
    "shortside_ceil_centercrop",  # VideoGPT: short side to the square's, then its centre
    "tf1_legacy_bilinear",  # the original TensorFlow code: a grid without the half-pixel shift
]
"""How frames are brought to the square that a network sees, see `preprocess`."""


@dataclass(frozen=True)
class Network:
    """A network with its weights and its way of looking at a window; nothing is loaded yet.

    Attributes:
        name: what stands in results. Weights other than the named ones stand in brackets, as in
            `i3d-tfhub[rgb_imagenet]`.
        fingerprint: the name and the digest of the weights; part of a cache's key.
        preprocessing: how a window comes to the network; the other part.
        load: brings the network to a device.
    """

    name: str
    fingerprint: str
    preprocessing: str
    load: Callable[["str | torch.device"], Extract]


def metric_name(metric: str, network: Network) -> str:
    """The name of a distance by the network that it is computed with.

    `FVD` is that of I3D with its original weights; other weights and networks stand in brackets:
    `FVD[rgb_imagenet]`, `FVD[videomae-v2-ssv2]`.
    """
    kind, bracket, other = network.name.partition("[")
    if bracket:
        return f"{metric}[{other}"
    return metric if kind.startswith("i3d-") else f"{metric}[{kind}]"


def extractor(
    run: "Callable[[torch.Tensor], torch.Tensor]",
    device: "str | torch.device",
    batch: int,
    tf32: bool = False,
) -> Extract:
    """Make `run` take windows from memory, a batch at a time.

    They travel to the device as bytes, so resizing and scaling belong into `run`.

    Args:
        run: uint8 `[b, t, h, w, 3]` on the device → `[b, ...]`.
        device: where `run` computes.
        batch: windows at a time; it bounds the memory.
        tf32: whether float32 products may be rounded to TF32, see `float32_products`.
    """
    import torch

    def extract(windows: np.ndarray) -> np.ndarray:
        check_windows(windows)
        parts = []
        with torch.inference_mode(), float32_products(tf32):
            for start in range(0, len(windows), batch):
                part = torch.from_numpy(np.ascontiguousarray(windows[start : start + batch]))
                parts.append(run(part.to(device, non_blocking=True)).float().cpu().numpy())
        return np.concatenate(parts)

    return extract


def frame_extractor(embed: Callable[[np.ndarray], np.ndarray]) -> Extract:
    """Make a network of single frames take windows: its features get an axis for time.

    Args:
        embed: uint8 `[n, h, w, 3]` → `[n, d]`, in batches of its own.
    """

    def extract(windows: np.ndarray) -> np.ndarray:
        check_windows(windows)
        with float32_products():
            features = embed(windows.reshape(-1, *windows.shape[2:]))
        return features.reshape(*windows.shape[:2], -1)  # [b, t, d]

    return extract


def check_windows(windows: np.ndarray) -> None:
    """Refuse what are no windows.

    Raises:
        InputError: not uint8 `[b, t, h, w, 3]`, or there are none.
    """
    if windows.dtype != np.uint8 or windows.ndim != 5 or windows.shape[-1] != 3 or not windows.size:
        raise InputError(
            f"windows are uint8 [b, t, h, w, 3], not {windows.dtype} {list(windows.shape)}"
        )


@contextlib.contextmanager
def float32_products(tf32: bool = False) -> Iterator[None]:
    """Products of float32 in float32 while it lasts, so that features depend on no card.

    On recent cards convolutions are otherwise done in TF32, which keeps 10 of 23 bits.

    Args:
        tf32: allow just that, for speed.
    """
    import torch

    convolutions, products = torch.backends.cudnn, torch.backends.cuda.matmul
    before = convolutions.allow_tf32, products.allow_tf32
    try:
        convolutions.allow_tf32 = products.allow_tf32 = tf32
        yield
    finally:
        convolutions.allow_tf32, products.allow_tf32 = before
