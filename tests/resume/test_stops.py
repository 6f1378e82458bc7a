"""Signals, losses that are not finite, memory, torn checkpoints: one line, then on to the bit."""

import os
import re
import signal
import time

import pytest
import torch

from dynamicrafter import files
from dynamicrafter.model.names import parameter_group
from dynamicrafter.stopping import SIGNALS
from tests.commands.runner import partials, run_until
from tests.resume.in_process import (
    SMALLER,
    STEPS,
    assert_one_line,
    checkpoints_of,
    names,
    train_here,
)
from tests.train.small_runs import arguments, assert_same_training, stage, state_of, steps_of
from train import recipe
from train.journal import read_rows
from train.step import Step
from train.validator import Validator
from train.which_clips import clips_of_step

pytestmark = pytest.mark.slow

INTERRUPTED = "interrupted; the same command goes on where it stopped"


def send(number):
    os.kill(os.getpid(), number)


@pytest.fixture
def goes_on(shards, folder, undisturbed):
    """Asserts that the same command brings `folder` to what an undisturbed run gives."""

    def check():
        assert train_here(shards, folder) == 0
        assert_same_training(undisturbed, folder)
        assert not partials(folder)

    return check


@pytest.fixture
def at_step(monkeypatch):
    """`at_step(n, act)`: in the n-th step from now, before it is taken, `act` gets its losses."""
    gradients = Step.gradients

    def install(step, act):
        calls = []

        def disturbed(self, *arguments):
            losses = gradients(self, *arguments)
            calls.append(losses)
            return act(self, losses) if len(calls) == step else losses

        monkeypatch.setattr(Step, "gradients", disturbed)

    return install


@pytest.mark.sample
def test_a_signal_ends_with_the_step_and_its_checkpoint(shards, folder, goes_on, at_step, capsys):
    """The signal comes in the middle of step 3; there would be no checkpoint before step 4."""

    def act(step, losses):
        send(signal.SIGTERM)
        return losses

    at_step(3, act)
    assert train_here(shards, folder) == 130
    assert_one_line(capsys.readouterr().err, INTERRUPTED)
    assert [row[0] for row in steps_of(folder)] == [1, 2, 3]
    assert checkpoints_of(folder) == names(2, 3)
    state = state_of(stage(folder) / "checkpoints" / names(3)[0])
    assert (state["step"], state["sample_number"]) == (3, 6)
    goes_on()
    assert "step-00000003, read in" in capsys.readouterr().err


@pytest.mark.slow
def test_a_command_that_is_asked_to_stop(shards, folder, goes_on):
    """As a process, by SIGTERM at whatever moment it has written down its first step."""
    metrics = stage(folder) / "metrics.jsonl"
    command = arguments(shards, folder, STEPS, *SMALLER)
    answer = run_until(command, lambda: bool(read_rows(metrics)), signal.SIGTERM)
    assert answer.returncode == 130
    assert_one_line(answer.stderr, INTERRUPTED)
    assert checkpoints_of(folder)[-1] == names(steps_of(folder)[-1][0])[0]
    assert not partials(folder)
    goes_on()


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_before_the_first_step(shards, folder, monkeypatch, capsys, number):
    """While the model is being built nothing is there to be saved."""
    before = signal.getsignal(number)

    def begin(*arguments):
        send(number)
        raise AssertionError("still here")

    monkeypatch.setattr(recipe, "begin_stage", begin)
    assert train_here(shards, folder) == 130
    assert_one_line(capsys.readouterr().err, INTERRUPTED)
    assert signal.getsignal(number) == before
    assert not checkpoints_of(folder)


def test_a_second_signal_does_not_wait_for_the_step(shards, folder, goes_on, at_step, capsys):
    def act(step, losses):
        send(signal.SIGTERM)
        send(signal.SIGTERM)
        raise AssertionError("still here")

    at_step(4, act)
    assert train_here(shards, folder) == 130
    assert_one_line(capsys.readouterr().err, INTERRUPTED)
    assert checkpoints_of(folder) == names(2)
    goes_on()


def test_a_second_signal_while_the_checkpoint_is_written_leaves_it_whole(
    shards, folder, goes_on, at_step, monkeypatch, capsys
):
    """The lock of the folder is held until the writer is done, so that no other run meets it."""
    write, signals = files.write_tensors, iter([signal.SIGINT])

    def slow(path, tensors, metadata=None):
        for number in signals:  # one, from the first file
            send(number)
        time.sleep(0.3)
        write(path, tensors, metadata)

    def act(step, losses):
        send(signal.SIGINT)
        monkeypatch.setattr(files, "write_tensors", slow)
        return losses

    at_step(3, act)
    assert train_here(shards, folder) == 130
    assert_one_line(capsys.readouterr().err, INTERRUPTED)
    monkeypatch.undo()
    assert not partials(folder)
    goes_on()


