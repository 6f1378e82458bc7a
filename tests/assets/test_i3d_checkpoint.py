import io
import os
import pickle

import numpy as np
import pytest
import safetensors.numpy

from dynamicrafter.assets.i3d_checkpoint import convert_checkpoint
from dynamicrafter.errors import InputError


def checkpoint() -> dict:
    unit = {
        "Conv_0": {"kernel": np.arange(2 * 3 * 3 * 4 * 5, dtype=np.float32).reshape(2, 3, 3, 4, 5)}
    }
    norm = {"bias": np.arange(5, dtype=np.float32)}
    statistics = {
        "mean": np.ones((1, 1, 1, 1, 5), np.float32),
        "var": np.full((1, 1, 1, 1, 5), 2.0),
    }
    logits = {
        "Conv3d_0c_1x1": {"Conv_0": {"kernel": np.zeros((1, 1, 1, 5, 6)), "bias": np.ones(6)}}
    }
    return {
        "params": {
            "Mixed_3b": {"Branch_1": {"Conv3d_0b_3x3": unit | {"BatchNorm_0": norm}}},
            "Logits": logits,
        },
        "batch_stats": {"Mixed_3b": {"Branch_1": {"Conv3d_0b_3x3": {"BatchNorm_0": statistics}}}},
    }


def converted(tmp_path, data: bytes) -> dict[str, np.ndarray]:
    (tmp_path / "in.ckpt").write_bytes(data)
    convert_checkpoint(tmp_path / "in.ckpt", tmp_path / "out.safetensors")
    return safetensors.numpy.load_file(tmp_path / "out.safetensors")


@pytest.mark.parametrize("module", [b"numpy.core.multiarray", b"numpy._core.multiarray"])
def test_names_and_axes(tmp_path, module):
    data = pickle.dumps(checkpoint(), protocol=3).replace(b"numpy._core.multiarray", module)
    tensors = converted(tmp_path, data)
    kernel = checkpoint()["params"]["Mixed_3b"]["Branch_1"]["Conv3d_0b_3x3"]["Conv_0"]["kernel"]
    weight = tensors["Mixed_3b.b1b.conv3d.weight"]
    assert weight.shape == (5, 4, 2, 3, 3)
    assert weight[4, 3, 1, 2, 0] == kernel[1, 2, 0, 3, 4]
    assert tensors["Mixed_3b.b1b.bn.weight"].tolist() == [1] * 5
    assert tensors["Mixed_3b.b1b.bn.bias"].tolist() == [0, 1, 2, 3, 4]
    assert tensors["Mixed_3b.b1b.bn.running_var"].tolist() == [2] * 5
    assert tensors["logits.conv3d.weight"].shape == (6, 5, 1, 1, 1)
    assert len(tensors) == 7


class Hostile:
    def __init__(self, command: str):
        self.command = command

    def __reduce__(self):
        return os.system, (self.command,)


def test_a_pickle_that_asks_for_more_than_arrays_is_refused(tmp_path):
    data = pickle.dumps(checkpoint() | {"extra": Hostile(f"touch {tmp_path / 'owned'}")})
    with pytest.raises(InputError, match=r"its pickle asks for posix\.system"):
        converted(tmp_path, data)
    assert not (tmp_path / "owned").exists()
    assert not (tmp_path / "out.safetensors").exists()


def test_numpy_functions_beyond_the_constructors_are_refused(tmp_path):
    stream = io.BytesIO()
    pickle.Pickler(stream).dump({"params": np.load})
    with pytest.raises(InputError, match="its pickle asks for"):
        converted(tmp_path, stream.getvalue())


@pytest.mark.parametrize(
    "content",
    [{"params": {}}, {"params": {"a": {"b": np.ones(2)}}, "batch_stats": {}}, [1, 2], {"a": "b"}],
)
def test_another_pickle_is_one_line(tmp_path, content):
    with pytest.raises(InputError, match="is not the I3D checkpoint"):
        converted(tmp_path, pickle.dumps(content))


@pytest.mark.parametrize("data", [b"", b"text", pickle.dumps(checkpoint())[:300]])
def test_a_broken_file_is_one_line(tmp_path, data):
    with pytest.raises(InputError, match="is not the I3D checkpoint"):
        converted(tmp_path, data)
