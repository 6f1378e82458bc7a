"""Compiled layers in a training: the same steps but for rounding, whole, killed, or divided."""

import shutil

import pytest

from tests.commands.kills import kill, start
from tests.train.small_runs import (
    arguments,
    assert_alike,
    assert_same_training,
    start_ranks,
    trained,
    wait_for_step,
)

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(1800),
    pytest.mark.skipif(not shutil.which("g++"), reason="compiling for a CPU needs g++"),
]

STEPS = 6
COMPILED = ("compile=true", "recipe.joint.learning_rate=1e-4")


@pytest.fixture(scope="module")
def compiled(shards, tmp_path_factory):
    return trained(shards, tmp_path_factory.mktemp("compiled") / "run", STEPS, *COMPILED)


def test_the_steps_are_those_of_plain_layers(shards, compiled, tmp_path):
    plain = trained(shards, tmp_path / "run", STEPS, *COMPILED, "compile=false")
    assert_alike(plain, compiled, tolerance=1e-4)


def test_one_that_is_killed_goes_on_to_the_bit(shards, compiled, tmp_path):
    folder = tmp_path / "run"
    run = start(arguments(shards, folder, STEPS, *COMPILED), tmp_path / "run.log")
    assert wait_for_step(run, folder, 4, limit_s=600)  # one after a checkpoint
    kill(run.process)
    assert_same_training(compiled, trained(shards, folder, STEPS, *COMPILED))


def test_sharded_ranks_compile_too(shards, compiled, tmp_path):
    more = (*COMPILED, "microbatch=1", "parallel=fsdp")
    ranks = start_ranks(2, shards, tmp_path / "run", STEPS, *more)
    codes = [rank.finish(limit_s=1200) for rank in ranks]
    assert codes == [0, 0], ranks[0].log.read_text()[-3000:]
    assert_alike(compiled, tmp_path / "run", tolerance=1e-4)
