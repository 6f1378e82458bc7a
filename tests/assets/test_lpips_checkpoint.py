import os
import pickle

import numpy as np
import pytest
import safetensors.numpy

from dynamicrafter.assets.lpips_checkpoint import convert_checkpoint
from dynamicrafter.errors import InputError


def checkpoint() -> dict:
    kernel = np.arange(2 * 3 * 4 * 5, dtype=np.float32).reshape(2, 3, 4, 5)
    convolution = {"kernel": kernel, "bias": np.arange(5, dtype=np.float32)}
    head = {"Conv_0": {"kernel": np.ones((1, 1, 5, 1), np.float32)}}
    convolutions = {f"Conv_{i}": convolution for i in range(5)}
    return {"AlexNet_0": convolutions} | {f"NetLinLayer_{i}": head for i in range(5)}


def convert(tmp_path, content) -> dict[str, np.ndarray]:
    (tmp_path / "in.ckpt").write_bytes(pickle.dumps(content))
    convert_checkpoint(tmp_path / "in.ckpt", tmp_path / "out.safetensors")
    return safetensors.numpy.load_file(tmp_path / "out.safetensors")


def test_names_and_axes(tmp_path):
    tensors = convert(tmp_path, checkpoint())
    assert len(tensors) == 15
    weight = tensors["convs.3.weight"]
    assert weight.shape == (5, 4, 2, 3)
    assert weight[4, 3, 1, 2] == checkpoint()["AlexNet_0"]["Conv_3"]["kernel"][1, 2, 3, 4]
    assert tensors["convs.3.bias"].tolist() == [0, 1, 2, 3, 4]
    assert tensors["heads.0.weight"].shape == (1, 5, 1, 1)


class Hostile:
    def __init__(self, command: str):
        self.command = command

    def __reduce__(self):
        return os.system, (self.command,)


def test_a_pickle_that_asks_for_more_than_arrays_is_refused(tmp_path):
    owned = tmp_path / "owned"
    with pytest.raises(InputError, match=r"its pickle asks for posix\.system"):
        convert(tmp_path, checkpoint() | {"extra": Hostile(f"touch {owned}")})
    assert not owned.exists()


@pytest.mark.parametrize("content", [{}, [1], {"AlexNet_0": {"Conv_0": {"kernel": np.ones(2)}}}])
def test_another_pickle_is_one_line(tmp_path, content):
    with pytest.raises(InputError, match="is not the LPIPS checkpoint"):
        convert(tmp_path, content)
