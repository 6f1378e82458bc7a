"""Metrics and feature networks against figures from independent implementations."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.parity import metrics_adapter as adapter

GOLDEN = Path(__file__).parents[1] / "golden" / "metrics"
FEATURES = sorted(GOLDEN.glob("feat_*.npz"))


def load(name: str) -> dict[str, np.ndarray]:
    with np.load(GOLDEN / f"{name}.npz") as file:
        return dict(file)


def assert_meets(found: dict[str, object], golden: dict[str, np.ndarray]):
    for name, value in found.items():
        np.testing.assert_allclose(value, golden[name], rtol=1e-12, atol=1e-12, err_msg=name)


@pytest.mark.parametrize("path", FEATURES, ids=lambda path: path.stem)
def test_frechet(path):
    golden = np.load(path)
    x, y = golden["x"], golden["y"]
    traces = np.trace(np.atleast_2d(np.cov(x.T))) + np.trace(np.atleast_2d(np.cov(y.T)))
    assert abs(adapter.frechet(x, y) - golden["fvd_unbiased"]) <= 1e-11 * traces
    assert abs(adapter.frechet(x, y, unbiased=False) - golden["fvd_biased"]) <= 1e-11 * traces


def test_there_are_ten_feature_cases():
    assert len(FEATURES) == 10


@pytest.mark.parametrize("path", FEATURES, ids=lambda path: path.stem)
def test_kernel(path):
    golden = np.load(path)
    found = adapter.kernel(golden["x"], golden["y"])
    np.testing.assert_allclose(found, golden["kvd_unbiased"], rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize(
    "path", [p for p in FEATURES if "tiny" not in p.stem], ids=lambda path: path.stem
)
def test_kernel_over_subsets(path):
    golden = np.load(path)
    values = adapter.kernel_subsets(
        golden["x"], golden["y"], golden["subset_ix"], golden["subset_iy"]
    )
    np.testing.assert_allclose(values, golden["kvd_subsets"], rtol=1e-11, atol=1e-11)
    np.testing.assert_allclose(values.mean(), golden["kvd_subset_mean"], rtol=1e-11)
    np.testing.assert_allclose(values.std(), golden["kvd_subset_std_ddof0"], rtol=1e-9)


def test_the_recipe_of_the_seeded_network():
    expected = json.loads((GOLDEN / "i3d_expected.json").read_text())
    for name, check in expected["weights_check"].items():
        weight = adapter.recipe_weight(name, tuple(check["shape"])).ravel()
        np.testing.assert_allclose(weight[:3], check["first3"], rtol=1e-6)
        assert abs(weight.sum(dtype=np.float64) - check["sum_f64"]) < 1e-3
    video = adapter.recipe_video(16)
    assert abs(video.sum(dtype=np.float64) - expected["input_check"]["T16"]["sum_f64"]) < 1e-3


@pytest.mark.parametrize(
    ("frames", "eps"), [(16, "1e-3"), (16, "1e-5"), (17, "1e-3"), (10, "1e-5")]
)
def test_i3d_with_seeded_weights(frames, eps):
    golden = load("i3d_logits")
    logits, pooled = adapter.i3d_seeded(adapter.recipe_video(frames), float(eps))
    # float32 strays by 8e-6 from the float64 figures; the other epsilon by 0.26.
    np.testing.assert_allclose(logits, golden[f"T{frames}_eps{eps}_logits"], atol=1e-4)
    if eps == "1e-3":
        np.testing.assert_allclose(pooled, golden[f"T{frames}_pool1024"], atol=1e-4)


@pytest.mark.network
def test_i3d_with_the_kinetics_weights():
    golden = load("i3d_real_T16")
    video = adapter.recipe_video(16)
    assert abs(video.sum(dtype=np.float64) - golden["input_sum"]) < 1e-3
    logits, pooled = adapter.run(adapter.real_i3d(), torch.from_numpy(video))
    np.testing.assert_allclose(logits, golden["logits"], atol=1e-3)
    np.testing.assert_allclose(pooled, golden["pooled"], atol=1e-3)


@pytest.mark.parametrize(
    ("rule", "name", "size"),
    [
        ("direct_bilinear_halfpixel", "direct_bilinear_halfpixel_28", 28),
        ("direct_bilinear_halfpixel", "direct_to_14", 14),
        ("direct_bilinear_antialias", "direct_bilinear_antialias_28", 28),
        ("direct_bilinear_antialias", "direct_to_14_antialias", 14),
        ("shortside_ceil_centercrop", "shortside_ceil_centercrop_28", 28),
        ("tf1_legacy_bilinear", "tf1_legacy_bilinear_28", 28),
        ("tf1_legacy_bilinear", "tf1_legacy_14", 14),
    ],
)
def test_preprocess(rule, name, size):
    golden = load("preprocess")
    found = adapter.preprocess(golden["video_uint8"], rule, size)
    np.testing.assert_allclose(found, golden[name], atol=1e-12)


def test_clip_sim():
    golden = load("clipsim")
    assert_meets(adapter.clip_sim(golden["image_embeds"], golden["text_embeds"]), golden)
    videos = [v[:n] for v, n in zip(golden["image_embeds"], golden["ragged_lengths"], strict=True)]
    ragged = adapter.clip_sim(videos, golden["text_embeds"])
    assert_meets({name: ragged[name] for name in ragged if name.startswith("ragged")}, golden)
    assert ragged["clipsim"] == ragged["ragged_mean_of_video_means"]


def test_pic():
    golden = load("pic")
    assert_meets(adapter.pic(golden["distance"]), golden)
    head = adapter.dreamsim_head(golden["dreamsim_embed_input"], golden["dreamsim_embed_frames"])
    assert_meets(head, golden)


def test_inception_score():
    golden = load("inception_score")
    assert_meets(adapter.inception_score(golden["probs"]), golden)


def test_flicker():
    golden = load("flicker")
    assert_meets(adapter.flicker(golden["video"]), golden)


def test_fvd_at_infinity():
    golden = load("bootstrap_extrapolate")
    assert_meets(adapter.fvd_infinity(golden["N"], golden["fvd_at_N"]), golden)


def test_frechet_of_resampled_rows():
    golden = load("bootstrap_extrapolate")
    x, y = golden["boot_x"], golden["boot_y"]
    indices = zip(golden["boot_ix"], golden["boot_iy"], strict=True)
    found = [adapter.frechet(x[ix], y[iy]) for ix, iy in indices]
    np.testing.assert_allclose(found, golden["boot_fvd"], rtol=1e-10)


@pytest.mark.parametrize("path", FEATURES, ids=lambda path: path.stem)
def test_features_in_float32_give_the_same(path):
    """The figures' features are exact in float32."""
    golden = np.load(path)
    x, y = golden["x"].astype(np.float32), golden["y"].astype(np.float32)
    assert adapter.frechet(x, y) == adapter.frechet(golden["x"], golden["y"])
    assert adapter.kernel(x, y) == adapter.kernel(golden["x"], golden["y"])


def test_rules_go_by_the_names_of_the_figures():
    golden = load("preprocess")
    for name in golden.keys() - {"video_uint8"}:
        size = 14 if "14" in name else 28
        found = adapter.preprocess(golden["video_uint8"], name, size)
        np.testing.assert_allclose(found, golden[name], atol=1e-12, err_msg=name)
