"""Commands that share a store of stages: one trains and the other waits, also after kill -9."""

import random
import time

import pytest

from tests.commands.kills import kill, start
from tests.commands.runner import partials
from tests.resume.in_process import run_here
from tests.train.small_runs import arguments, assert_same_training, stage, wait_for_step
from train.stage_store import trainings

pytestmark = pytest.mark.slow

STEPS = 8
WAITS = "another run trains it; waiting for it"


@pytest.fixture(scope="module")
def undisturbed(shards, tmp_path_factory):
    folder = tmp_path_factory.mktemp("undisturbed") / "run"
    assert run_here(arguments(shards, folder, STEPS)) == 0
    return folder


@pytest.fixture
def command(shards, tmp_path):
    """The command of a run folder; all share a store and a cache of encoded clips."""
    shared = (f"stage_store={tmp_path / 'store'}", f"encoded.folder={tmp_path / 'encoded'}")
    return lambda folder: arguments(shards, folder, STEPS, *shared)


@pytest.mark.sample
def test_two_at_once_train_a_shared_stage_once(command, undisturbed, tmp_path):
    folders = [tmp_path / "first", tmp_path / "second"]
    runs = [start(command(folder), folder.with_suffix(".log")) for folder in folders]
    assert [run.finish() for run in runs] == [0, 0], runs[0].log.read_text()[-2000:]
    assert len(trainings(tmp_path / "store")) == 1
    told = [run.log.read_text() for run in runs]
    assert sorted(text.count("taken from the store") for text in told) == [0, 1]
    assert all(text.count(WAITS) <= 1 for text in told)
    for folder in folders:
        assert_same_training(undisturbed, folder)


@pytest.mark.parametrize("moment", [2, 5])
def test_the_one_that_waits_goes_on_where_the_killed_one_was(
    command, undisturbed, tmp_path, moment
):
    first, second = tmp_path / "first", tmp_path / "second"
    trains = start(command(first), first.with_suffix(".log"))
    assert wait_for_step(trains, first, 1)
    waits = start(command(second), second.with_suffix(".log"))
    if wait_for_step(trains, first, moment):
        time.sleep(random.Random(moment).uniform(0, 0.3))
    kill(trains.process)
    assert waits.finish() == 0, waits.log.read_text()[-2000:]
    assert_same_training(undisturbed, second)
    begun = trainings(tmp_path / "store")
    assert begun[0]["run"] == str(first)
    assert run_here(command(first)) == 0
    assert trainings(tmp_path / "store") == begun
    assert_same_training(undisturbed, first)
    assert not partials(tmp_path)
    assert not stage(first).is_symlink()


@pytest.mark.sample
def test_killed_and_the_same_command_again(command, undisturbed, tmp_path):
    """Killed in a process of its own; what goes on runs in this one."""
    folder = tmp_path / "run"
    run = start(command(folder), folder.with_suffix(".log"))
    assert wait_for_step(run, folder, 5)
    kill(run.process)
    assert run_here(command(folder)) == 0
    assert_same_training(undisturbed, folder)
    anew = [row for row in trainings(tmp_path / "store") if row["seen_steps"] == 0]
    assert len(anew) == 1
    assert not partials(tmp_path)
