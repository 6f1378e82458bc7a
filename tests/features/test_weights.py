import os
import pickle

import pytest
import safetensors.torch
import torch

from dynamicrafter.features import MissingWeights
from dynamicrafter.features.weights import fill, read_tensors

TENSORS = {"weight": torch.arange(6.0).view(2, 3), "bias": torch.ones(2)}


@pytest.mark.parametrize("wrapper", [None, "state_dict", "model", "module"])
@pytest.mark.parametrize("legacy", [False, True])
def test_torch_files_with_and_without_a_wrapper(tmp_path, wrapper, legacy):
    path = tmp_path / "net.pth"
    content = {wrapper: TENSORS, "epoch": 3} if wrapper else TENSORS
    torch.save(content, path, _use_new_zipfile_serialization=not legacy)
    found = read_tensors(path, "Net")
    assert found.keys() == TENSORS.keys()
    assert torch.equal(found["weight"], TENSORS["weight"])


def test_safetensors_are_known_by_content(tmp_path):
    path = tmp_path / "net.pth"
    safetensors.torch.save_file(TENSORS, path)
    assert torch.equal(read_tensors(path, "Net")["weight"], TENSORS["weight"])


def test_a_torchscript_archive_is_not_run(tmp_path):
    path = tmp_path / "net.pt"
    torch.jit.save(torch.jit.trace(torch.nn.Linear(3, 2), torch.zeros(1, 3)), path)
    with pytest.raises(MissingWeights, match=r"TorchScript archive.*safetensors\.torch\.save_file"):
        read_tensors(path, "Net")
    written = tmp_path / "net.safetensors"  # as the message says
    safetensors.torch.save_file(dict(torch.jit.load(path).state_dict()), written)
    assert read_tensors(written, "Net").keys() == TENSORS.keys()


class Hostile:
    def __init__(self, command: str):
        self.command = command

    def __reduce__(self):
        return os.system, (self.command,)


def test_a_pickle_that_would_run_something_is_refused(tmp_path):
    path, owned = tmp_path / "net.pth", tmp_path / "owned"
    torch.save(TENSORS | {"extra": Hostile(f"touch {owned}")}, path)
    with pytest.raises(MissingWeights, match="does not hold weights of Net"):
        read_tensors(path, "Net")
    assert not owned.exists()


@pytest.mark.parametrize(
    "data", [b"", b"<html>", b"PK\x03\x04 cut", b"\x80\x02", pickle.dumps({"a": 1})]
)
@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_another_file_is_one_line(tmp_path, data, suffix):
    path = tmp_path / f"net{suffix}"
    path.write_bytes(data)
    with pytest.raises(MissingWeights, match="does not hold weights of Net") as caught:
        read_tensors(path, "Net")
    assert "\n" not in str(caught.value)


def test_an_absent_file_is_named(tmp_path):
    with pytest.raises(MissingWeights, match=r"no weights of Net at .*none\.pth; put the file"):
        read_tensors(tmp_path / "none.pth", "Net")


def test_a_module_is_filled_as_float32_and_frozen():
    with torch.device("meta"):
        module = torch.nn.Linear(3, 2)
    fill(module, {name: value.half() for name, value in TENSORS.items()}, "net.pth", "Net")
    assert module.weight.dtype == torch.float32
    assert not module.weight.requires_grad
    assert torch.equal(module(torch.ones(1, 3)), torch.tensor([[4.0, 13.0]]))


@pytest.mark.parametrize(
    "tensors", [{}, TENSORS | {"weight": torch.ones(3, 2)}, TENSORS | {"more": torch.ones(1)}]
)
def test_weights_that_do_not_fit_are_one_line(tensors):
    with pytest.raises(MissingWeights, match=r"net\.pth does not hold weights of Net") as caught:
        fill(torch.nn.Linear(3, 2), tensors, "net.pth", "Net")
    assert "\n" not in str(caught.value)
