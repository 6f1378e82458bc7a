"""kill -9 at a random moment of a training, and the same command again: the same to the bit."""

import random
import time

import pytest

from tests.commands.kills import kill, start
from tests.commands.runner import partials
from tests.train.small_runs import arguments, assert_same_training, train, wait_for_step

STEPS = 20
VALIDATED = (
    "validate.every=7", "validate.clips=2", "validate.strata=2", "validate.samples=0"
)  # fmt: skip


@pytest.fixture(scope="module")
def more(shards):
    return (f"validation={shards}", *VALIDATED)


@pytest.fixture(scope="module")
def undisturbed(shards, more, tmp_path_factory):
    folder = tmp_path_factory.mktemp("undisturbed") / "run"
    result = train(shards, folder, STEPS, *more)
    assert result.returncode == 0, result.stderr
    return folder


def kill_and_go_on(shards, folder, more, draw):
    """Kill before step `n` is over, or soon after; begin again until it is whole."""
    run = start(arguments(shards, folder, STEPS, *more), folder.with_suffix(".log"))
    if wait_for_step(run, folder, draw.randrange(STEPS)):
        time.sleep(draw.uniform(0, 0.3))
    kill(run.process)
    assert not run.orphans()
    result = train(shards, folder, STEPS, *more)
    assert result.returncode == 0, result.stderr
    assert not partials(folder)


@pytest.mark.parametrize("moment", range(3))
def test_a_killed_training_goes_on_to_the_bit(shards, more, undisturbed, tmp_path, moment):
    folder = tmp_path / "run"
    kill_and_go_on(shards, folder, more, random.Random(moment))
    assert_same_training(undisturbed, folder)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("moment", range(3, 23))
def test_twenty_more_moments(shards, more, undisturbed, tmp_path, moment):
    workers = ("loader_workers=2",) if moment % 4 == 0 else ()
    folder = tmp_path / "run"
    kill_and_go_on(shards, folder, (*more, *workers), random.Random(moment))
    assert_same_training(undisturbed, folder)
