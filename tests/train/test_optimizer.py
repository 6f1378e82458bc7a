"""Gradient norms and clipping beside PyTorch's, averages and learning rate in closed form."""

import math

import pytest
import torch
from torch.nn.utils import clip_grad_norm_, get_total_norm

from dynamicrafter.errors import InputError
from dynamicrafter.ranks import Ranks
from train.optimizer import Ema, clip_gradients, gradient_norms, learning_rate, make_optimizer
from train.settings import Settings

UNET = "model.diffusion_model."
GROUPS = {  # name → its group
    f"{UNET}out.2.weight": "spatial",
    f"{UNET}out.2.bias": "spatial",
    f"{UNET}input_blocks.1.2.norm.weight": "temporal_transformer",
    f"{UNET}input_blocks.1.1.transformer_blocks.0.attn2.alpha": "lambda_alpha",
    "image_proj_model.latents": "image_projector",
}


def make_settings(**changes):
    return Settings(**{"name": "x", "steps": 110, "batch": 1, "learning_rate": 1.0, **changes})


def parameters(seed=0, scale=1.0):
    """One for each name, with gradients of quite different sizes, and one without."""
    chance = torch.Generator().manual_seed(seed)
    found = {}
    for number, name in enumerate(GROUPS):
        shape = () if name.endswith("alpha") else (7, number + 2)
        found[name] = torch.nn.Parameter(torch.randn(shape, generator=chance))
        found[name].grad = scale * 10**number * torch.randn(shape, generator=chance)
    found["image_proj_model.unused"] = torch.nn.Parameter(torch.zeros(3))
    return found


def test_norms_are_those_of_pytorch_for_every_group():
    trained = parameters()
    norms = gradient_norms(trained, Ranks())
    assert set(norms) == {"", *GROUPS.values()}
    for group in norms:
        members = [name for name in GROUPS if group in ("", GROUPS[name])]
        expected = get_total_norm([trained[name].grad for name in members])
        assert norms[group] == pytest.approx(expected.item(), rel=1e-6)
    squares = math.fsum(norm**2 for group, norm in norms.items() if group)
    assert norms[""] == pytest.approx(math.sqrt(squares), rel=1e-12)


def test_the_norm_of_large_gradients_is_finite_in_sum():
    """Squares are added in double precision: each of these overflows in single."""
    trained = {name: torch.nn.Parameter(torch.zeros(1)) for name in GROUPS}
    for parameter in trained.values():
        parameter.grad = torch.full((1,), 1e25)
    assert gradient_norms(trained, Ranks())[""] == pytest.approx(math.sqrt(5) * 1e25)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_gradient_that_is_not_finite_shows_in_its_group(value):
    trained = parameters()
    trained["image_proj_model.latents"].grad[0, 0] = value
    norms = gradient_norms(trained, Ranks())
    odd = {group for group, norm in norms.items() if not math.isfinite(norm)}
    assert odd == {"", "image_projector"}


@pytest.mark.parametrize("scale", [1e-6, 1e-4, 1.0, 1e4])
def test_clipping_is_that_of_pytorch(scale):
    ours, theirs = parameters(scale=scale), parameters(scale=scale)
    norm = gradient_norms(ours, Ranks())[""]
    clip_gradients(ours, norm, limit=0.5)
    expected = clip_grad_norm_(theirs.values(), 0.5)
    assert norm == pytest.approx(expected.item(), rel=1e-6)
    for name in GROUPS:
        assert torch.allclose(ours[name].grad, theirs[name].grad, rtol=2e-6, atol=0)
    assert gradient_norms(ours, Ranks())[""] <= 0.5 * (1 + 1e-6)


def test_small_gradients_are_left_to_the_bit():
    trained, untouched = parameters(scale=1e-6), parameters(scale=1e-6)
    norm = gradient_norms(trained, Ranks())[""]
    assert norm < 0.5
    clip_gradients(trained, norm, limit=0.5)
    assert all(torch.equal(trained[name].grad, untouched[name].grad) for name in GROUPS)


