"""The AlexNet of LPIPS: from a pickle of numpy arrays to safetensors.

Needs no torch. The result has the names of `lpips.Lpips`; kernels go from `[h, w, in, out]` to
`[out, in, h, w]`.
"""

from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy

from dynamicrafter.assets.array_pickle import Tensors, arrays, read_tensors

# The checkpoint's name of a layer → ours.
LAYERS = {f"AlexNet_0/Conv_{i}": f"convs.{i}" for i in range(5)} | {
    f"NetLinLayer_{i}/Conv_0": f"heads.{i}" for i in range(5)
}


def convert_checkpoint(checkpoint: Path, target: Path) -> None:
    """Write the weights in `checkpoint` to `target` as safetensors with the names of `lpips.Lpips`.

    Raises:
        InputError: the file is not that checkpoint, or its pickle asks for more than arrays.
    """
    safetensors.numpy.save_file(read_tensors(checkpoint, "LPIPS", _tensors), target)


def _tensors(content: dict[str, Any]) -> Tensors:
    tensors = dict(_tensor(path, array) for path, array in arrays(content))
    if {name.rpartition(".")[0] for name in tensors} != set(LAYERS.values()):
        raise ValueError("it does not hold five convolutions and five heads")
    return tensors


def _tensor(path: str, array: np.ndarray) -> tuple[str, np.ndarray]:
    """`AlexNet_0/Conv_1/kernel` → `convs.1.weight`, transposed."""
    layer, _, leaf = path.rpartition("/")
    if leaf == "kernel":
        return f"{LAYERS[layer]}.weight", np.ascontiguousarray(array.transpose(3, 2, 0, 1))
    return f"{LAYERS[layer]}.{leaf}", np.ascontiguousarray(array)
