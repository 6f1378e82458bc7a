"""kill -9 at a random moment of a training, and the same command again: the same to the bit."""

import random
import time

import pytest

from tests.commands.kills import kill, start
from tests.commands.runner import partials
from tests.resume.in_process import run_here
from tests.train.small_runs import arguments, assert_same_training, trained, wait_for_step

STEPS = 20
FEW = 8  # where one kill is enough
VALIDATED = (
    "validate.every=7", "validate.clips=2", "validate.strata=2", "validate.samples=0"
)  # fmt: skip


@pytest.fixture(scope="module")
def more(shards):
    return (f"validation={shards}", *VALIDATED)


@pytest.fixture(scope="module")
def undisturbed(shards, more, tmp_path_factory):
    return trained(shards, tmp_path_factory.mktemp("undisturbed") / "run", STEPS, *more)


def kill_at(command, folder, step, draw):
    """Begin or go on, and kill before step `step` is over, or soon after."""
    run = start(command, folder.with_suffix(".log"))
    if wait_for_step(run, folder, step):
        time.sleep(draw.uniform(0, 0.3))
    kill(run.process)
    assert not run.orphans()


def go_on(shards, folder, more):
    """The same command again, to the end."""
    trained(shards, folder, STEPS, *more)
    assert not partials(folder)


def test_a_killed_training_goes_on_to_the_bit(shards, more, tmp_path):
    """Killed in a process of its own; what goes on, and what never stops, runs in this one."""
    whole, folder = tmp_path / "whole", tmp_path / "run"
    assert run_here(arguments(shards, whole, FEW, *more)) == 0
    command, draw = arguments(shards, folder, FEW, *more), random.Random(0)
    kill_at(command, folder, 3 + draw.randrange(4), draw)
    assert run_here(command) == 0
    assert not partials(folder)
    assert_same_training(whole, folder)


@pytest.mark.slow
@pytest.mark.sample
def test_a_training_killed_three_times_goes_on_to_the_bit(shards, more, undisturbed, tmp_path):
    folder, draw = tmp_path / "run", random.Random(0)
    for moment in (3, 9, 15):
        kill_at(arguments(shards, folder, STEPS, *more), folder, moment + draw.randrange(4), draw)
    go_on(shards, folder, more)
    assert_same_training(undisturbed, folder)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("moment", range(3, 23))
def test_twenty_more_moments(shards, more, undisturbed, tmp_path, moment):
    workers = ("loader_workers=2",) if moment % 4 == 0 else ()
    folder, draw = tmp_path / "run", random.Random(moment)
    command = arguments(shards, folder, STEPS, *more, *workers)
    kill_at(command, folder, draw.randrange(STEPS), draw)
    go_on(shards, folder, (*more, *workers))
    assert_same_training(undisturbed, folder)
