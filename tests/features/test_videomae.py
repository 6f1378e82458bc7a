"""VideoMAE on tiny random files of the released layout, against two other implementations."""

from dataclasses import asdict

import numpy as np
import pytest
import torch

from dynamicrafter.errors import InputError
from dynamicrafter.features import MissingWeights, videomae
from dynamicrafter.features.layers import videomae as layers
from dynamicrafter.features.preprocess import preprocess

RULE = "direct_bilinear_halfpixel"
SIZES = videomae.Sizes(width=128, depth=2, hidden=96, tube=(2, 4, 4), classes=5)
FRAMES = np.random.default_rng(0).integers(0, 256, (2, 16, 20, 24, 3), np.uint8)


@pytest.fixture(autouse=True)
def _one_thread(one_thread):
    """Small models."""


def checkpoint(sizes: videomae.Sizes = SIZES) -> dict[str, torch.Tensor]:
    """Random weights under the released names, written out here and not asked of the network."""
    torch.manual_seed(0)
    width, hidden = sizes.width, sizes.hidden

    def layer(name: str, *shape: int) -> dict[str, torch.Tensor]:
        scale = np.prod(shape[1:]) ** -0.5
        return {f"{name}.weight": torch.randn(shape) * scale, f"{name}.bias": torch.randn(shape[0])}

    def norm(name: str) -> dict[str, torch.Tensor]:
        return {f"{name}.weight": 1 + torch.randn(width) / 5, f"{name}.bias": torch.randn(width)}

    weights = layer("patch_embed.proj", width, 3, *sizes.tube)
    for number in range(sizes.depth):
        block = f"blocks.{number}"
        weights |= norm(f"{block}.norm1") | norm(f"{block}.norm2")
        weights[f"{block}.attn.qkv.weight"] = torch.randn(3 * width, width) * width**-0.5
        weights[f"{block}.attn.q_bias"] = torch.randn(width)
        weights[f"{block}.attn.v_bias"] = torch.randn(width)
        weights |= layer(f"{block}.attn.proj", width, width)
        weights |= layer(f"{block}.mlp.fc1", hidden, width)
        weights |= layer(f"{block}.mlp.fc2", width, hidden)
    return weights | norm("fc_norm") | layer("head", sizes.classes, width)


@pytest.fixture(scope="module", params=["module", "model"])
def path(request, tmp_path_factory):
    path = tmp_path_factory.mktemp("videomae") / "tiny.pth"
    torch.save({request.param: checkpoint()}, path)
    return path


