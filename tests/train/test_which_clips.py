"""Which clips a step sees, told from the run folder alone."""

import json
import shutil

import pytest
from hydra import compose, initialize_config_module
from omegaconf import OmegaConf

from dynamicrafter import runs
from dynamicrafter.errors import InputError
from dynamicrafter.shards.manifest import root_digest
from train.data import Positions, batches, open_clips, stage_windows
from train.which_clips import clips_of_step, show

BATCH = 4


def train_config(data, **changes):
    return OmegaConf.create(
        {
            "data": data,
            "balance": None,
            "shuffle_shards": 16,
            "cache": {"folder": None, "gigabytes": 1},
            "keep_decoded": 0,
            "verify_data": False,
            "model": {"resolution": [16, 16], "frames": 4},
            "seed": 3,
            "on_change": "refuse",
            "recipe": {
                "stages": ["context", "joint"],
                "context": {
                    "model": {"frames": 1}, "frame_stride": [1, 1], "batch": 2, "steps": 3
                },
                "joint": {"model": {}, "frame_stride": [1, 6], "batch": BATCH, "steps": 50},
            },
            **changes,
        }
    )  # fmt: skip


@pytest.fixture
def run(shards, tmp_path):
    """A run folder that has begun: no step is taken."""
    shutil.copytree(shards, tmp_path / "data")
    config = train_config(str(tmp_path / "data"))
    plain = OmegaConf.to_container(config, resolve=True)
    runs.begin(tmp_path / "run", plain, open_clips(config).digests)
    return tmp_path / "run", config


def ask(run, *overrides):
    with initialize_config_module("conf", version_base="1.3"):
        config = compose("which_clips", [f"run_dir={run}", *overrides])
    show(config)


@pytest.mark.parametrize("step", [1, 2, 50])
def test_they_are_the_clips_that_training_sees(run, step):
    folder, config = run
    windows = stage_windows(open_clips(config), config, "joint")
    (batch,) = batches(windows, Positions(step - 1, step, BATCH), 0)
    rows = clips_of_step(folder, "joint", step, captions=True)
    assert [row["number"] for row in rows] == batch.numbers
    assert [row["key"] for row in rows] == batch.keys
    assert [row["caption"] for row in rows] == batch.captions
    assert [row["stride"] for row in rows] == batch.frame_stride.tolist()
    assert [row["fps"] for row in rows] == [round(fps, 3) for fps in batch.fps.tolist()]
    for row in rows:
        first, last = row["frames"]
        assert last - first == 3 * row["stride"]
        assert 0 <= first <= last < row["clip_frames"] == 24


def test_lines_of_json_and_an_aligned_table(run, capsys):
    folder, _ = run
    ask(folder, "stage=joint", "step=7", "json=true", "captions=true")
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert rows == clips_of_step(folder, "joint", 7, captions=True)
    ask(folder, "stage=joint", "step=7")
    head, *lines = capsys.readouterr().out.splitlines()
    assert head.split() == ["number", "key", "data", "category", "frames", "stride", "fps"]
    assert len(lines) == BATCH
    for row, line in zip(rows, lines, strict=True):
        assert line[head.index("key") :].startswith(f"{row['key']}  ")
        assert line[head.index("stride") :].startswith(f"{row['stride']} ")
        assert f"{row['frames'][0]}-{row['frames'][1]} of 24" in line


def test_it_changes_nothing(run):
    folder, _ = run
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    clips_of_step(folder, "context", 1, captions=False)
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize(
    ("stage", "step", "message"),
    [
        ("adapt", 1, r"stage=adapt: the stages of .*run are context, joint"),
        ("joint", 0, r"step=0: stage joint of .*run has steps 1 to 50"),
        ("joint", 51, r"step=51: stage joint of .*run has steps 1 to 50"),
        ("joint", "last", r"step=last: stage joint of .*run has steps 1 to 50"),
        ("context", 4, r"step=4: stage context of .*run has steps 1 to 3"),
    ],
)
def test_what_the_run_does_not_have(run, stage, step, message):
    with pytest.raises(InputError, match=message):
        clips_of_step(run[0], stage, step, captions=False)


def test_other_data_in_the_same_place_is_noticed(run, tmp_path):
    manifest = tmp_path / "data/manifest.json"
    changed = json.loads(manifest.read_text())
    changed["config_digest"] = "other"
    changed["root_digest"] = root_digest(changed)
    manifest.write_text(json.dumps(changed))
    with pytest.raises(InputError, match="data has changed since the run"):
        clips_of_step(run[0], "joint", 1, captions=False)


def test_no_run_and_a_run_of_another_command(run, tmp_path):
    with pytest.raises(InputError, match=r"elsewhere has no run\.json: it is no run folder"):
        clips_of_step(tmp_path / "elsewhere", "joint", 1, captions=False)
    config = {"on_change": "refuse", "source": "demo"}
    runs.begin(tmp_path / "curate", config, {})
    with pytest.raises(InputError, match="curate is no run of train"):
        clips_of_step(tmp_path / "curate", "joint", 1, captions=False)
