"""Precision and offload on the CPU: what is lowered, what is put back, what overflows."""

import pytest
import torch

from dynamicrafter import draws
from dynamicrafter.errors import InputError
from dynamicrafter.model.placement import Placement
from tests.model import tiny

CPU = torch.device("cpu")


@pytest.fixture
def model():
    return tiny.build(tiny.learned_gates(tiny.tree())).requires_grad_(False)


def call(model):
    x = draws.normal(0, 0, "x", (2, 8, 2, 8, 8))
    context = draws.normal(0, 0, "context", (2, 77 + 32, 32))
    return model.unet(x, torch.tensor([10, 900]), context, torch.tensor([3, 9]))


def relative(value, expected):
    return (value.float() - expected).norm() / expected.norm()


def test_only_linear_and_convolutional_layers_of_the_unet_are_lowered(model):
    Placement(model, CPU, "bf16", offload=False)
    dtypes = {name: tensor.dtype for name, tensor in model.state_dict().items()}
    lowered = {name for name, dtype in dtypes.items() if dtype == torch.bfloat16}
    assert all(name.startswith("model.diffusion_model.") for name in lowered)
    kept = {name for name in dtypes if name.startswith("model.diffusion_model.")} - lowered
    # Embeddings of the schedule are linear layers too; norms and gates are not.
    assert {model.state_dict()[name].ndim for name in kept} == {0, 1}
    assert len(kept) > 50


@torch.no_grad()
def test_lowered_weights_give_what_autocast_gives(model):
    expected = call(model)
    with torch.autocast("cpu", torch.bfloat16):
        autocast = call(model)
    placement = Placement(model, CPU, "bf16", offload=False)
    with placement.using("unet"):
        lowered = call(model)
    assert torch.equal(lowered, autocast)
    assert 0 < relative(lowered, expected) < 0.03


@torch.no_grad()
def test_offload_gives_the_weights_back(model):
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    expected = call(model)
    placement = Placement(model, CPU, "bf16", offload=True)
    with placement.using("unet"):
        assert model.unet.out[-1].weight.dtype == torch.bfloat16
    after = model.state_dict()
    assert all(after[name].dtype == before[name].dtype for name in before)
    assert all(torch.equal(after[name], before[name]) for name in before)
    assert torch.equal(call(model), expected)


@torch.no_grad()
def test_fp16_overflows_in_the_decoder_where_ours_does_not(model):
    """The reported black videos: an activation beyond 65504 is infinite in fp16, then NaN."""
    autoencoder = model.first_stage_model
    z = draws.normal(0, 0, "z", (1, 4, 2, 8, 8))
    peak = {}

    def watch(name):
        return lambda _, __, out: peak.__setitem__(name, float(out.detach().abs().max()))

    convolutions = {
        name: layer
        for name, layer in autoencoder.decoder.named_modules()
        if isinstance(layer, torch.nn.Conv2d)
    }
    handles = [layer.register_forward_hook(watch(name)) for name, layer in convolutions.items()]
    scale = 1.0
    model.decode_latents(z)
    while max(peak.values()) <= 65504:  # in the middle of the decoder; a norm undoes the scale
        autoencoder.decoder.conv_in.weight.mul_(4)
        autoencoder.decoder.conv_in.bias.mul_(4)
        scale *= 4
        model.decode_latents(z)
    for handle in handles:
        handle.remove()
    assert scale > 1

    expected = model.double().decode_latents(z.double())
    model.float()
    with torch.autocast("cpu", torch.float16):
        assert not torch.isfinite(model.decode_latents(z)).all()
    placement = Placement(model, CPU, "bf16", offload=False)
    # Whatever surrounds it, the autoencoder computes in fp32.
    with torch.autocast("cpu", torch.float16), placement.using("autoencoder"):
        ours = model.decode_latents(z)
    assert torch.isfinite(ours).all()
    assert relative(ours, expected) < 1e-5


def test_choices_that_do_not_exist(model):
    with pytest.raises(InputError, match="precision=fp16; choose auto, fp32, bf16"):
        Placement(model, CPU, "fp16")
    with pytest.raises(InputError, match="offload=maybe; choose auto, true or false"):
        Placement(model, CPU, "auto", "maybe")
    assert Placement(model, CPU).precision == "fp32"
    assert not Placement(model, CPU).offload