def plainly(weights: dict[str, torch.Tensor], video: np.ndarray) -> np.ndarray:
    """The feature of one video [3, t, h, w] in float64, head by head and tube by tube."""
    w = {name: value.double().numpy() for name, value in weights.items()}
    width, _, dt, dh, dw = w["patch_embed.proj.weight"].shape
    _, t, h, across = video.shape
    tubes = video.reshape(3, t // dt, dt, h // dh, dh, across // dw, dw)
    x = np.einsum("ctxhywz,ocxyz->thwo", tubes, w["patch_embed.proj.weight"])
    x = x.reshape(-1, width) + w["patch_embed.proj.bias"]
    for place in range(len(x)):
        for i in range(width // 2):
            angle = place / 10000 ** (2 * i / width)
            x[place, 2 * i] += np.sin(angle)
            x[place, 2 * i + 1] += np.cos(angle)
    for number in range(SIZES.depth):
        name = f"blocks.{number}"
        y = normed(x, w, f"{name}.norm1")
        to_q, to_k, to_v = np.split(w[f"{name}.attn.qkv.weight"], 3)
        q, k = y @ to_q.T + w[f"{name}.attn.q_bias"], y @ to_k.T
        v = y @ to_v.T + w[f"{name}.attn.v_bias"]
        heads = []
        for part in np.split(np.arange(width), SIZES.heads):
            score = np.exp(q[:, part] @ k[:, part].T / np.sqrt(len(part)))
            heads.append(score / score.sum(axis=1, keepdims=True) @ v[:, part])
        x = x + dense(np.concatenate(heads, axis=1), w, f"{name}.attn.proj")
        y = dense(normed(x, w, f"{name}.norm2"), w, f"{name}.mlp.fc1")
        gelu = y * (1 + torch.from_numpy(y / np.sqrt(2)).erf().numpy()) / 2
        x = x + dense(gelu, w, f"{name}.mlp.fc2")
    return normed(x.mean(axis=0), w, "fc_norm")


def dense(x: np.ndarray, w: dict[str, np.ndarray], name: str) -> np.ndarray:
    return x @ w[f"{name}.weight"].T + w[f"{name}.bias"]


def normed(x: np.ndarray, w: dict[str, np.ndarray], name: str) -> np.ndarray:
    centred = x - x.mean(axis=-1, keepdims=True)
    unit = centred / np.sqrt((centred**2).mean(axis=-1, keepdims=True) + 1e-6)
    return unit * w[f"{name}.weight"] + w[f"{name}.bias"]


def test_features_are_those_of_a_plain_implementation(path):
    videos = torch.randn(2, 3, 4, 8, 12)
    model = videomae.load_videomae(path)
    assert SIZES.heads == 2
    expected = [plainly(checkpoint(), video.double().numpy()) for video in videos]
    np.testing.assert_allclose(model(videos), expected, atol=1e-5)


def own_name(name: str) -> str:
    """The released name of a tensor in transformers' model."""
    for theirs, ours in {
        "attention.output.dense": "attn.proj",
        "attention.attention": "attn",
        "layernorm_before": "norm1",
        "layernorm_after": "norm2",
        "intermediate.dense": "mlp.fc1",
        "output.dense": "mlp.fc2",
        "videomae.encoder.layer": "blocks",
        "videomae.embeddings.patch_embeddings.projection": "patch_embed.proj",
        "classifier": "head",
    }.items():
        name = name.replace(theirs, ours)
    return name


@pytest.mark.slow
def test_features_are_those_of_transformers(path):
    transformers = pytest.importorskip("transformers")
    size = {"image_size": 8, "patch_size": 4, "num_frames": 4, "tubelet_size": 2}
    config = transformers.VideoMAEConfig(
        hidden_size=128,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=96,
        layer_norm_eps=1e-6,
        use_mean_pooling=True,
        num_labels=5,
        **size,
    )
    other = transformers.VideoMAEForVideoClassification(config).eval()
    own = checkpoint()
    for block in ("blocks.0.attn", "blocks.1.attn"):
        parts = zip(("query", "key", "value"), own[f"{block}.qkv.weight"].chunk(3), strict=True)
        own |= {f"{block}.{name}.weight": part for name, part in parts}
        own |= {
            f"{block}.{name}.bias": own[f"{block}.{name[0]}_bias"] for name in ("query", "value")
        }
    fitted = {name: own[own_name(name)] for name in other.state_dict()}
    other.load_state_dict(fitted)
    videos = torch.randn(2, 3, 4, 8, 8)
    expected = other(videos.transpose(1, 2)).logits.detach()
    model = videomae.load_videomae(path)
    np.testing.assert_allclose(model.head(model(videos)), expected, atol=1e-5)


@pytest.mark.parametrize("scaling", ["unit", "imagenet"])
def test_windows_are_brought_to_its_square_and_scale(path, monkeypatch, scaling):
    monkeypatch.setattr(videomae, "SIZE", 16)
    found = videomae.videomae_network(path, RULE, scaling, batch=1).load("cpu")(FRAMES)
    assert found.shape == (2, 128)
    pixels = preprocess(torch.from_numpy(FRAMES), RULE, 16, torch.float64).numpy() / 2 + 0.5
    if scaling == "imagenet":
        mean, deviation = np.array([[0.485, 0.456, 0.406], [0.229, 0.224, 0.225]])
        pixels = (pixels - mean.reshape(3, 1, 1, 1)) / deviation.reshape(3, 1, 1, 1)
    np.testing.assert_allclose(found, [plainly(checkpoint(), p) for p in pixels], atol=1e-5)


def test_a_file_of_other_sizes_is_not_taken_for_the_named_one(path):
    network = videomae.videomae_network(path)
    assert network.name == "videomae[tiny]"
    assert network.fingerprint.startswith("videomae[tiny]/")
    assert network.preprocessing == "direct_bilinear_halfpixel/unit"
    other = videomae.videomae_network(path, scaling="imagenet")
    assert other.preprocessing != network.preprocessing


def test_the_named_one_is_the_giant():
    with torch.device("meta"):
        model = layers.VideoMae(**asdict(videomae.GIANT_SSV2), heads=16)
        weights = {name: value.shape for name, value in checkpoint(videomae.GIANT_SSV2).items()}
    assert {name: value.shape for name, value in model.state_dict().items()} == weights
    assert videomae.find_sizes(model.state_dict(), "giant.pth") == videomae.GIANT_SSV2
    assert videomae.GIANT_SSV2.heads == 16
    assert sum(p.numel() for p in model.parameters()) == pytest.approx(1.012e9, rel=1e-3)


def test_what_it_cannot_take_is_named(path, tmp_path):
    with pytest.raises(InputError, match="VideoMAE sees 16 frames, not 9"):
        videomae.videomae_network(path).load("cpu")(FRAMES[:, :9])
    with pytest.raises(InputError, match="scaling 'clip': it is unit or imagenet"):
        videomae.videomae_network(path, scaling="clip")
    with pytest.raises(MissingWeights, match="no weights of VideoMAE at"):
        videomae.videomae_network(tmp_path / "none.pth")
    torch.save({"model": {"encoder.weight": torch.zeros(1)}}, tmp_path / "pretrained.pth")
    with pytest.raises(MissingWeights, match="does not hold weights of a fine-tuned VideoMAE"):
        videomae.videomae_network(tmp_path / "pretrained.pth")