def test_the_optimizer_is_adamw_with_the_settings():
    """First step: the moments' corrections cancel, so it is decay, then the gradient's sign."""
    trained = parameters()
    before = {name: p.detach().clone() for name, p in trained.items()}
    settings = make_settings(learning_rate=0.01, weight_decay=0.1, betas=(0.8, 0.95))
    optimizer = make_optimizer(trained, settings)
    optimizer.step()
    for name in GROUPS:
        moved = before[name] * (1 - 0.01 * 0.1) - 0.01 * trained[name].grad.sign()
        assert torch.allclose(trained[name], moved, atol=1e-6)
        moments = optimizer.state[trained[name]]
        assert torch.allclose(moments["exp_avg"], 0.2 * trained[name].grad, rtol=1e-5)
        assert torch.allclose(moments["exp_avg_sq"], 0.05 * trained[name].grad ** 2, rtol=1e-5)
    assert torch.equal(trained["image_proj_model.unused"], torch.zeros(3))


def test_averages_in_closed_form():
    """After n updates: d^n x_0 + (1 - d) * sum of d^(n-i) x_i."""
    trained = {
        "a": torch.nn.Parameter(torch.tensor([1.0, -2.0])),
        "b": torch.nn.Parameter(torch.ones(())),
    }
    ema = Ema(trained, decay=0.9)
    history = [trained["a"].detach().clone()]
    for i in range(1, 31):
        trained["a"].data.add_(torch.tensor([0.1 * i, math.sin(i)]))
        history.append(trained["a"].detach().clone())
        ema.update()
    expected = 0.9**30 * history[0].double()
    for i in range(1, 31):
        expected += 0.1 * 0.9 ** (30 - i) * history[i].double()
    assert torch.allclose(ema.average["a"].double(), expected, rtol=1e-5)
    assert torch.equal(ema.average["b"], torch.ones(()))


def test_averages_begin_at_the_present_values_and_are_their_own_tensors():
    trained = parameters()
    ema = Ema(trained, decay=0.5)
    assert all(torch.equal(ema.average[name], trained[name]) for name in GROUPS)
    trained["image_proj_model.latents"].data.zero_()
    assert ema.average["image_proj_model.latents"].abs().min() > 0
    assert not any(average.requires_grad for average in ema.average.values())


def test_in_place_swaps_and_restores_to_the_bit():
    trained = parameters()
    ema = Ema(trained, decay=0.9)
    for parameter in trained.values():
        parameter.data.mul_(1.7)
    ema.update()
    present = {name: p.detach().clone() for name, p in trained.items()}
    average = {name: tensor.clone() for name, tensor in ema.average.items()}
    identities = {name: p.data_ptr() for name, p in trained.items()}

    def everything_is(weights, averages):
        return all(
            torch.equal(trained[name], weights[name])
            and torch.equal(ema.average[name], averages[name])
            for name in trained
        )

    with ema.in_place():
        assert everything_is(average, present)
        assert torch.is_grad_enabled()
    assert everything_is(present, average)
    with pytest.raises(ZeroDivisionError), ema.in_place():
        raise ZeroDivisionError
    assert everything_is(present, average)
    assert {name: p.data_ptr() for name, p in trained.items()} == identities


def test_the_learning_rate_warms_up_and_falls():
    settings = make_settings(warmup_steps=10, final_learning_rate=0.1)
    assert learning_rate(settings, 0) == pytest.approx(0.1)
    assert learning_rate(settings, 9) == pytest.approx(1.0)
    assert learning_rate(settings, 10) == pytest.approx(1.0)
    assert learning_rate(settings, 35) == pytest.approx(0.1 + 0.9 * (0.5 + math.sqrt(0.125)))
    assert learning_rate(settings, 60) == pytest.approx(0.55)
    assert learning_rate(settings, 110) == pytest.approx(0.1)


def test_the_learning_rate_is_constant_by_default():
    settings = make_settings(learning_rate=3e-5)
    assert [learning_rate(settings, step) for step in (0, 1, 50, 109)] == [3e-5] * 4


def test_warm_up_may_be_as_long_as_the_training():
    settings = make_settings(steps=4, warmup_steps=4)
    assert [learning_rate(settings, step) for step in range(4)] == [0.25, 0.5, 0.75, 1.0]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"steps": 0}, r"stage x: steps is 0, not 1 or more"),
        ({"batch": 0}, r"stage x: batch is 0"),
        ({"keep_last": 0}, r"stage x: keep_last is 0"),
        ({"learning_rate": math.nan}, r"stage x: learning_rate is nan"),
        ({"learning_rate": -1.0}, r"stage x: learning_rate is -1"),
        ({"ema_decay": 1.0}, r"stage x: ema_decay is 1\.0; choose 0 to 1"),
    ],
)
def test_settings_that_cannot_be_are_refused(changes, message):
    with pytest.raises(InputError, match=message):
        make_settings(**changes)
