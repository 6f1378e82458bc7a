"""W&B after a kill: one history with each step once, read back with W&B's own tool."""

import json
import random
import time

import pytest

from tests.commands.kills import kill, start
from tests.test_tracking import read_back
from tests.train.small_runs import arguments, stage, steps_of, trained, wait_for_step

pytestmark = [pytest.mark.slow, pytest.mark.sample]

STEPS = 12
MORE = (
    "tracking=offline", "allow_media=true", "validate.clips=2", "validate.strata=2",
    "validate.every=5", "validate.sample_every=6", "validate.samples=1",
    "validate.sampling.steps=2",
)  # fmt: skip


@pytest.fixture(scope="module")
def folder(shards, tmp_path_factory):
    """A run that was killed after its eighth step, and went on."""
    folder = tmp_path_factory.mktemp("wandb") / "run"
    more = (*MORE, f"validation={shards}")
    run = start(arguments(shards, folder, STEPS, *more), folder.with_suffix(".log"))
    assert wait_for_step(run, folder, 8)
    time.sleep(random.Random(0).uniform(0, 0.3))
    kill(run.process)
    return trained(shards, folder, STEPS, *more)


@pytest.fixture(scope="module")
def records(folder):
    return read_back(folder)


def history(records):
    """Everything that was logged at a step, step after step."""
    return [record["history"]["item"] for record in records if record.get("type") == "history"]


def test_every_step_is_there_once_with_the_losses_of_the_journal(folder, records):
    rows = [row for row in history(records) if "joint/loss" in row]
    assert [(row["_step"], row["joint/loss"]) for row in rows] == [
        (step, loss) for step, loss, _, _ in steps_of(folder)
    ]


def test_there_is_one_recording_and_it_is_of_one_run(folder):
    assert len(list(folder.glob("wandb/offline-run-*"))) == 1
    assert len(list(folder.glob("wandb/superseded/offline-run-*"))) == 1
    name = json.loads((folder / "tracking.json").read_text())["id"]
    assert all(path.name.endswith(name) for path in folder.glob("wandb/*/offline-run-*"))


def test_validation_samples_config_and_provenance_are_in_it(folder, records):
    rows = history(records)
    judged = [row["_step"] for row in rows if "joint/validation/loss" in row]
    assert judged == [0, 5, 6, 10, 12]
    shown = [row["_step"] for row in rows if row.get("joint/samples/clip-05.caption")]
    assert shown == [0, 6, 12]
    text = json.dumps(records)
    assert "shuffle_shards" in text
    data = json.loads((folder / "run.json").read_text())["inputs"]["data"]
    assert f'"{data}' in text or data in text
    assert "joint/checkpoint" in text


def test_a_checkpoint_names_its_run(folder):
    state = json.loads(next((stage(folder) / "checkpoints").glob("*/state.json")).read_text())
    assert state["wandb"] == json.loads((folder / "tracking.json").read_text())["id"]
    assert state["data"] == {
        "data": json.loads((folder / "run.json").read_text())["inputs"]["data"]
    }
