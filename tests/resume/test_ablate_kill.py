"""A matrix of two arms and two seeds on real clips: what is shared, killed, begun again."""

import json
import signal

import pytest

from dynamicrafter import ablation
from tests.commands.conftest import (  # noqa: F401 - fixtures
    other_shards,
    real_clips,
    real_shards,
)
from tests.commands.runner import run, run_until
from train.stage_store import trainings

pytestmark = [pytest.mark.slow, pytest.mark.sample, pytest.mark.timeout(1800)]

STAGES = {"autoencoder": 4, "context": 2, "adapt": 2, "joint": 6}
SMALL = [
    "+experiment=demo/train", "threads=1", "model.resolution=[16,16]",
    "model.unet.channel_mult=[1,2]", "recipe.joint.checkpoint_every=1", "validate.clips=4",
    "validate.strata=2", "validate.every=100", "validate.sample_every=0", "validate.samples=0",
    *(f"recipe.{name}.steps={steps}" for name, steps in STAGES.items()),
    *(f"recipe.{name}.batch=1" for name in STAGES),
]  # fmt: skip
ANIMATE = ["+experiment=demo/animate", "count=3", "threads=1", "sampling.steps=2"]
EVAL = ["device=cpu", "pairs=1", "second_reference=null"]
TABLES = ("ablation.md", "ablation.tex", "ablation.csv", "losses.csv")


@pytest.fixture(scope="module")
def arguments(real_shards, other_shards):  # noqa: F811 - fixtures
    return [
        "ablate", "arms=[full,wo_vdg]", "seeds=[0,1]", f"data={real_shards}",
        f"validation={other_shards}", "tracking=disabled", f"extra.train={json.dumps(SMALL)}",
        f"extra.animate={json.dumps(ANIMATE)}", f"extra.eval={json.dumps(EVAL)}",
    ]  # fmt: skip


@pytest.fixture(scope="module")
def undisturbed(arguments, tmp_path_factory):
    """A matrix that nobody disturbs, two cells at once."""
    folder = tmp_path_factory.mktemp("undisturbed") / "run"
    result = run(*arguments, f"run_dir={folder}", "side_by_side=2")
    assert result.returncode == 0, result.stderr
    return folder


def begun_anew(folder):
    """Stage and run of every training that began from nothing."""
    found = trainings(folder / "stages")
    return sorted((one["stage"], one["key"]) for one in found if one["seen_steps"] == 0)


def test_stages_that_arms_share_are_trained_once(undisturbed):
    begun = begun_anew(undisturbed)
    names = [name for name, _ in begun]
    assert {name: names.count(name) for name in STAGES} == {
        "autoencoder": 2,  # one a seed
        "context": 2,
        "adapt": 2,
        "joint": 4,  # one a cell
    }
    assert len(set(begun)) == len(begun)
    found = ablation.read(undisturbed / ablation.FILE)
    assert {stage.key for cell in found.cells for stage in cell.stages} == {key for _, key in begun}


def test_the_paired_interval_is_the_narrower_one_and_both_are_told(undisturbed):
    gap = ablation.read(undisturbed / ablation.FILE).loss("wo_vdg", "full").difference
    assert (gap.clips, gap.seeds) == (4, [0, 1])
    assert gap.high - gap.low < gap.unpaired_high - gap.unpaired_low
    row = next(
        line
        for line in (undisturbed / "table/ablation.md").read_text().splitlines()
        if line.startswith("| w/o VDG | 2")
    )
    assert row.count("[") >= 2


def test_killed_in_the_middle_and_run_again_it_ends_in_the_same_table(
    arguments, undisturbed, tmp_path
):
    folder = tmp_path / "run"
    command = [*arguments, f"run_dir={folder}"]
    # What the first cell needs is there, as if it had been made before; the kill comes later.
    metrics = folder / "wo_vdg/seed-0/train/stages/04-joint/metrics.jsonl"

    def in_the_last_stage():
        return metrics.exists() and metrics.read_bytes().count(b"\n") >= 2

    killed = run_until(command, in_the_last_stage, signal.SIGKILL, limit_s=900)
    assert killed.returncode == -signal.SIGKILL
    assert not (folder / "ablation.json").exists()
    again = run(*command)
    assert again.returncode == 0, again.stderr
    for name in TABLES:
        assert (folder / "table" / name).read_bytes() == (undisturbed / "table" / name).read_bytes()
    assert len(begun_anew(folder)) == len(set(begun_anew(folder)))
    seen = [one["seen_steps"] for one in trainings(folder / "stages") if one["seen_steps"]]
    assert len(seen) == 1  # the stage that was killed went on


def test_a_cell_that_fails_stops_no_other_and_the_table_names_it(arguments, undisturbed):
    train = undisturbed / "wo_vdg/seed-1/train"
    train.rename(train.with_name("aside"))
    train.write_text("in the way")
    result = run(*arguments, f"run_dir={undisturbed}", "bootstrap_seed=1")
    train.unlink()
    train.with_name("aside").rename(train)
    assert result.returncode == 3, result.stderr
    assert "1 of 4 cells have no result: wo_vdg (seed 1)" in result.stderr.splitlines()[-1]
    text = (undisturbed / "table/ablation.md").read_text()
    assert "is a file; choose another run_dir" in text
    assert "| w/o VDG | 1 |" in text
