"""Layers compute the same in a compiler's hands, and channels-last weights are the same weights."""

import copy

import pytest
import torch

from dynamicrafter.errors import InputError
from dynamicrafter.model.attention import SpatialTransformer
from dynamicrafter.model.blocks import ResBlock
from dynamicrafter.model.compiled import channels_last
from dynamicrafter.model.layers import GroupNorm, GroupNormSiLU
from dynamicrafter.model.temporal import TemporalTransformer
from train.step import choose_compiled


def normal(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def fill(layer):
    """Weights of which none is zero, so that no branch is silent."""
    for number, parameter in enumerate(layer.parameters()):
        parameter.data = normal(*parameter.shape, seed=number) * 0.2
    return layer


@pytest.mark.parametrize("kind", [GroupNorm, GroupNormSiLU])
@pytest.mark.parametrize("offset", [0, 50])
def test_moments_by_channel_make_the_same_norm(kind, offset):
    norm = fill(kind(64, 1e-5)).double()
    x = (normal(3, 64, 5, 7) * 2 + offset * normal(1, 64, 1, 1, seed=1)).double()
    plain = torch.nn.functional.group_norm(x, 32, norm.weight, norm.bias, 1e-5)
    found = norm._by_channel(x)
    assert torch.allclose(found.double(), plain, atol=2e-5 * (1 + offset))


LAYERS = {
    "resblock": (lambda: ResBlock(64, 96, 128, 0.0, temporal=True), lambda: (x_bt(), emb(), 4)),
    "spatial": (
        lambda: SpatialTransformer(64, 48, heads=4, image=True, learned_gate=True),
        lambda: (x_bt(), normal(2, 77, 48), normal(8, 16, 48)),
    ),
    "temporal": (
        lambda: TemporalTransformer(64, heads=4, head_dim=16),
        lambda: (normal(2, 64, 4, 24),),
    ),
}


def x_bt():
    return normal(8, 64, 4, 6)


def emb():
    return normal(8, 128, seed=2)


@pytest.mark.parametrize("name", list(LAYERS))
def test_a_traced_layer_and_its_gradient_are_those_of_the_plain_one(name):
    build, inputs = LAYERS[name]
    plain = fill(build())
    traced = channels_last_copy(plain)
    run = torch.compile(traced.forward, backend="aot_eager", dynamic=False)
    expected, found = plain(*inputs()), run(*inputs())
    assert torch.allclose(found, expected, atol=1e-4, rtol=1e-4)
    expected.square().mean().backward()
    found.square().mean().backward()
    for parameter, other in zip(plain.parameters(), traced.parameters(), strict=True):
        scale = parameter.grad.abs().max()
        assert scale > 0
        assert (parameter.grad - other.grad).abs().max() <= 1e-3 * scale


def channels_last_copy(layer):
    other = copy.deepcopy(layer)
    channels_last(other)
    return other


def test_channels_last_changes_where_weights_lie_and_nothing_else():
    plain = fill(ResBlock(64, 96, 128, 0.0, temporal=True))
    other = channels_last_copy(plain)
    assert other.in_layers[2].weight.is_contiguous(memory_format=torch.channels_last)
    for one, two in zip(plain.parameters(), other.parameters(), strict=True):
        assert torch.equal(one, two)


def test_whether_layers_are_compiled():
    cpu, gpu = torch.device("cpu"), torch.device("cuda")
    assert choose_compiled("auto", gpu, "alone")
    assert not choose_compiled("auto", gpu, "ddp")
    assert not choose_compiled("auto", cpu, "alone")
    assert choose_compiled(True, gpu, "ddp")
    with pytest.raises(InputError, match="compile=maybe"):
        choose_compiled("maybe", cpu, "alone")
