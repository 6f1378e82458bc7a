"""The same global batch on one rank and on two, sharded or not, with any number of workers."""

import pytest

from tests.commands.kills import kill
from tests.train.small_runs import (
    assert_alike,
    assert_same_training,
    stage,
    start_ranks,
    trained,
    wait_for_step,
)

pytestmark = pytest.mark.slow

STEPS = 4
ALIKE = ("microbatch=1", "recipe.joint.learning_rate=1e-4")


@pytest.fixture(scope="module")
def alone(shards, tmp_path_factory):
    return trained(shards, tmp_path_factory.mktemp("alone") / "run", STEPS, *ALIKE)


def together(shards, folder, *more):
    ranks = start_ranks(2, shards, folder, STEPS, *ALIKE, *more)
    assert [rank.finish() for rank in ranks] == [0, 0], ranks[0].log.read_text()[-3000:]
    return folder


@pytest.mark.sample
def test_two_ranks_take_the_same_steps(shards, alone, tmp_path):
    """To the bit: the sums of gradients are of the same micro-batches in the same order."""
    folder = together(shards, tmp_path / "run")
    assert_alike(alone, folder)
    assert not list(tmp_path.rglob("*.partial"))


@pytest.mark.sample
def test_sharded_ranks_take_the_same_steps(shards, alone, tmp_path):
    folder = together(shards, tmp_path / "run", "parallel=fsdp", "recompute=full")
    assert_alike(alone, folder)


@pytest.mark.parametrize("again", ["alone", "sharded"])
def test_a_sharded_run_goes_on(shards, alone, tmp_path, again):
    """A checkpoint holds whole tensors: it does not depend on who wrote it."""
    folder = tmp_path / "run"
    ranks = start_ranks(2, shards, folder, STEPS, *ALIKE, "parallel=fsdp")
    assert wait_for_step(ranks[0], folder, 3)
    for rank in ranks:
        kill(rank.process)
    if again == "alone":
        trained(shards, folder, STEPS, *ALIKE)
    else:
        together(shards, folder, "parallel=fsdp")
    assert_alike(alone, folder)


@pytest.mark.parametrize("workers", [1, 4])
def test_loader_workers_change_nothing(shards, alone, tmp_path, workers):
    folder = trained(shards, tmp_path / "run", STEPS, *ALIKE, f"loader_workers={workers}")
    assert_same_training(alone, folder)


@pytest.mark.parametrize("choice", [("microbatch=2",), ("microbatch=4", "recompute=selective")])
def test_micro_batches_and_recomputing_change_rounding_only(shards, alone, tmp_path, choice):
    folder = trained(shards, tmp_path / "run", STEPS, *ALIKE, *choice)
    assert_alike(alone, folder, tolerance=1e-5)


@pytest.mark.sample
def test_when_a_rank_dies_the_other_ends_and_says_so(shards, tmp_path):
    folder = tmp_path / "run"
    ranks = start_ranks(2, shards, folder, 500, *ALIKE)
    assert wait_for_step(ranks[0], folder, 2)
    kill(ranks[1].process)
    assert ranks[0].finish(limit_s=60) == 4
    log = ranks[0].log.read_text()
    assert "rank 1" in log or "lost another rank" in log
    assert "Traceback" not in log
    assert "start all of them again" in log or "ending" in log


def test_a_batch_that_ranks_cannot_share_is_refused(shards, tmp_path):
    ranks = start_ranks(3, shards, tmp_path / "run", 4)
    assert {rank.finish(limit_s=120) for rank in ranks} <= {2, 4}
    logs = "".join(rank.log.read_text() for rank in ranks)
    assert "batch" in logs
    assert "Traceback" not in logs
    assert not (stage(tmp_path / "run") / "metrics.jsonl").exists()
