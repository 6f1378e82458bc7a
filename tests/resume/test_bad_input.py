"""Data and settings that cannot be used: one line that names them, and what is there stays."""

import hashlib
import json
import shutil

import pytest

from dynamicrafter.media.encode import encode_mp4
from dynamicrafter.shards import Sample, write_shards
from tests.resume.in_process import (
    STEPS,
    assert_one_line,
    checkpoints_of,
    names,
    train_here,
)
from tests.train.conftest import moving_square
from tests.train.small_runs import assert_same_training, stage, state_of, steps_of
from train import loop
from train.journal import read_rows
from train.which_clips import clips_of_step

pytestmark = pytest.mark.slow

KEYS = [f"clip-{i:02d}" for i in range(10)]
BAD = "clip-03"
TAR = "train-000000.tar"


@pytest.fixture(scope="module")
def profiled(shards, tmp_path_factory):
    """An undisturbed run with a profile, and every second checkpoint kept."""
    folder = tmp_path_factory.mktemp("profiled") / "run"
    assert train_here(shards, folder, "profile=2", "checkpoints.keep_every=2") == 0
    return folder


@pytest.fixture
def half_done(profiled, folder):
    """The profiled run as it was after step 4, its stage not whole."""
    shutil.copytree(profiled, folder)
    (folder / "done.json").unlink()
    shutil.rmtree(folder / "model")
    for name in ("stage.json", "model.safetensors", "model.yaml"):
        (stage(folder) / name).unlink()
    for path in ("ema", "checkpoints/step-00000006"):
        shutil.rmtree(stage(folder) / path)
    return folder


def content(folder):
    """Every file below `folder` and what it holds; the lock says nothing."""
    paths = (path for path in folder.rglob("*") if path.is_file() and path.name != ".lock")
    return {path: hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}


@pytest.mark.sample
def test_changed_settings_are_refused_by_name(shards, half_done, capsys):
    before = content(half_done)
    assert train_here(shards, half_done, "seed=7", "recipe.joint.learning_rate=1e-3") == 2
    told = capsys.readouterr().err
    assert_one_line(told, "(recipe.joint.learning_rate, seed)", "on_change=restart")
    assert content(half_done) == before


def test_what_fits_the_machine_may_change(shards, half_done, profiled, capsys):
    machine = ("microbatch=1", "recompute=full", "offload=true", "keep_decoded=2")
    others = ("verify_data=true", "checkpoints.keep_last=1")
    assert train_here(shards, half_done, *machine, *others) == 0
    assert "step-00000004, read in" in capsys.readouterr().err
    found, expected = steps_of(half_done), steps_of(profiled)
    assert [row[3] for row in found] == [row[3] for row in expected]
    assert [row[1] for row in found] == pytest.approx([row[1] for row in expected], rel=1e-5)
    assert checkpoints_of(half_done) == names(6)


def test_fewer_clips_than_a_batch_are_told_before_anything_is_built(shards, folder, capsys):
    assert train_here(shards, folder, "recipe.joint.batch=12") == 2
    assert_one_line(
        capsys.readouterr().err, "stage joint: 10 clips", "fewer than a batch of 12", "lower"
    )
    assert not content(folder)


def cut_off(data):
    (data / TAR).write_bytes((data / TAR).read_bytes()[:-512])


def exchanged(data):
    (data / TAR).write_bytes((data / TAR).read_bytes()[::-1])


@pytest.mark.sample
@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda data: (data / TAR).unlink(), "missing"),
        (lambda data: (data / TAR.replace("tar", "index.parquet")).unlink(), "missing"),
        (cut_off, "bytes"),
        (exchanged, "sha256"),
    ],
    ids=["no tar", "no index", "cut off", "exchanged"],
)
def test_damaged_shards_are_told_before_the_training(
    shards, folder, tmp_path, capsys, damage, said
):
    data = shutil.copytree(shards, tmp_path / "data")
    damage(data)
    assert train_here(data, folder, "verify_data=true") == 2
    assert_one_line(capsys.readouterr().err, str(data / TAR.removesuffix("tar")), said)
    assert not content(folder)


