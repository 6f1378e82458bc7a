"""A step's gradient is that of the mean loss, however it is cut up and made to fit."""

import pytest
import torch

from dynamicrafter.draws import BatchDraws
from dynamicrafter.model.dropout import keyed_dropout
from dynamicrafter.ranks import Ranks
from tests.train.noise_clips import batch_of, objective
from tests.train.validating import build
from train.handover import choose_trainable
from train.objectives import Reconstruction
from train.step import Fit, Step
from train.stopwatch import Stopwatch

pytestmark = pytest.mark.usefixtures("one_thread")

CPU = torch.device("cpu")
NUMBERS = (4, 5, 6, 7)
TRAINED = ["image_projector", "temporal_transformer", "temporal_conv", "lambda_alpha"]
GOAL = objective(drop_conditions=0.3)
PLAIN, ALONE = Fit(), Ranks()


def make(goal=GOAL, fit=PLAIN, trainable=TRAINED, ranks=ALONE):
    model = build()
    choose_trainable(model, trainable)
    return Step(model, goal, CPU, fit, ranks), model


def take(step, *parts, seed=3):
    """Losses and gradients of a step whose micro-batches are `parts`."""
    step.train()
    batches = [batch_of(*part) for part in parts]
    losses = step.gradients(batches, seed, "joint", len(NUMBERS), Stopwatch(CPU))
    gradients = {name: p.grad.clone() for name, p in step.trained.items()}
    for parameter in step.trained.values():
        parameter.grad = None
    return losses, gradients


def assert_near(found, expected):
    """Up to rounding; a bias before a norm has a gradient of zero, but for rounding."""
    assert found.keys() == expected.keys()
    largest = max(value.abs().max() for value in expected.values())
    for name, value in expected.items():
        error = (found[name] - value).abs().max() / max(value.abs().max(), 1e-2 * largest)
        assert error < 1e-4, f"{name}: {error:.1e}"


@pytest.fixture(scope="module")
def together():
    return take(make()[0], NUMBERS)


def test_it_is_the_gradient_of_the_mean_loss_with_dropout_by_sample(together):
    """Put together by hand."""
    _, model = make()
    model.train()
    batch = batch_of(*NUMBERS)
    chance = BatchDraws(3, "joint", NUMBERS)
    encoded = GOAL.encode(model, batch, chance)
    drawn = GOAL.draw(model, encoded, chance)
    with keyed_dropout(model.unet, 3, "joint/dropout", NUMBERS):
        expected = GOAL.losses(model, encoded, drawn)
        expected.mean().backward()
    losses, gradients = together
    assert torch.equal(losses, expected.detach())
    own = {n: p.grad for n, p in model.named_parameters() if p.grad is not None}
    assert gradients.keys() == own.keys()
    assert all(torch.equal(gradients[name], own[name]) for name in own)


@pytest.mark.parametrize("parts", [[(4, 5), (6, 7)], [(4,), (5,), (6,), (7,)]], ids=["2x2", "4x1"])
def test_microbatches_change_rounding_alone(together, parts):
    losses, gradients = take(make()[0], *parts)
    assert torch.allclose(losses, together[0], rtol=1e-4)
    assert_near(gradients, together[1])


def test_ranks_average_to_the_same(together):
    """Each of two ranks scales its sum so that the average over them is the global mean."""
    found = [take(make(ranks=Ranks(r, 2))[0], NUMBERS[2 * r : 2 * r + 2]) for r in range(2)]
    losses = torch.cat([losses for losses, _ in found])
    assert torch.allclose(losses, together[0], rtol=1e-4)
    averaged = {name: (found[0][1][name] + found[1][1][name]) / 2 for name in found[0][1]}
    assert_near(averaged, together[1])


@pytest.mark.parametrize(
    "fit", [Fit(recompute="selective"), Fit(recompute="full"), Fit(offload=True)], ids=str
)
def test_what_makes_it_fit_changes_nothing(together, fit):
    losses, gradients = take(make(fit=fit)[0], NUMBERS)
    assert torch.equal(losses, together[0])
    assert all(torch.equal(gradients[name], together[1][name]) for name in gradients)


def test_in_bf16_recomputing_changes_nothing_either():
    plain, full = (make(fit=Fit("bf16", choice))[0] for choice in ("none", "full"))
    expected, found = take(plain, NUMBERS), take(full, NUMBERS)
    assert torch.equal(found[0], expected[0])
    assert all(torch.equal(found[1][name], expected[1][name]) for name in expected[1])


def test_bf16_is_near_and_its_master_weights_are_fp32(together):
    step, _ = make(fit=Fit(precision="bf16"))
    losses, gradients = take(step, NUMBERS)
    assert {p.dtype for p in step.trained.values()} == {torch.float32}
    assert torch.allclose(losses, together[0], rtol=0.1)
    cosine = torch.nn.functional.cosine_similarity(
        *(torch.cat([g.flatten() for g in found.values()]) for found in (gradients, together[1])),
        dim=0,
    )
    assert cosine > 0.97


def test_global_randomness_is_neither_used_nor_moved(together):
    with torch.random.fork_rng():
        torch.manual_seed(1234)
        state = torch.get_rng_state()
        losses, gradients = take(make()[0], NUMBERS)
        assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(losses, together[0])
    assert all(torch.equal(gradients[name], together[1][name]) for name in gradients)


def test_another_seed_draws_otherwise(together):
    losses, _ = take(make()[0], NUMBERS, seed=4)
    assert not torch.allclose(losses, together[0], rtol=1e-3)


def test_dropout_is_on_in_training_and_off_otherwise(together):
    step, _ = make()
    step.train(False)
    batches = [batch_of(*NUMBERS)]
    losses = step.gradients(batches, 3, "joint", len(NUMBERS), Stopwatch(CPU))
    assert not torch.allclose(losses, together[0], rtol=1e-3)


def test_exactly_the_chosen_groups_are_trained_and_nothing_else_gets_a_gradient():
    step, model = make(trainable=["temporal_conv"])
    take(step, NUMBERS[:1])
    assert set(step.trained) == {n for n, p in model.named_parameters() if p.requires_grad}
    assert all("temopral_conv" in name for name in step.trained)


def test_phases_are_timed():
    step, _ = make()
    watch = Stopwatch(CPU)
    step.gradients([batch_of(4)], 3, "joint", 1, watch)
    row = watch.read()
    assert min(row[phase] for phase in ("encode", "forward", "backward")) > 0


def test_an_autoencoder_is_trained_by_reconstruction():
    goal = Reconstruction()
    step, model = make(goal=goal, trainable=["autoencoder"])
    losses, gradients = take(step, NUMBERS[:2], NUMBERS[2:])
    batch, chance = batch_of(*NUMBERS), BatchDraws(3, "joint", NUMBERS)
    encoded = goal.encode(model, batch, chance)
    expected = goal.losses(model, encoded, goal.draw(model, encoded, chance))
    expected.mean().backward()
    assert all(name.startswith("first_stage_model.") for name in step.trained)
    assert torch.allclose(losses, expected.detach(), rtol=1e-4)
    assert_near(gradients, {name: p.grad for name, p in step.trained.items()})
