"""The ratio of the two streams: a closed form by hand, and what is recorded in a whole U-Net."""

import math

import pytest
import torch
from torch.utils.checkpoint import checkpoint

from dynamicrafter import draws
from dynamicrafter.model.attention import DualCrossAttention, attend
from dynamicrafter.model.attention_ratio import image_to_text, recorded_attention
from dynamicrafter.model.gates import gated_attentions, read_gates, scaled_gates
from tests.model import tiny


@pytest.fixture
def model():
    return tiny.build(tiny.learned_gates(tiny.tree())).requires_grad_(False)


def call(unet, b=2):
    x = draws.normal(0, 0, "x", (b, 8, 2, 8, 8))
    context = draws.normal(0, 0, "context", (b, 77 + 32, 32))
    return unet(x, torch.full((b,), 500), context, torch.full((b,), 3))


def constant_attention(text_value, image_value, alpha):
    """Every text token has the value `text_value`, every image token `image_value`."""
    attention = DualCrossAttention(4, 4, 1, image=True, learned_gate=True).requires_grad_(False)
    attention.to_v.weight.copy_(text_value * torch.eye(4))
    attention.to_v_ip.weight.copy_(image_value * torch.eye(4))
    attention.alpha.fill_(alpha)
    return attention


def test_the_ratio_of_constant_streams_is_that_of_their_values_times_lambda():
    attention = constant_attention(2.0, 3.0, alpha=0.5)
    seen = []
    attention.observer = lambda text, image, samples: seen.append(
        image_to_text(text, image, samples)
    )
    text, image = torch.ones(2, 77, 4), torch.ones(6, 16, 4)
    image[3:] *= 4  # the second sample's frames
    with torch.no_grad():
        attention(draws.normal(0, 0, "x", (6, 5, 4)), text, image)
    gated = 1.5 * (math.tanh(0.5) + 1)
    assert torch.allclose(seen[0], torch.tensor([gated, 4 * gated]))


def test_norms_are_over_all_frames_tokens_and_channels_of_a_sample():
    text, image = draws.normal(0, 0, "text", (6, 5, 4)), draws.normal(0, 0, "image", (6, 5, 4))
    expected = [image[i : i + 3].norm() / text[i : i + 3].norm() for i in (0, 3)]
    assert torch.allclose(image_to_text(text, image, 2), torch.stack(expected))
    halves = image_to_text(text.bfloat16(), image.bfloat16(), 2)
    assert halves.dtype == torch.float32
    assert torch.allclose(halves, torch.stack(expected), rtol=1e-2)


def test_every_layer_is_recorded_under_its_name_and_nothing_changes(model):
    with torch.no_grad():
        plain = call(model.unet)
        with recorded_attention(model.unet) as ratios:
            recorded = call(model.unet)
    assert torch.equal(plain, recorded)
    assert list(ratios) == [gate.layer for gate in read_gates(model.unet)]
    assert {len(passes) for passes in ratios.values()} == {1}
    assert all(passes[0].shape == (2,) for passes in ratios.values())
    assert all(layer.observer is None for layer in gated_attentions(model.unet).values())


def test_the_record_agrees_with_the_streams_computed_beside_the_layer(model):
    inputs = {}
    layers = gated_attentions(model.unet)
    for name, layer in layers.items():
        layer.register_forward_pre_hook(lambda _, given, name=name: inputs.update({name: given}))
    with torch.no_grad(), recorded_attention(model.unet) as ratios:
        call(model.unet)
        for name, layer in layers.items():
            x, text, image = inputs[name]
            q, frames = layer.to_q(x), len(x) // len(text)
            k, v = (to(text).repeat_interleave(frames, 0) for to in (layer.to_k, layer.to_v))
            text_out = attend(q, k, v, layer.heads)
            image_out = attend(q, layer.to_k_ip(image), layer.to_v_ip(image), layer.heads)
            image_out = image_out * (torch.tanh(layer.alpha) + 1)
            norms = [out.flatten(1).square().sum(1).view(2, -1).sum(1).sqrt()
                     for out in (image_out, text_out)]  # fmt: skip
            assert torch.allclose(ratios[name][0], norms[0] / norms[1], rtol=1e-4), name


def test_a_factor_on_lambda_is_a_factor_on_the_first_layers_ratio(model):
    """Later layers see another input, the first one does not."""
    with torch.no_grad(), recorded_attention(model.unet) as ratios:
        call(model.unet)
        with scaled_gates(model.unet, {"all": 3.0}):
            call(model.unet)
    plain, scaled = next(iter(ratios.values()))
    assert torch.allclose(scaled, 3 * plain)


def test_passes_with_gradient_do_not_count(model):
    """A layer that is computed again in the backward pass would count twice."""
    attention = gated_attentions(model.unet)["middle_block"].requires_grad_(True)
    x = draws.normal(0, 0, "x", (2, 5, attention.to_q.in_features)).requires_grad_()
    text, image = torch.ones(2, 77, 32), torch.ones(2, 16, 32)
    with recorded_attention(model.unet) as ratios:
        checkpoint(attention, x, text, image, use_reentrant=False).sum().backward()
        assert x.grad is not None
        assert ratios["middle_block"] == []
        with torch.no_grad():
            attention(x, text, image)
        assert len(ratios["middle_block"]) == 1


def test_an_error_inside_ends_the_recording(model):
    with pytest.raises(ZeroDivisionError), recorded_attention(model.unet):
        _ = 1 / 0
    assert all(layer.observer is None for layer in gated_attentions(model.unet).values())


def test_a_model_without_image_stream_has_nothing_to_record():
    model = tiny.build(tiny.tree(context="none"))
    with recorded_attention(model.unet) as ratios:
        assert ratios == {}


def test_scaled_gates_give_back_what_was_there(model):
    with scaled_gates(model.unet, {"all": 2.0}):
        with scaled_gates(model.unet, {"middle_block": 3.0}):
            pass
        factors = [layer.gate_factor for layer in gated_attentions(model.unet).values()]
    assert factors == [2.0] * 4
