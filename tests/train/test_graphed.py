"""A recorded step: the same losses and gradients whatever the inputs. The GPU is played here."""

import pytest
import torch

from dynamicrafter.draws import BatchDraws
from dynamicrafter.errors import InputError
from tests.train import test_step
from tests.train.noise_clips import batch_of
from train import graphed
from train.graphed import GraphedGradients, is_tensors, tensors_of, with_tensors
from train.step import Fit, choose_recorded

pytestmark = pytest.mark.usefixtures("one_thread")


class Replayed:
    """A recording that reads from where its inputs lay, and writes to where its results lay."""

    made = 0

    def __init__(self, function, inputs, memory=None, before=lambda: None):
        type(self).made += 1
        self.function, self.before, self.owner = function, before, before.__self__
        self.inputs = [None if x is None else x.clone() for x in inputs]
        before()
        self.output = function(*self.inputs)

    def __call__(self, *inputs):
        for here, given in zip(self.inputs, inputs, strict=True):
            if here is not None:
                here.copy_(given)
        self.before()
        self.output.copy_(self.function(*self.inputs))
        for here, there in zip(self.owner._gradients, self.owner._trained, strict=True):
            if here is not None:
                here.copy_(there.grad)
        self.before()
        return self.output


@pytest.fixture(autouse=True)
def recordings(monkeypatch):
    monkeypatch.setattr(Replayed, "made", 0)
    monkeypatch.setattr(graphed, "Recording", Replayed)
    return Replayed


def test_every_call_gives_the_gradient_of_its_own_inputs(recordings):
    weight, unused = torch.randn(3, requires_grad=True), torch.randn(2, requires_grad=True)
    made = GraphedGradients(lambda x, none: (x @ weight).square(), [weight, unused])
    for rows in (4, 4, 4, 2, 4):
        x = torch.randn(rows, 3)
        losses = made([x, None], 0.5)
        assert torch.allclose(losses, (x @ weight).square())
        assert torch.allclose(weight.grad, (x.T @ (x @ weight)))  # 0.5 * d/dw (x w)^2
        assert unused.grad is None
        weight.grad = None  # as an optimizer leaves it
        with torch.no_grad():
            weight += 0.1
    assert recordings.made == 3  # of 4 rows, of 2, and of 4 again
    made([torch.randn(4, 3), None], 0.5)
    made.forget()
    assert weight.grad is None


def test_a_step_replays_with_new_clips_draws_and_masks(recordings, monkeypatch):
    (recorded, _), (plain, _) = test_step.make(fit=Fit(recorded=True)), test_step.make()
    for seed in (3, 4):
        found, expected = (
            test_step.take(step, test_step.NUMBERS, seed=seed) for step in (recorded, plain)
        )
        assert torch.equal(found[0], expected[0])
        assert all(torch.equal(found[1][name], expected[1][name]) for name in expected[1])
    assert recordings.made == 1


@pytest.mark.parametrize(("device", "parallel"), [("cpu", "alone"), ("cuda", "ddp")])
def test_it_is_for_a_single_gpu(device, parallel):
    assert choose_recorded(True, torch.device("cuda"), "alone")
    assert not choose_recorded(False, torch.device(device), parallel)
    with pytest.raises(InputError, match="record_steps=true is for a single GPU"):
        choose_recorded(True, torch.device(device), parallel)


def test_validation_gives_the_memory_back():
    step, _ = test_step.make()
    step._graphed = GraphedGradients(lambda x: x, [])
    step._graphed._recording = object()
    step.train(True)
    assert step._graphed._recording is not None
    step.train(False)
    assert step._graphed._recording is None


@pytest.mark.parametrize(
    ("fit", "rounds", "expected"),
    [(Fit(recorded=True), 1, True), (Fit(recorded=True), 2, False), (Fit(), 1, False)],
)
def test_what_is_recorded(fit, rounds, expected):
    step, model = test_step.make()
    batch, chance = batch_of(*test_step.NUMBERS), BatchDraws(3, "joint", test_step.NUMBERS)
    encoded = test_step.GOAL.encode(model, batch, chance)
    drawn = test_step.GOAL.draw(model, encoded, chance)
    assert is_tensors(encoded)
    assert is_tensors(drawn)
    step._fit = fit
    assert step._is_recorded(rounds, encoded, drawn) is expected
    assert not step._is_recorded(rounds, encoded.z, drawn)  # of the autoencoder
    turned = with_tensors(drawn, [x.flip(0) for x in tensors_of(drawn)])
    assert torch.equal(turned.noise, drawn.noise.flip(0))
    assert torch.equal(turned.drop_text, drawn.drop_text.flip(0))
