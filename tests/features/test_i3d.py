import numpy as np
import pytest
import safetensors.torch
import torch

from dynamicrafter.errors import InputError
from dynamicrafter.features import MissingWeights, i3d


def test_same_padding_is_tensorflows():
    # A 3-wide average at stride 2 over 0..5: TensorFlow pads behind, so windows start at 0, 2, 4.
    x = torch.arange(6.0).view(1, 1, 1, 1, 6)
    padded = i3d.pad_same(x, (1, 1, 3), (1, 1, 2))
    windows = padded.flatten().unfold(0, 3, 2)
    assert windows.tolist() == [[0, 1, 2], [2, 3, 4], [4, 5, 0]]
    seven = i3d.pad_same(x, (1, 1, 7), (1, 1, 2)).flatten()
    assert seven.tolist() == [0, 0, 0, 1, 2, 3, 4, 5, 0, 0, 0]


def test_the_network_has_the_published_size():
    model = i3d.I3D()
    learnable = sum(p.numel() for p in model.parameters())
    running = sum(b.numel() for name, b in model.named_buffers() if "running" in name)
    assert learnable == 12_697_264
    assert learnable + running == 12_711_824


def test_fewer_than_nine_frames_are_refused():
    with pytest.raises(InputError, match="needs 9 frames, this video has 8"):
        i3d.I3D()(torch.zeros(1, 3, 8, 224, 224))


def test_absent_weights_name_the_command(tmp_path):
    with pytest.raises(MissingWeights, match="run: dynamicrafter assets fetch i3d-kinetics-400"):
        i3d.load_i3d(tmp_path / "none.safetensors")


def test_other_weights_are_not_taken_for_the_named_ones(tmp_path):
    path = tmp_path / "other.safetensors"
    safetensors.torch.save_file(i3d.I3D().state_dict(), path)
    with pytest.raises(MissingWeights, match="is not i3d-kinetics-400"):
        i3d.load_i3d(path)


def test_an_unknown_network_is_refused(tmp_path):
    with pytest.raises(InputError, match="no I3D network 'caffe'; there are tfhub, videogpt"):
        i3d.load_i3d(tmp_path, network="caffe")


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
