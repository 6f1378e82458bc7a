"""The Kinetics-400 checkpoint of I3D: from a pickle of numpy arrays to safetensors.

The pickle comes from outside, so it is read by an unpickler that can build numpy arrays and nothing
else. Needs no torch. The result has the names of `i3d.I3D`; kernels go from `[t, h, w, in, out]` to
`[out, in, t, h, w]`; the batch norms of this network have no scale, so theirs is 1.
"""

import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy

from dynamicrafter.errors import InputError

ARRAY_GLOBALS = {
    ("numpy", "ndarray"),
    ("numpy", "dtype"),
    ("numpy.core.multiarray", "_reconstruct"),  # written by numpy 1
    ("numpy._core.multiarray", "_reconstruct"),
}

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
    """Write the weights in `checkpoint` to `target` as safetensors with the names of `i3d.I3D`.

    Raises:
        InputError: the file is not that checkpoint, or its pickle asks for more than arrays.
    """
    try:
        with open(checkpoint, "rb") as file:
            content = _ArrayUnpickler(file).load()
        arrays = [*_arrays(content["params"]), *_arrays(content["batch_stats"])]
        tensors = dict(_tensor(path, array) for path, array in arrays)
    except (
        pickle.UnpicklingError,
        EOFError,
        AttributeError,
        LookupError,
        TypeError,
        ValueError,
    ) as e:
        raise InputError(f"{checkpoint} is not the I3D checkpoint: {e}") from None
    scales = {
        name.replace("bn.bias", "bn.weight"): np.ones_like(bias)
        for name, bias in tensors.items()
        if name.endswith("bn.bias")
    }
    safetensors.numpy.save_file(tensors | scales, target)


class _ArrayUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in ARRAY_GLOBALS:
            raise pickle.UnpicklingError(f"its pickle asks for {module}.{name}")
        return super().find_class(module.replace("numpy.core", "numpy._core"), name)


def _arrays(tree: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, np.ndarray]]:
    for name, value in tree.items():
        if isinstance(value, np.ndarray):
            yield prefix + name, value
        else:
            yield from _arrays(value, f"{prefix}{name}/")


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
