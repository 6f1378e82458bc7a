"""Switches of the U-Net: what they leave out, what they keep equal, what they refuse."""

import dataclasses

import pytest
import torch

from dynamicrafter.errors import InputError
from dynamicrafter.model.names import parameter_group
from dynamicrafter.model.unet import UNet, UNetConfig
from dynamicrafter.model.weights import load_weights

TINY = UNetConfig(
    in_channels=4,
    model_channels=32,
    channel_mult=(1, 2),
    num_res_blocks=1,
    attention_resolutions=(1,),
    head_channels=8,
    context_dim=16,
)
TEMPORAL = ("temporal_transformer", "temporal_conv", "temporal_init_attn", "fs_embedding")


def build(**changes):
    """A tiny U-Net whose weights, zero-initialised ones too, are random."""
    torch.manual_seed(0)
    model = UNet(dataclasses.replace(TINY, **changes)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(std=0.1)
    return model


def inputs(model, frames=3, image_tokens=0, batch=2):
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(batch, model.config.in_channels, frames, 8, 8, generator=generator)
    context = torch.randn(batch, 77 + image_tokens, 16, generator=generator)
    return x, torch.tensor([3, 900])[:batch], context


def groups(model):
    return {parameter_group(name) for name in model.state_dict()}


def test_each_switch_removes_exactly_its_parameters():
    full = groups(UNet(dataclasses.replace(TINY, learned_gate=True)))
    assert full - groups(UNet(TINY)) == {"lambda_alpha"}
    no_image = dataclasses.replace(TINY, image_context="none", learned_gate=True)
    assert full - groups(UNet(no_image)) == {"lambda_alpha", "image_cross_attention_kv"}
    image_model = dataclasses.replace(TINY, temporal=False, learned_gate=True)
    assert full - groups(UNet(image_model)) == set(TEMPORAL)


@pytest.mark.parametrize(
    "switches",
    [
        {},
        {"learned_gate": True},
        {"in_channels": 8},
        {"image_context": "global"},
        {"image_context": "none"},
        {"temporal": False},
        {"temporal": False, "image_context": "none"},
    ],
    ids=str,
)
def test_no_parameter_of_any_variant_is_dead(switches):
    """Every parameter has a gradient that moves it; biases before a norm of one channel do not.

    The widths are twice those of the other tests: at one channel a group, a norm would undo any
    constant that was added before it.
    """
    model = build(**switches, model_channels=64)
    frames = 3 if model.config.temporal else 1
    tokens = {"full": 16 * frames, "global": 4, "none": 0}[model.config.image_context]
    fs = torch.tensor([3, 9]) if model.config.temporal else None
    model(*inputs(model, frames, tokens), fs).square().sum().backward()
    dead = [name for name, p in model.named_parameters() if p.grad is None or not p.grad.any()]
    assert not dead


def test_a_new_model_predicts_zero():
    model = UNet(TINY)
    assert model(*inputs(model, image_tokens=48)).abs().max() == 0


@torch.no_grad()
def test_untrained_temporal_layers_leave_the_image_model_unchanged():
    """The hand-over to video: at first every frame is what the image model makes of it."""
    image_model = build(temporal=False)
    video_model = UNet(TINY).eval()
    load_weights(video_model, image_model.state_dict(), may_miss=TEMPORAL)
    x, t, context = inputs(video_model, image_tokens=48)
    video = video_model(x, t, context, torch.tensor([3, 24]))
    for frame in range(3):
        tokens = context[:, 77 + 16 * frame : 77 + 16 * (frame + 1)]
        image = image_model(
            x[:, :, frame : frame + 1], t, torch.cat([context[:, :77], tokens], dim=1)
        )
        assert torch.allclose(video[:, :, frame : frame + 1], image, atol=1e-5)


@torch.no_grad()
def test_the_gate_starts_at_one_and_scales_the_image_alone():
    fixed, learned = build(), UNet(dataclasses.replace(TINY, learned_gate=True)).eval()
    load_weights(learned, fixed.state_dict(), may_miss=("lambda_alpha",))
    arguments = inputs(fixed, image_tokens=48)
    assert torch.equal(fixed(*arguments), learned(*arguments))

    text_only = build(image_context="none")
    text_only.load_state_dict(fixed.state_dict(), strict=False)
    for name, parameter in learned.named_parameters():
        if parameter_group(name) == "lambda_alpha":
            parameter.fill_(-20.0)  # tanh(-20) + 1 = 0
    x, t, context = arguments
    assert torch.allclose(learned(x, t, context), text_only(x, t, context[:, :77]), atol=1e-5)


@torch.no_grad()
def test_global_tokens_reach_every_frame_and_frame_tokens_their_own():
    x, t, context = inputs(build(), frames=1, image_tokens=16)
    x = x.repeat(1, 1, 2, 1, 1)
    shared = build(image_context="global", temporal=False)(x, t, context)
    assert torch.allclose(shared[:, :, 0], shared[:, :, 1], atol=1e-6)
    other = torch.randn(2, 16, 16, generator=torch.Generator().manual_seed(2))
    own = build(temporal=False)(x, t, torch.cat([context, other], dim=1))
    assert torch.allclose(own[:, :, 0], shared[:, :, 0], atol=1e-5)
    assert not torch.allclose(own[:, :, 1], shared[:, :, 1], atol=1e-3)


@torch.no_grad()
def test_bf16_autocast_stays_near_fp32():
    model = build()
    arguments = inputs(model, image_tokens=48)
    expected = model(*arguments)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        value = model(*arguments)
    error = (value.float() - expected).norm() / expected.norm()
    assert error < 0.03
    value = model.bfloat16()(*(a.bfloat16() if a.is_floating_point() else a for a in arguments))
    assert value.dtype == torch.bfloat16
    assert (value.float() - expected).norm() / expected.norm() < 0.05


def test_refusals():
    model = UNet(TINY)
    x, t, context = inputs(model, image_tokens=0)
    with pytest.raises(InputError, match="77 tokens"):
        model(x, t, context)
    text_only = UNet(dataclasses.replace(TINY, image_context="none"))
    with pytest.raises(InputError, match="93 tokens"):
        text_only(*inputs(text_only, image_tokens=16))
    image_model = UNet(dataclasses.replace(TINY, temporal=False))
    with pytest.raises(InputError, match="takes no fs"):
        image_model(*inputs(image_model, frames=1, image_tokens=16), torch.tensor([3, 3]))
    with pytest.raises(InputError, match="multiple of 32"):
        UNetConfig(model_channels=40)
    with pytest.raises(InputError, match="image_context"):
        UNetConfig(image_context="both")
