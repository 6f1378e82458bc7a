"""The gates λ: read in order, scaled where they are named, put back afterwards."""

import math

import pytest
import torch

from dynamicrafter import draws
from dynamicrafter.errors import InputError
from dynamicrafter.model.gates import read_gates, scaled_gates
from dynamicrafter.model.names import parameter_group
from dynamicrafter.model.unet import UNet, UNetConfig
from tests.model import tiny

LAYERS = ["input_blocks.1", "middle_block", "output_blocks.2", "output_blocks.3"]


@pytest.fixture
def unet():
    unet = tiny.build(tiny.learned_gates(tiny.tree())).unet.requires_grad_(False)
    for name, parameter in unet.named_parameters():  # an image stream that matters
        if parameter_group(name) == "image_cross_attention_kv":
            parameter.mul_(20)
    return unet


def call(unet, factors):
    x = draws.normal(0, 0, "x", (1, 8, 2, 8, 8))
    context = draws.normal(0, 0, "context", (1, 77 + 32, 32))
    with scaled_gates(unet, factors), torch.no_grad():
        return unet(x, torch.tensor([500]), context, torch.tensor([3]))


def alphas(unet):
    return [p for name, p in unet.named_parameters() if parameter_group(name) == "lambda_alpha"]


def test_gates_are_read_in_the_order_of_the_forward_pass(unet):
    gates = read_gates(unet)
    assert [gate.layer for gate in gates] == LAYERS
    expected = [math.tanh(float(alpha)) + 1 for alpha in alphas(unet)]
    assert [gate.value for gate in gates] == pytest.approx(expected)
    assert {gate.learned for gate in gates} == {True}
    assert [gate.width for gate in gates] == [32, 64, 32, 32]


def test_the_released_256_model_has_sixteen():
    with torch.device("meta"):
        fixed = UNet(UNetConfig())
    gates = read_gates(fixed)
    assert len(gates) == 16
    assert {(gate.value, gate.learned) for gate in gates} == {(1.0, False)}
    assert [gate.width for gate in gates[:6]] == [320, 320, 640, 640, 1280, 1280]
    assert gates[6].layer == "middle_block"
    none = UNetConfig(image_context="none")
    with torch.device("meta"):
        assert read_gates(UNet(none)) == []


def test_scaling_is_scaling_of_lambda(unet):
    """A factor on every gate equals other alphas: tanh(a') + 1 = f (tanh(a) + 1)."""
    factor, found = 0.7, call(unet, {"all": 0.7})
    assert not torch.allclose(found, call(unet, {}), atol=1e-4)
    for alpha in alphas(unet):
        alpha.copy_(torch.atanh(factor * (torch.tanh(alpha) + 1) - 1))
    assert torch.allclose(found, call(unet, {}), atol=1e-5)


def test_the_longest_name_decides_and_everything_is_put_back(unet):
    before = call(unet, {})
    some = call(unet, {"all": 0.0, "output_blocks": 2.0, "output_blocks.3": 1.0})
    exact = {"input_blocks.1": 0.0, "middle_block": 0.0, "output_blocks.2": 2.0}
    assert torch.equal(some, call(unet, exact))
    with pytest.raises(ZeroDivisionError), scaled_gates(unet, {"all": 3.0}):
        _ = 1 / 0
    assert torch.equal(call(unet, {}), before)


@pytest.mark.parametrize(
    ("factors", "said"),
    [
        ({"input_blocks.2": 1.0}, r"no layer 'input_blocks\.2'; the layers are input_blocks\.1, "),
        ({"output": 1.0}, "no layer 'output'"),
        ({"all": "much"}, "the factor of all is 'much'"),
        ({"all": True}, "the factor of all is True"),
        ({"all": float("nan")}, "the factor of all is nan"),
    ],
)
def test_what_cannot_be_scaled_is_refused(unet, factors, said):
    with pytest.raises(InputError, match=said):
        call(unet, factors)
