"""Precision: what is lowered to bf16, what never is, and what bf16 may not touch."""

import pytest
import torch
from torch import nn

from dynamicrafter.draws import BatchDraws
from dynamicrafter.errors import InputError
from tests.train.noise_clips import batch_of, objective
from tests.train.validating import build
from train.handover import choose_trainable
from train.precision import autocast, choose_precision, lower_frozen

pytestmark = pytest.mark.usefixtures("one_thread")

CPU = torch.device("cpu")
PRODUCTS = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)
TEMPORAL = ["temporal_transformer", "temporal_conv"]


def lowered(model):
    return {name for name, p in model.named_parameters() if p.dtype == torch.bfloat16}


def products(module, prefix):
    """Parameters of the layers that multiply, by name."""
    return {
        f"{prefix}{place}.{name}"
        for place, layer in module.named_modules()
        if isinstance(layer, PRODUCTS)
        for name, _ in layer.named_parameters()
    }


def frozen_products(model):
    parts = {
        "model.diffusion_model.": model.unet,
        "cond_stage_model.": model.cond_stage_model,
        "embedder.": model.embedder,
    }
    found = set().union(*(products(part, name) for name, part in parts.items() if part))
    return {name for name in found if not model.get_parameter(name).requires_grad}


@pytest.mark.parametrize("trainable", [TEMPORAL, ["image_projector"], ["spatial", *TEMPORAL]])
def test_exactly_frozen_products_of_unet_and_towers_are_lowered(trainable):
    model = build()
    choose_trainable(model, trainable)
    expected = frozen_products(model)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    lower_frozen(model)
    assert lowered(model) == expected
    assert any(name.startswith("cond_stage_model.") for name in expected)
    assert any(name.startswith("embedder.") for name in expected)
    assert any(name.startswith("model.") for name in expected)
    assert not any(name.startswith("first_stage_model.") for name in expected)
    for name, parameter in model.named_parameters():
        assert torch.equal(parameter, before[name].to(parameter.dtype)), name


def test_a_layer_of_which_a_part_is_trained_stays():
    model = build().requires_grad_(False)
    model.unet.time_embed[0].bias.requires_grad_(True)
    lower_frozen(model)
    assert model.unet.time_embed[0].weight.dtype == torch.float32
    assert model.unet.time_embed[2].weight.dtype == torch.bfloat16


def test_norms_embeddings_and_gates_stay():
    model = build().requires_grad_(False)
    lower_frozen(model)
    kept = {n.rpartition(".")[2] for n, p in model.named_parameters() if p.dtype == torch.float32}
    assert {"alpha", "positional_embedding", "class_embedding"} <= kept
    for layer in model.modules():
        if isinstance(layer, nn.GroupNorm | nn.LayerNorm | nn.Embedding):
            assert {p.dtype for p in layer.parameters()} == {torch.float32}


def test_a_model_without_image_tower_is_lowered_too():
    model = build(image_context="none")
    choose_trainable(model, TEMPORAL)
    expected = frozen_products(model)
    lower_frozen(model)
    assert model.embedder is None
    assert lowered(model) == expected


def losses_and_inputs(model, precision):
    goal, batch = objective(), batch_of(1, 2)
    chance = BatchDraws(0, "joint", batch.numbers)
    with autocast(CPU, precision):
        encoded = goal.encode(model, batch, chance)
        drawn = goal.draw(model, encoded, chance)
        losses = goal.losses(model, encoded, drawn)
    losses.mean().backward()
    return losses.detach(), encoded, drawn


def test_in_bf16_losses_noise_and_gradients_are_in_fp32_and_near():
    exact, low = build().eval(), build().eval()
    for model in (exact, low):
        choose_trainable(model, TEMPORAL)
    lower_frozen(low)
    expected, _, drawn = losses_and_inputs(exact, "fp32")
    found, encoded, drawn_low = losses_and_inputs(low, "bf16")
    assert found.dtype == encoded.z.dtype == torch.float32
    assert torch.equal(drawn_low.noise, drawn.noise)
    assert torch.allclose(found, expected, rtol=0.05)
    assert not torch.equal(found, expected)
    gradients = [p.grad for p in low.parameters() if p.grad is not None]
    assert {g.dtype for g in gradients} == {torch.float32}
    assert len(gradients) == sum(p.requires_grad for p in low.parameters())


def test_choices(monkeypatch):
    gpu = torch.device("cuda")
    assert choose_precision("auto", CPU) == "fp32"
    assert choose_precision("bf16", CPU) == "bf16"
    for capability, expected in (((7, 5), "fp32"), ((8, 0), "bf16"), ((9, 0), "bf16")):
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda d, c=capability: c)
        assert choose_precision("auto", gpu) == expected
        assert choose_precision("fp32", gpu) == "fp32"
    with pytest.raises(InputError, match=r"precision=fp16; choose auto, fp32, bf16"):
        choose_precision("fp16", CPU)
