"""The Kinetics-400 checkpoint of I3D: from a pickle of numpy arrays to safetensors.

Needs no torch. The result has the names of `layers.i3d.I3D`; kernels go from `[t, h, w, in, out]`
to `[out, in, t, h, w]`; the batch norms of this network have no scale, so theirs is 1.
"""

from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy

from dynamicrafter.assets.array_pickle import Tensors, arrays, read_tensors

# The checkpoint's name of a unit below its block → ours.
UNITS = {
    "Branch_0/Conv3d_0a_1x1": "b0",
    "Branch_1/Conv3d_0a_1x1": "b1a",
    "Branch_1/Conv3d_0b_3x3": "b1b",
    "Branch_2/Conv3d_0a_1x1": "b2a",
    "Branch_2/Conv3d_0b_3x3": "b2b",
    "Branch_3/Conv3d_0b_1x1": "b3b",
}
LEAVES = {
    "Conv_0/kernel": "conv3d.weight",
    "Conv_0/bias": "conv3d.bias",
    "BatchNorm_0/bias": "bn.bias",
    "BatchNorm_0/mean": "bn.running_mean",
    "BatchNorm_0/var": "bn.running_var",
}


def convert_checkpoint(checkpoint: Path, target: Path) -> None:
    """Write the weights in `checkpoint` as safetensors with the names of `layers.i3d.I3D`.

    Raises:
        InputError: the file is not that checkpoint, or its pickle asks for more than arrays.
    """
    safetensors.numpy.save_file(read_tensors(checkpoint, "I3D", _tensors), target)


def _tensors(content: dict[str, Any]) -> Tensors:
    stored = [*arrays(content["params"]), *arrays(content["batch_stats"])]
    tensors = dict(_tensor(path, array) for path, array in stored)
    scales = {
        name.replace("bn.bias", "bn.weight"): np.ones_like(bias)
        for name, bias in tensors.items()
        if name.endswith("bn.bias")
    }
    return tensors | scales


def _tensor(path: str, array: np.ndarray) -> tuple[str, np.ndarray]:
    """`Mixed_3b/Branch_0/Conv3d_0a_1x1/Conv_0/kernel` → `Mixed_3b.b0.conv3d.weight`, transposed."""
    block, *unit, layer, parameter = path.split("/")
    leaf = LEAVES[f"{layer}/{parameter}"]
    if parameter == "kernel":
        array = array.transpose(4, 3, 0, 1, 2)  # [t, h, w, in, out] → [out, in, t, h, w]
    elif layer == "BatchNorm_0":
        array = array.reshape(-1)  # statistics are [1, 1, 1, 1, c]
    if block == "Logits":
        name = "logits"
    else:
        name = f"{block}.{UNITS['/'.join(unit)]}" if unit else block
    return f"{name}.{leaf}", np.ascontiguousarray(array)
