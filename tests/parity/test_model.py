"""Every network against the figures of its official class."""

import pytest
import torch

from . import adapter, golden

UNETS = ["unet_256style", "unet_512style"]


@pytest.mark.parametrize("name", UNETS)
def test_unet_meets_the_official_outputs(name):
    params, figures = golden.config(name)["params"], golden.tensors(name)
    weights = golden.state_dict(f"{name}.weights")
    x, t, fs = figures["in.x"], figures["in.timesteps"], figures["in.fs"]
    context = figures["in.context"]
    calls = {
        "out.fs_given": (x, t, context, fs),
        "out.fs_none": (x, t, context, None),
        "out.ctx_not_per_frame": (x, t, figures["in.context_not_per_frame"], fs),
    }
    if name == "unet_256style":
        calls["out.x_odd_fs_given"] = (figures["in.x_odd"], t[:1], context[:1], fs[:1])
        calls["out.t3_ctx141"] = (x[:, :, :3], t, context, fs)
        calls["out.t3_ctx125"] = (x[:, :, :3], t, context[:, :125], fs)
    for output, arguments in calls.items():
        value = adapter.unet(params, weights, *arguments)
        golden.assert_close(value, figures[output], golden.NETWORK)


@pytest.mark.parametrize("name", UNETS)
def test_unet_gradients_meet_the_official_ones(name):
    config, figures = golden.config(name), golden.tensors(name)
    weights = golden.state_dict(f"{name}.weights")
    inputs = (figures[f"in.{key}"] for key in ("x", "timesteps", "context", "fs", "target"))
    loss, norms = adapter.unet_grad_norms(config["params"], weights, *inputs)
    golden.assert_close(loss, figures["grad.loss"], golden.NETWORK)
    assert set(norms) == set(config["grad_param_order"])
    ordered = torch.stack([norms[key] for key in config["grad_param_order"]])
    golden.assert_close(ordered, figures["grad.norms"], golden.NETWORK)


@pytest.mark.parametrize("name", ["resampler_video", "resampler_image"])
def test_resampler(name):
    figures = golden.tensors(name)
    value = adapter.resampler(
        golden.config(name)["params"], golden.state_dict(name), figures["in.x"]
    )
    golden.assert_close(value, figures["out"], golden.NETWORK)


def test_linear_projector():
    name = "image_proj_model"
    figures = golden.tensors(name)
    value = adapter.image_proj(
        golden.config(name)["params"], golden.state_dict(name), figures["in.x"]
    )
    golden.assert_close(value, figures["out"], golden.NETWORK)


def test_autoencoder():
    params, weights, figures = golden.config("vae"), golden.state_dict("vae"), golden.tensors("vae")
    mean, logvar = adapter.autoencoder_moments(params, weights, figures["in.image"])
    golden.assert_close(mean, figures["out.mean"], golden.NETWORK)
    golden.assert_close(logvar, figures["out.logvar_clamped"], golden.NETWORK)
    mean, _ = adapter.autoencoder_moments(params, weights, figures["in.image_40x56"])
    golden.assert_close(mean, figures["out.moments_40x56"][:, :4], golden.NETWORK)
    image = adapter.autoencoder_decode(params, weights, figures["in.z"])
    golden.assert_close(image, figures["out.decode_z"], golden.NETWORK)


def test_clip_text():
    name = "clip_text"
    figures = golden.tensors(name)
    for layer in ("penultimate", "last"):
        config = {**golden.config(name), "layer": layer}
        value = adapter.clip_text(config, golden.state_dict(name), figures["in.tokens"])
        golden.assert_close(value, figures[f"out.{layer}"], golden.NETWORK)


def test_clip_image_at_every_size():
    name = "clip_image"
    params, weights, figures = golden.config(name), golden.state_dict(name), golden.tensors(name)
    for size in ("256x256", "320x512", "64x96"):
        image = (figures[f"in.image_u8_{size}"].float() / 255 - 0.5) * 2
        value = adapter.clip_image(params, weights, image)
        golden.assert_close(value, figures[f"out.tokens_{size}"], golden.NETWORK)
    zero = adapter.clip_image(params, weights, torch.zeros(1, 3, 320, 512))
    golden.assert_close(zero, figures["out.tokens_zero_image"], golden.NETWORK)
    zero = adapter.clip_image(params, weights, torch.zeros(1, 3, 224, 224))
    golden.assert_close(zero, figures["out.tokens_zero_image_224"], golden.NETWORK)


def test_tokenizer():
    texts = golden.config("tokenizer")["texts"]
    assert torch.equal(adapter.tokenize(texts), golden.tensors("tokenizer")["out.ids"])
