"""A tiny run on real clips learns: the fixed losses on clips that it has not seen fall."""

import pytest

from tests.commands.conftest import (  # noqa: F401 - fixtures
    other_shards,
    real_clips,
    real_shards,
)
from tests.commands.runner import run
from tests.train.small_runs import stage
from train.journal import read_rows
from train.validation import paired_difference

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def folder(real_shards, other_shards, tmp_path_factory):  # noqa: F811 - fixtures
    folder = tmp_path_factory.mktemp("learning") / "run"
    result = run(
        "train", "+experiment=demo/train", f"data={real_shards}", f"validation={other_shards}",
        f"run_dir={folder}", "on_change=refuse", "tracking=disabled", "threads=1",
        "recipe.stages=[autoencoder, joint]", "recipe.autoencoder.steps=80",
        "recipe.joint.steps=40", "recipe.joint.batch=2", "recipe.joint.learning_rate=1e-3",
        "validate.clips=4", "validate.strata=3", "validate.every=20", "validate.samples=2",
        "validate.sampling.steps=5",
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    return folder


def test_the_validation_loss_falls_and_the_interval_excludes_zero(folder):
    rows = read_rows(stage(folder, "02-joint") / "validation.jsonl")
    assert [row["step"] for row in rows] == [0, 20, 40]
    difference = paired_difference(rows[0]["rows"], rows[-1]["rows"])
    assert difference.high < 0, difference
    later = paired_difference(rows[1]["rows"], rows[-1]["rows"])
    assert later.value < 0, later


def test_the_autoencoder_learns_too(folder):
    losses = [row["loss"] for row in read_rows(stage(folder, "01-autoencoder") / "metrics.jsonl")]
    assert sum(losses[-10:]) < 0.5 * sum(losses[:10])


def test_samples_and_their_motion_are_written_down(folder):
    last = read_rows(stage(folder, "02-joint") / "validation.jsonl")[-1]
    assert len(last["videos"]) == 2
    for video in last["videos"]:
        assert (stage(folder, "02-joint") / video["path"]).stat().st_size > 0
        assert video["motion"] >= 0
    assert last["scalars"]["validation/motion_real"] > 0