def test_a_signal_in_the_last_step_is_not_lost(shards, folder, goes_on, at_step, capsys):
    """Else a stage after it would begin."""

    def act(step, losses):
        send(signal.SIGTERM)
        return losses

    at_step(STEPS, act)
    assert train_here(shards, folder) == 130
    assert_one_line(capsys.readouterr().err, INTERRUPTED)
    assert names(STEPS)[0] in checkpoints_of(folder)
    assert not (stage(folder) / "stage.json").exists()
    goes_on()


def test_a_signal_in_the_last_validation_is_not_lost(shards, folder, goes_on, monkeypatch, capsys):
    monkeypatch.setattr(recipe, "open_validator", lambda *arguments: Signalled())
    assert train_here(shards, folder) == 130
    assert_one_line(capsys.readouterr().err, INTERRUPTED)
    assert not (stage(folder) / "stage.json").exists()
    monkeypatch.undo()
    goes_on()


class Signalled(Validator):
    """A validation in which somebody loses patience."""

    def __init__(self):
        """Without any clips."""

    def is_due(self, step, steps):
        return step == steps

    def run(self, step, training, journal, at_end):
        send(signal.SIGUSR1)


@pytest.mark.sample
def test_a_loss_that_is_not_finite_stops_before_the_step(shards, folder, goes_on, at_step, capsys):
    def act(step, losses):
        return losses * torch.tensor([1.0, torch.nan])

    at_step(4, act)
    assert train_here(shards, folder) == 5
    clip = clips_of_step(folder, "joint", 4, captions=False)[1]["key"]
    assert_one_line(
        capsys.readouterr().err,
        "stage joint, step 4: loss nan",
        f"(not finite: no group; clips {clip})",
        "the step was not taken; lower learning_rate",
    )
    assert [row[0] for row in steps_of(folder)] == [1, 2, 3]
    assert checkpoints_of(folder) == names(2)
    goes_on()


def test_a_gradient_that_is_not_finite_is_told_with_its_group(
    shards, folder, goes_on, at_step, capsys
):
    def act(step, losses):
        name = next(n for n in step.trained if parameter_group(n) == "temporal_conv")
        step.trained[name].grad.fill_(torch.inf)
        return losses

    at_step(3, act)
    assert train_here(shards, folder) == 5
    clips = [row["key"] for row in clips_of_step(folder, "joint", 3, captions=False)]
    assert_one_line(
        capsys.readouterr().err,
        "stage joint, step 3: ",
        "gradient norm inf",
        f"(not finite: temporal_conv; clips {', '.join(clips)})",
    )
    assert checkpoints_of(folder) == names(2)
    goes_on()


def test_too_high_a_learning_rate_ends_in_the_same_step_again_and_again(shards, folder, capsys):
    hot = ("recipe.joint.learning_rate=1e20", "recipe.joint.warmup_steps=0")
    told = []
    for _ in range(2):
        assert train_here(shards, folder, *hot, "recipe.joint.checkpoint_every=1") == 5
        told.append(capsys.readouterr().err.splitlines()[-1])
    assert_one_line(told[0], "loss nan", "the step was not taken")
    assert told[0] == told[1]
    step = int(re.search(r"step (\d+)", told[0])[1])
    assert checkpoints_of(folder)[-1] == names(step - 1)[0]


@pytest.mark.slow
def test_out_of_memory_is_told_with_what_to_lower(shards, folder, goes_on, at_step, capsys):
    """Of a GPU, of Python, of the host as torch tells it."""

    def on_device(step, losses):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has")

    def in_python(step, losses):
        raise MemoryError

    def on_host(step, losses):
        return torch.empty(2**62, dtype=torch.uint8)

    for act, said in (
        (on_device, "(CUDA out of memory)"),
        (in_python, "(MemoryError)"),
        (on_host, "can't allocate memory"),
    ):
        at_step(1 if checkpoints_of(folder) else 3, act)
        assert train_here(shards, folder) == 4
        told = capsys.readouterr().err
        assert_one_line(told, "stage joint ran out of memory", said, "microbatch=1", "offload=true")
        assert re.search(r"estimated \d+\.\d GiB at microbatch=2 recompute=none", told)
        assert checkpoints_of(folder) == names(2)
    goes_on()


def test_another_error_is_not_taken_for_a_want_of_memory(shards, folder, at_step):
    def act(step, losses):
        raise RuntimeError("a fault of the toolkit")

    at_step(1, act)
    with pytest.raises(RuntimeError, match="a fault of the toolkit"):
        train_here(shards, folder)


def test_a_torn_checkpoint_is_told_and_the_one_before_is_taken(
    shards, folder, goes_on, at_step, capsys
):
    def act(step, losses):
        send(signal.SIGTERM)
        return losses

    at_step(5, act)
    assert train_here(shards, folder) == 130
    assert checkpoints_of(folder) == names(4, 5)
    torn = stage(folder) / "checkpoints" / names(5)[0] / "optimizer.safetensors"
    torn.write_bytes(torn.read_bytes()[:-1])
    capsys.readouterr()
    goes_on()
    told = capsys.readouterr().err
    assert re.search(r"step-00000005 is damaged \(optimizer\.safetensors: .*going on from an", told)
    assert "step-00000004, read in" in told
