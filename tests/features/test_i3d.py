import json
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch

from dynamicrafter.assets import load_manifest
from dynamicrafter.errors import InputError
from dynamicrafter.features import MissingWeights, i3d
from dynamicrafter.features.i3d_names import own_name
from dynamicrafter.features.layers import i3d as layers
from dynamicrafter.features.network import metric_name

RULE = "direct_bilinear_halfpixel"
NAMINGS = Path(__file__).parents[1] / "golden" / "keys" / "i3d_namings.json"


def test_same_padding_is_tensorflows():
    # A 3-wide average at stride 2 over 0..5: TensorFlow pads behind, so windows start at 0, 2, 4.
    x = torch.arange(6.0).view(1, 1, 1, 1, 6)
    padded = layers.pad_same(x, (1, 1, 3), (1, 1, 2))
    windows = padded.flatten().unfold(0, 3, 2)
    assert windows.tolist() == [[0, 1, 2], [2, 3, 4], [4, 5, 0]]
    seven = layers.pad_same(x, (1, 1, 7), (1, 1, 2)).flatten()
    assert seven.tolist() == [0, 0, 0, 1, 2, 3, 4, 5, 0, 0, 0]


def test_the_network_has_the_published_size():
    model = layers.I3D(1e-3)
    learnable = sum(p.numel() for p in model.parameters())
    running = sum(b.numel() for name, b in model.named_buffers() if "running" in name)
    assert learnable == 12_697_264
    assert learnable + running == 12_711_824


def test_fewer_than_nine_frames_are_refused():
    with pytest.raises(InputError, match="needs 9 frames, this video has 8"):
        i3d.logits(layers.I3D(1e-3), np.zeros((1, 8, 64, 64, 3), np.uint8), RULE)


def test_absent_weights_name_the_command(tmp_path):
    with pytest.raises(MissingWeights, match="run: dynamicrafter assets fetch i3d-kinetics-400"):
        i3d.load_i3d(tmp_path / "none.safetensors")


def test_other_weights_are_not_taken_for_the_named_ones(tmp_path):
    path = tmp_path / "other.safetensors"
    safetensors.torch.save_file(layers.I3D(1e-3).state_dict(), path)
    with pytest.raises(MissingWeights, match="is not i3d-kinetics-400"):
        i3d.load_i3d(path)


def test_an_unknown_network_is_refused(tmp_path):
    with pytest.raises(InputError, match="no I3D network 'caffe'; there are tfhub, videogpt"):
        i3d.load_i3d(tmp_path, network="caffe")


def test_both_namings_are_known():
    namings = json.loads(NAMINGS.read_text())["hassony_to_piergiaj"]
    assert len(namings) == 287
    assert {other: own_name(other) for other in namings} == namings
    own = {n for n in layers.I3D(1e-3).state_dict() if not n.endswith("num_batches_tracked")}
    assert set(namings.values()) == own
    assert {own_name(name) for name in own} == own


@pytest.fixture(scope="module")
def other_weights(tmp_path_factory):
    """The same random weights in the two namings, as the ports save them."""
    folder = tmp_path_factory.mktemp("i3d")
    namings = json.loads(NAMINGS.read_text())["hassony_to_piergiaj"]
    torch.manual_seed(0)
    model = layers.I3D(1e-3)
    state = model.state_dict()
    torch.save(state, folder / "rgb_imagenet.pt")
    torch.save({other: state[own] for other, own in namings.items()}, folder / "model_rgb.pth")
    return model.eval(), folder


@pytest.mark.parametrize("file", ["rgb_imagenet.pt", "model_rgb.pth"])
def test_other_weights_come_under_their_own_name(other_weights, file):
    model, folder = other_weights
    network = i3d.i3d_network("tfhub", RULE, folder / file)
    stem = file.partition(".")[0]
    assert network.name == f"i3d-tfhub[{stem}]"
    assert metric_name("FVD", network) == f"FVD[{stem}]"
    assert network.fingerprint.startswith(f"i3d-tfhub[{stem}]/")
    loaded = i3d.load_other_i3d(folder / file).state_dict()
    assert all(torch.equal(loaded[name], value) for name, value in model.state_dict().items())


