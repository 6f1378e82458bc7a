"""Pickles of numpy arrays, read by an unpickler that can build numpy arrays and nothing else.

They come from outside, and a plain unpickler runs whatever such a file asks for. Needs no torch.
"""

import pickle
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from dynamicrafter.errors import InputError

ARRAY_GLOBALS = {
    ("numpy", "ndarray"),
    ("numpy", "dtype"),
    ("numpy.core.multiarray", "_reconstruct"),  # written by numpy 1
    ("numpy._core.multiarray", "_reconstruct"),
}

Tensors = dict[str, np.ndarray]


def read_tensors(checkpoint: Path, name: str, convert: Callable[[Any], Tensors]) -> Tensors:
    """What `convert` makes of the content of a pickle.

    Args:
        checkpoint: the file.
        name: what it should be, for the message.
        convert: content → tensors by name; what it cannot make sense of is an error of Python's.

    Raises:
        InputError: the file is not that checkpoint, or its pickle asks for more than arrays.
    """
    try:
        with open(checkpoint, "rb") as file:
            return convert(_ArrayUnpickler(file).load())
    except (
        pickle.UnpicklingError,
        EOFError,
        AttributeError,
        LookupError,
        TypeError,
        ValueError,
    ) as e:
        raise InputError(f"{checkpoint} is not the {name} checkpoint: {e}") from None


def arrays(tree: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, np.ndarray]]:
    """The arrays of nested mappings, each with its path: `block/unit/leaf`."""
    for name, value in tree.items():
        if isinstance(value, np.ndarray):
            yield prefix + name, value
        else:
            yield from arrays(value, f"{prefix}{name}/")


class _ArrayUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in ARRAY_GLOBALS:
            raise pickle.UnpicklingError(f"its pickle asks for {module}.{name}")
        return super().find_class(module.replace("numpy.core", "numpy._core"), name)
