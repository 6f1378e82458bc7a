"""OpenCLIP through its real loader, on a tiny architecture with random weights."""

import numpy as np
import open_clip
import pytest
import safetensors.torch
import torch

from dynamicrafter.errors import InputError
from dynamicrafter.features import MissingWeights
from dynamicrafter.features.clip import clip_images_network, load_clip
from tests.features.tiny_clip import NAME, make_tiny_clip


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    folder = tmp_path_factory.mktemp("clip")
    model = make_tiny_clip(folder)
    torch.save(model.state_dict(), folder / "tiny.pt")
    return model, folder


@pytest.mark.parametrize("file", ["tiny.safetensors", "tiny.pt"])
def test_embeddings_are_the_models_own(tiny, file):
    model, folder = tiny
    clip = load_clip(folder / file, NAME)
    frames = np.random.default_rng(0).integers(0, 256, (5, 32, 32, 3), np.uint8)
    mean, std = torch.tensor(model.visual.image_mean), torch.tensor(model.visual.image_std)
    pixels = ((torch.from_numpy(frames) / 255 - mean) / std).permute(0, 3, 1, 2)
    tokens = open_clip.get_tokenizer(NAME)(["a dog runs", "waves"])
    with torch.inference_mode():
        images, texts = model.encode_image(pixels), model.encode_text(tokens)
    np.testing.assert_allclose(clip.images(frames, batch=2), images, atol=1e-5)
    np.testing.assert_allclose(clip.texts(["a dog runs", "waves"]), texts, atol=1e-5)


def test_the_fingerprint_names_architecture_and_file(tiny):
    _, folder = tiny
    one, two = (load_clip(folder / f, NAME).fingerprint for f in ("tiny.safetensors", "tiny.pt"))
    assert one.startswith(f"openclip/{NAME}/")
    assert one != two


def test_windows_give_an_embedding_a_frame(tiny):
    path = tiny[1] / "tiny.safetensors"
    network = clip_images_network(path, NAME)
    clip = load_clip(path, NAME)
    assert network.fingerprint == clip.fingerprint
    windows = np.random.default_rng(0).integers(0, 256, (2, 3, 32, 32, 3), np.uint8)
    found = network.load("cpu")(windows)
    assert found.shape == (2, 3, 16)
    np.testing.assert_allclose(found[1], clip.images(windows[1]), atol=1e-6)


def test_absent_weights_are_an_input_error(tmp_path):
    with pytest.raises(MissingWeights, match="no CLIP weights at"):
        load_clip(tmp_path / "none.safetensors")
    with pytest.raises(MissingWeights, match="no CLIP weights at"):
        clip_images_network(tmp_path / "none.safetensors")
    assert issubclass(MissingWeights, InputError)


@pytest.mark.parametrize("content", [b"", b"not weights" * 100])
@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_a_broken_file_is_one_line(tiny, tmp_path, content, suffix):
    path = tmp_path / f"broken{suffix}"
    path.write_bytes(content)
    with pytest.raises(MissingWeights, match="does not hold weights of"):
        load_clip(path, NAME)


def test_weights_of_another_architecture_are_refused(tiny, tmp_path):
    path = tmp_path / "other.safetensors"
    safetensors.torch.save_file({"weight": torch.ones(3)}, path)
    with pytest.raises(MissingWeights, match="does not hold weights of"):
        load_clip(path, NAME)


def test_an_unknown_architecture_is_refused(tiny):
    with pytest.raises(InputError, match="OpenCLIP knows no architecture 'ViT-Z'"):
        load_clip(tiny[1] / "tiny.pt", "ViT-Z")