def test_a_clip_that_was_exchanged_is_told_when_it_is_read(
    shards, profiled, folder, tmp_path, capsys
):
    """With verify_data=false. The training goes on as if nothing had been once it is repaired."""
    seen = [
        [row["key"] for row in clips_of_step(profiled, "joint", step, captions=False)]
        for step in range(1, STEPS + 1)
    ]
    bad = next(key for key in seen[3] if key not in {*seen[0], *seen[1], *seen[2]})
    data = shutil.copytree(shards, tmp_path / "data")
    good = (data / TAR).read_bytes()
    video = encode_mp4(moving_square(KEYS.index(bad)), 24)
    assert good.count(video) == 1
    (data / TAR).write_bytes(good.replace(video, video[::-1]))
    assert train_here(data, folder) == 2
    assert_one_line(capsys.readouterr().err, f"{data / TAR} does not hold {bad}.mp4", "pack again")
    assert checkpoints_of(folder) == names(2)

    (data / TAR).write_bytes(good)
    assert train_here(data, folder) == 0
    assert_same_training(profiled, folder)


@pytest.fixture
def one_unreadable(tmp_path):
    """The same clips, but one is no video: what was packed so was broken before it was packed."""
    info = {"fps": 24.0, "frames": 24, "width": 48, "height": 32}
    videos = {key: encode_mp4(moving_square(i), 24) for i, key in enumerate(KEYS)}
    videos[BAD] = b"no video"
    samples = [Sample(key, videos[key], f"{key} moves", info) for key in KEYS]
    write_shards(tmp_path / "data", samples, name="train", config_digest="test")
    return tmp_path / "data"


def test_a_few_unreadable_clips_are_replaced_counted_and_named(one_unreadable, folder, capsys):
    assert train_here(one_unreadable, folder) == 0
    assert "joint: 1 clips could not be read" in capsys.readouterr().err
    count = 0
    for row in read_rows(stage(folder) / "metrics.jsonl"):
        asked = [r["key"] for r in clips_of_step(folder, "joint", row["step"], captions=False)]
        assert set(row.get("replaced", [])) == {BAD} & set(asked)
        count += len(row.get("replaced", []))
    assert count
    assert state_of(stage(folder) / "checkpoints" / names(STEPS)[0])["replaced"] == count
    summary = json.loads((folder / "done.json").read_text())["summary"]
    assert summary["stages"][0]["replaced_clips"] == [BAD]


def test_too_many_unreadable_clips(one_unreadable, folder, capsys, monkeypatch):
    """One of ten, and all ten have been asked for after step 5."""
    monkeypatch.setattr(loop, "FEW_SAMPLES", 10)
    assert train_here(one_unreadable, folder) == 3
    assert_one_line(
        capsys.readouterr().err, "of 10 samples cannot be read", "max_failed_share=0.05"
    )
    assert checkpoints_of(folder) == names(2, 4)
    assert not (folder / "summary.json").exists()
    assert train_here(one_unreadable, folder, "max_failed_share=0.5") == 0
    assert "step-00000004, read in" in capsys.readouterr().err


def test_the_digest_of_a_steps_clips_can_be_had_from_which_clips(profiled):
    for row in read_rows(stage(profiled) / "metrics.jsonl"):
        clips = clips_of_step(profiled, "joint", row["step"], captions=False)
        pairs = [(clip["number"], clip["key"]) for clip in clips]
        assert [number for number, _ in pairs] == [2 * row["step"] - 2, 2 * row["step"] - 1]
        assert hashlib.sha256(repr(pairs).encode()).hexdigest()[:16] == row["clips"]


def test_a_profile_shows_the_steps_that_were_asked_for(profiled):
    """The first two prepare; `profile=2` records the third and the fourth."""
    (path,) = stage(profiled).glob("profile-*")
    assert path.name == "profile-00000003.json"
    events = {event["name"] for event in json.loads(path.read_bytes())["traceEvents"]}
    assert {name for name in events if name.startswith("ProfilerStep")} == {
        "ProfilerStep#2",
        "ProfilerStep#3",
    }
    assert "aten::conv2d" in events
