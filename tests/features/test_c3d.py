"""C3D on small random files, against a plain implementation."""

import itertools

import cv2
import numpy as np
import pytest
import safetensors.torch
import torch

from dynamicrafter.errors import InputError
from dynamicrafter.features import MissingWeights, c3d
from dynamicrafter.features.layers import c3d as layers

FRAMES = np.random.default_rng(0).integers(0, 256, (2, 16, 60, 80, 3), np.uint8)
WIDTHS = {name: 2 for name in layers.CONVOLUTIONS} | {"fc6": 7, "fc7": 6, "fc8": 5}


def weights() -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    state = layers.C3D(WIDTHS, torch.zeros(3, 1, 1, 1)).state_dict()
    del state["mean"]
    for name, value in state.items():
        if name.endswith("weight"):
            value *= 6**0.5  # so that pixels still count in the end
    return state


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    path = tmp_path_factory.mktemp("c3d") / "c3d.safetensors"
    safetensors.torch.save_file(weights(), path)
    return path


def plainly(video: np.ndarray, mean: np.ndarray, convolve) -> np.ndarray:
    """Probabilities of one video [t, 112, 112, 3] in 0..255, red first."""
    w = {name: value.double().numpy() for name, value in weights().items()}
    x = video[..., ::-1].transpose(3, 0, 1, 2).astype(np.float64) - mean
    for name in ("conv1a", "conv2a", "conv3a", "conv3b", "conv4a", "conv4b", "conv5a", "conv5b"):
        x = np.maximum(convolve(x, w[f"{name}.weight"], w[f"{name}.bias"]), 0)
        if name in ("conv1a", "conv2a", "conv3b", "conv4b", "conv5b"):
            x = pooled(x, 1 if name == "conv1a" else 2)
    assert x.shape == (2, 1, 4, 4)
    x = x.ravel()
    for name in ("fc6", "fc7"):
        x = np.maximum(w[f"{name}.weight"] @ x + w[f"{name}.bias"], 0)
    x = np.exp(w["fc8.weight"] @ x + w["fc8.bias"])
    return x / x.sum()


def pooled(x: np.ndarray, in_time: int) -> np.ndarray:
    """The maximum of boxes that begin at 0; those at the end may be smaller."""
    steps = (in_time, 2, 2)
    shape = [-(-size // step) for size, step in zip(x.shape[1:], steps, strict=True)]
    result = np.empty((len(x), *shape))
    for place in itertools.product(*map(range, shape)):
        box = tuple(slice(i * s, i * s + s) for i, s in zip(place, steps, strict=True))
        result[(slice(None), *place)] = x[(slice(None), *box)].max(axis=(1, 2, 3))
    return result


def convolve(x: np.ndarray, kernel: np.ndarray, bias: np.ndarray) -> np.ndarray:
    """3x3x3 with a border of zeros, as a sum of 27 shifted copies."""
    padded = np.pad(x, ((0, 0), (1, 1), (1, 1), (1, 1)))
    t, h, w = x.shape[1:]
    result = np.zeros((len(kernel), t, h, w)) + bias.reshape(-1, 1, 1, 1)
    for a, b, c in itertools.product(range(3), repeat=3):
        part = padded[:, a : a + t, b : b + h, c : c + w]
        result += np.tensordot(kernel[:, :, a, b, c], part, axes=1)
    return result


def test_probabilities_are_those_of_a_plain_implementation(path):
    video = np.random.default_rng(1).integers(0, 256, (1, 16, 112, 112, 3), np.uint8)
    found = c3d.c3d_network(path).load("cpu")(video)
    mean = np.array([90.25164795, 97.65701294, 101.4083252]).reshape(3, 1, 1, 1)
    expected = plainly(video[0], mean, convolve)
    assert found.shape == (1, 5)
    assert expected.max() - expected.min() > 0.1
    np.testing.assert_allclose(found[0], expected, atol=1e-4)


@pytest.mark.parametrize("shape", [(3,), (3, 16, 112, 112)])
def test_a_mean_in_the_file_is_the_one_that_is_taken_off(tmp_path, path, shape):
    """Pixels that equal it are as black to a network whose mean is 0."""
    mean = torch.full(shape, 40.0)
    black = np.zeros((1, 16, 112, 112, 3), np.uint8)
    results = []
    for number, value in ((0, torch.zeros(shape)), (40, mean)):
        file = tmp_path / f"{number}.safetensors"
        safetensors.torch.save_file(weights() | {"mean": value}, file)
        results.append(c3d.c3d_network(file).load("cpu")(black + np.uint8(number)))
    np.testing.assert_allclose(results[0], results[1], atol=1e-6)
    assert np.abs(c3d.c3d_network(path).load("cpu")(black) - results[0]).max() > 1e-3


def test_the_two_ways_to_112_pixels():
    video = torch.from_numpy(FRAMES)
    direct, cut = (layers.resized(video, rule) for rule in ("direct_112", "crop_128x171"))
    assert direct.shape == cut.shape == (2, 3, 16, 112, 112)
    # Corners on corners: the four corners are pixels of the original.
    corners = direct[1, :, 3][:, [0, 0, -1, -1], [0, -1, 0, -1]].T
    expected = video[1, 3, [0, 0, -1, -1], [0, -1, 0, -1]].float()
    torch.testing.assert_close(corners, expected, atol=1e-2, rtol=0)
    frame = FRAMES[1, 3].astype(np.float32)
    expected = cv2.resize(frame, (171, 128), interpolation=cv2.INTER_LINEAR)[8:120, 29:141]
    np.testing.assert_allclose(cut[1, :, 3].permute(1, 2, 0), expected, atol=0.01)


def test_the_published_size():
    with torch.device("meta"):
        model = layers.C3D(c3d.WIDTHS, torch.zeros(3, 1, 1, 1))
    assert model.fc6.in_features == 8192
    assert sum(p.numel() for p in model.parameters()) == 78_409_573


def test_what_it_cannot_take_is_named(path, tmp_path):
    with pytest.raises(InputError, match="C3D sees 16 frames, not 9"):
        c3d.c3d_network(path).load("cpu")(FRAMES[:, :9])
    with pytest.raises(InputError, match="no rule 'square'; there are direct_112, crop_128x171"):
        c3d.c3d_network(path, "square")
    with pytest.raises(MissingWeights, match="no weights of C3D at"):
        c3d.c3d_network(tmp_path / "none.pt")
    bad = tmp_path / "bad.pt"
    torch.save(weights() | {"mean": torch.zeros(3, 128, 171)}, bad)
    with pytest.raises(MissingWeights, match=r"'mean' is \[3, 128, 171\], not \[3\] or"):
        c3d.load_c3d(bad)
    torch.save({"conv1a.weight": torch.zeros(1)}, bad)
    with pytest.raises(MissingWeights, match="does not hold weights of C3D: no 'conv2a"):
        c3d.load_c3d(bad)
    torch.jit.save(torch.jit.trace(torch.nn.Linear(3, 2), torch.zeros(1, 3)), bad)
    with pytest.raises(MissingWeights, match="TorchScript archive"):
        c3d.load_c3d(bad)


def test_a_file_of_other_widths_is_not_taken_for_the_named_one(path, monkeypatch):
    network = c3d.c3d_network(path)
    assert network.name == "c3d[c3d]"
    assert network.fingerprint.startswith("c3d[c3d]/")
    monkeypatch.setattr(c3d, "WIDTHS", WIDTHS)
    assert c3d.c3d_network(path).name == "c3d-ucf101"
    assert network.preprocessing != c3d.c3d_network(path, "crop_128x171").preprocessing
