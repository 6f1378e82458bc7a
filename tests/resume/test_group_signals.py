"""Signals that go to all processes of a job, as Slurm's and a terminal's do: the loaders stay."""

import os
import signal
import time

import pytest

from dynamicrafter.stopping import SIGNALS, kept_from_children
from tests.commands.kills import start
from tests.resume.in_process import SMALLER, assert_one_line, checkpoints_of, names
from tests.train.small_runs import arguments

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("number", SIGNALS)
def test_they_are_blocked_in_the_block_alone(number):
    assert number not in signal.pthread_sigmask(signal.SIG_BLOCK, ())
    with kept_from_children():
        assert number in signal.pthread_sigmask(signal.SIG_BLOCK, ())
    assert number not in signal.pthread_sigmask(signal.SIG_BLOCK, ())


@pytest.mark.slow
@pytest.mark.parametrize("number", SIGNALS)
def test_the_step_is_finished_although_its_loader_has_just_been_started(shards, tmp_path, number):
    folder, log = tmp_path / "run", tmp_path / "log"
    run = start(arguments(shards, folder, 60, *SMALLER, "loader_workers=1"), log)
    while not any("spawn_main" in " ".join(below.cmdline()) for below in run.look()):
        assert run.process.poll() is None, log.read_text()
        time.sleep(0.02)
    os.killpg(run.process.pid, number)
    assert run.finish() == 130
    assert_one_line(log.read_text(), "interrupted; the same command goes on")
    assert checkpoints_of(folder) == names(1)
    assert not run.orphans()