@pytest.mark.slow
def test_other_weights_see_windows_as_the_named_ones_do(other_weights):
    model, folder = other_weights
    windows = np.random.default_rng(0).integers(0, 256, (1, 9, 40, 56, 3), np.uint8)
    found = i3d.i3d_network("tfhub", RULE, folder / "model_rgb.pth").load("cpu")(windows)
    np.testing.assert_array_equal(found, i3d.logits(model, windows, RULE))


def test_epsilon_and_precision_are_part_of_what_names_features(other_weights):
    path = other_weights[1] / "rgb_imagenet.pt"
    networks = [
        i3d.i3d_network("tfhub", RULE, path),
        i3d.i3d_network("videogpt", RULE, path),
        i3d.i3d_network("tfhub", RULE, path, tf32=True),
        i3d.i3d_network("tfhub", "tf1_legacy_bilinear", path),
    ]
    assert len({(one.fingerprint, one.preprocessing) for one in networks}) == 4


def test_weights_of_another_shape_are_refused(tmp_path):
    path = tmp_path / "other.pt"
    torch.save({"Conv3d_1a_7x7.conv3d.weight": torch.zeros(1)}, path)
    with pytest.raises(MissingWeights, match="does not hold weights of I3D"):
        i3d.load_other_i3d(path)


def test_the_network_without_its_asset_names_the_command(tmp_path, monkeypatch):
    monkeypatch.setenv("DYNAMICRAFTER_CACHE", str(tmp_path))
    with pytest.raises(MissingWeights, match="run: dynamicrafter assets fetch i3d-kinetics-400"):
        i3d.i3d_network()
    with pytest.raises(MissingWeights, match=r"no weights of I3D at .*none\.pt"):
        i3d.i3d_network(weights=tmp_path / "none.pt")


@pytest.mark.network
def test_the_named_weights_give_the_metric_its_plain_name(i3d_weights):
    network = i3d.i3d_network("videogpt", RULE)
    digest = load_manifest()["i3d-kinetics-400"].stored_sha256
    assert network.fingerprint == f"i3d-videogpt/{digest}"
    assert metric_name("FVD", network) == "FVD"
    windows = np.random.default_rng(0).integers(0, 256, (1, 9, 40, 56, 3), np.uint8)
    expected = i3d.logits(i3d.load_i3d(i3d_weights, "videogpt"), windows, RULE)
    np.testing.assert_array_equal(network.load("cpu")(windows), expected)


@pytest.mark.network
def test_batches_do_not_change_the_logits(i3d_weights):
    model = i3d.load_i3d(i3d_weights)
    videos = np.random.default_rng(0).integers(0, 256, (3, 9, 40, 56, 3), np.uint8)
    one = i3d.logits(model, videos, "direct_bilinear_halfpixel", batch=1)
    two = i3d.logits(model, videos, "direct_bilinear_halfpixel", batch=2)
    assert one.shape == (3, 400)
    assert one.dtype == np.float32
    np.testing.assert_allclose(one, two, atol=1e-4)
    assert np.abs(one[0] - one[1]).max() > 0.01


@pytest.mark.network
def test_the_two_networks_differ(i3d_weights):
    video = np.random.default_rng(0).integers(0, 256, (1, 9, 40, 56, 3), np.uint8)
    rule = "direct_bilinear_halfpixel"
    reference, copy = (
        i3d.logits(i3d.load_i3d(i3d_weights, network), video, rule)
        for network in ("tfhub", "videogpt")
    )
    assert 1e-3 < np.abs(reference - copy).max() < 1


def test_there_are_400_labels():
    labels = i3d.kinetics_400_labels()
    assert len(set(labels)) == 400
    assert "slacklining" in labels
