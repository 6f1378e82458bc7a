"""LPIPS: by hand on a few pixels, and by the figures of the asset's own check."""

import cv2
import numpy as np
import pytest
import torch

from dynamicrafter import assets
from dynamicrafter.errors import InputError
from dynamicrafter.features import MissingWeights
from dynamicrafter.features.layers.lpips import SCALE, SHIFT, Lpips
from dynamicrafter.features.lpips import load_lpips, lpips_network
from dynamicrafter.media.decode import read_frames


@pytest.fixture(scope="module")
def random_lpips():
    torch.manual_seed(0)
    model = Lpips().eval().requires_grad_(False)
    for head in model.heads:
        head.weight.abs_()
    return model


def images(n: int = 3, side: int = 48, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (n, side, side + 5, 3), np.uint8)


def by_hand(model: Lpips, a: np.ndarray, b: np.ndarray) -> float:
    """One pair in numpy and float64 behind torchvision's own AlexNet."""
    from torchvision.models import alexnet

    with torch.device("meta"):  # its classifier is large and not needed
        layers = alexnet().double().features
    layers.to_empty(device="cpu")
    stages = [layers[0:2], layers[2:5], layers[5:8], layers[8:10], layers[10:12]]
    for number, stage in enumerate(stages):
        convolution = stage[-2]
        convolution.weight.data = model.convs[number].weight.double()
        convolution.bias.data = model.convs[number].bias.double()
    x = torch.from_numpy(np.stack([a, b])).permute(0, 3, 1, 2).double() / 255 * 2 - 1
    x = (x - torch.tensor(SHIFT).view(3, 1, 1)) / torch.tensor(SCALE).view(3, 1, 1)
    total = 0.0
    for number, stage in enumerate(stages):
        x = stage(x)
        unit = x.detach().numpy() / np.linalg.norm(x.detach().numpy(), axis=1, keepdims=True)
        weight = model.heads[number].weight.numpy().reshape(-1, 1, 1)
        total += (weight * (unit[0] - unit[1]) ** 2).sum(axis=0).mean()
    return total


def test_distances_are_those_of_the_definition(random_lpips):
    a, b = images(), images(seed=1)
    found = random_lpips.distance(a, b, batch=2)
    expected = [by_hand(random_lpips, x, y) for x, y in zip(a, b, strict=True)]
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, rtol=1e-4)


def test_equal_images_are_at_no_distance_and_order_does_not_count(random_lpips):
    a, b = images(), images(seed=1)
    assert random_lpips.distance(a, a).tolist() == [0, 0, 0]
    np.testing.assert_allclose(random_lpips.distance(a, b), random_lpips.distance(b, a), rtol=1e-5)


def test_a_window_from_its_first_frame(random_lpips):
    windows = images(6).reshape(2, 3, 48, 53, 3)
    found = random_lpips.to_first(torch.from_numpy(windows)).numpy()
    for video, row in zip(windows, found, strict=True):
        np.testing.assert_allclose(row, random_lpips.distance(video[[0, 0, 0]], video), rtol=1e-4)
        assert row[0] == 0


def test_what_it_cannot_compare_is_named(random_lpips):
    with pytest.raises(InputError, match=r"uint8 \[3, 48, 53, 3\] and uint8 \[2, 48, 53, 3\]"):
        random_lpips.distance(images(3), images(2))
    with pytest.raises(InputError, match="not float32"):
        random_lpips.distance(images().astype(np.float32), images())
    small = images(1, side=30)
    with pytest.raises(InputError, match=r"needs 31 pixels a side, this image has \[30, 35\]"):
        random_lpips.distance(small, small)
    assert random_lpips.distance(images(1, side=31), images(1, side=31)).tolist() == [0]


def test_absent_or_other_weights_name_the_command(tmp_path, monkeypatch):
    monkeypatch.setenv("DYNAMICRAFTER_CACHE", str(tmp_path))
    fetch = "run: dynamicrafter assets fetch lpips-alexnet"
    with pytest.raises(MissingWeights, match=fetch) as caught:
        lpips_network()
    assert str(tmp_path) not in str(caught.value)  # a page shows it
    (tmp_path / "other.safetensors").write_bytes(b"other")
    with pytest.raises(MissingWeights, match="is not lpips-alexnet by its sha256"):
        load_lpips(tmp_path / "other.safetensors")


@pytest.mark.network
def test_the_figures_of_the_asset():
    weights, clip = assets.fetch(["lpips-alexnet", "sports2d"])
    frames = read_frames(clip, [0, 10, 120])
    frames = np.stack([cv2.resize(f, (256, 256), interpolation=cv2.INTER_AREA) for f in frames])
    found = load_lpips(weights).distance(frames[[0, 0, 0]], frames)
    np.testing.assert_allclose(found, [0, 0.0190, 0.0666], atol=1e-3)
    network = lpips_network()
    digest = assets.load_manifest()["lpips-alexnet"].stored_sha256
    assert network.fingerprint == f"lpips-alexnet/{digest}"
    np.testing.assert_allclose(network.load("cpu")(frames[None])[0], found, atol=1e-6)
