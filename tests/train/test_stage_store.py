"""The store of finished stages: what makes a key, and that what is there is not trained again."""

import contextlib
import json
import shutil

import pytest
from hydra import compose as hydra_compose
from hydra import initialize_config_module
from omegaconf import OmegaConf

from dynamicrafter.errors import InputError
from dynamicrafter.shards import ShardReader, write_shards
from tests.train.conftest import SMALL_MODEL
from tests.train.small_runs import same_tensors
from tests.train.test_journal import FakeTracker
from train import recipe
from train.data import open_clips
from train.journal import METRICS, VALIDATION, read_rows
from train.stage_store import StageStore, stage_key, trainings, validated_as

COMPUTED = {"precision": "fp32", "device": "cpu"}
PLACE = "stages/01-context"
VALIDATE = ("validate.clips=2", "validate.strata=1", "validate.every=2", "validate.samples=0")


def config_of(shards, *overrides):
    """The tiny recipe as the command composes it."""
    with initialize_config_module("conf", version_base="1.3"):
        fixed = ["model=tiny", "recipe=tiny", f"data={shards}", "tracking=disabled"]
        return hydra_compose("train", [*fixed, *overrides])


def keys_of(config, computed=COMPUTED):
    """Stage → key."""
    clips, keys, previous = open_clips(config), {}, None
    for name in config.recipe.stages:
        keys[name] = previous = stage_key(config, name, previous, clips, computed)
    return keys


@pytest.fixture(scope="module")
def before(shards):
    return keys_of(config_of(shards))


def changed_stages(before, after):
    return [name for name in before if before[name] != after.get(name)]


ALL = ["autoencoder", "context", "adapt", "joint"]


@pytest.mark.parametrize(
    ("override", "changed"),
    [
        ("seed=1", ALL),
        ("captions=stock", ALL),
        ("shuffle_shards=8", ALL),
        ("balance={column: dynamic_source_category, power: 0.5}", ALL),
        ("model.unet.model_channels=64", ALL),
        ("recipe.context.steps=99", ALL[1:]),
        ("recipe.context.drop_conditions=0.1", ALL[1:]),
        ("recipe.adapt.learning_rate=1e-5", ALL[2:]),
        ("recipe.joint.condition_frame=first", ALL[3:]),
        ("recipe.joint.ema_decay=0.9", ALL[3:]),
        ("recipe.joint.trainable=[spatial]", ALL[3:]),
        ("recipe.joint.start=[{from: previous, groups: [spatial]}]", ALL[3:]),
        ("+recipe.joint.unheard_of=1", ALL[3:]),
        ("+unheard_of=1", ALL),
        ("recipe.stages=[autoencoder,context,joint]", ["adapt", "joint"]),
        ("+ablation=wo_vdg", ["joint"]),
        ("+ablation=full", []),
    ],
)
def test_what_decides_the_weights_makes_another_key(shards, before, override, changed):
    assert changed_stages(before, keys_of(config_of(shards, override))) == changed


@pytest.mark.parametrize(
    "override",
    [
        "run_dir=elsewhere", "microbatch=1", "recompute=full", "offload=true", "parallel=fsdp",
        "loader_workers=0", "keep_decoded=9", "cache.gigabytes=1", "threads=1", "verify_data=true",
        "profile=3", "checkpoints.keep_last=5", "recipe.joint.checkpoint_every=7",
        "validation=held-out", "validate.every=3", "max_failed_share=0.5", "allow_media=true",
        "encoded.folder=e", "stage_store=s", "on_change=restart",
    ],
)  # fmt: skip
def test_what_only_makes_it_fit_or_is_looked_at_leaves_the_key(shards, before, override):
    assert keys_of(config_of(shards, override)) == before


def test_contents_of_the_data_count_and_not_their_place(shards, before, tmp_path):
    moved = shutil.copytree(shards, tmp_path / "moved")
    assert keys_of(config_of(moved)) == before
    reader = ShardReader(shards)
    fewer = (reader[number] for number in range(len(reader) - 1))
    write_shards(tmp_path / "fewer", fewer, name="train", config_digest="test")
    assert changed_stages(before, keys_of(config_of(tmp_path / "fewer"))) == ALL
    pair = f"data=[{{path: {shards}, weight: 1}}, {{path: {tmp_path / 'twin'}, weight: 2}}]"
    shutil.copytree(shards, tmp_path / "twin")
    weighted = keys_of(config_of(shards, pair))
    assert changed_stages(before, weighted) == ALL
    assert keys_of(config_of(shards, pair.replace("weight: 2", "weight: 3"))) != weighted


def test_contents_of_the_weights_count_and_not_their_place(shards, tmp_path):
    keys = []
    for name, content in (("a", b"1"), ("b", b"1"), ("c", b"2")):
        (tmp_path / name).write_bytes(content)
        start = f"recipe.autoencoder.start=[{{from: {tmp_path / name}}}]"
        keys.append(keys_of(config_of(shards, start))["autoencoder"])
    assert keys[0] == keys[1] != keys[2]


def test_precision_and_kind_of_device_count(shards, before):
    config = config_of(shards)
    for other in ({"precision": "bf16"}, {"device": "cuda"}):
        assert changed_stages(before, keys_of(config, {**COMPUTED, **other})) == ALL


def test_how_a_run_validates_is_told_apart(shards):
    plain = config_of(shards, f"validation={shards}")
    fewer = config_of(shards, f"validation={shards}", "validate.clips=2")
    at_once = config_of(shards, f"validation={shards}", "validate.batch=1")
    assert validated_as(config_of(shards)) is None
    assert validated_as(plain) == validated_as(at_once) != validated_as(fewer)


@pytest.fixture
def small(compose, tmp_path):
    """A stage of four steps, in a run folder of this name, with the store of the test."""

    def make(name, *overrides):
        own = ["recipe.stages=[context]", "recipe.context.steps=4", "recipe.context.start=[]"]
        config = compose(tmp_path / name, *own, f"stage_store={tmp_path / 'store'}", *overrides)
        return config, tmp_path / name

    return make


def losses(folder):
    return [(row["step"], row["loss"]) for row in read_rows(folder / PLACE / METRICS)]


def test_a_stage_that_is_there_is_taken_and_told_to_wandb(small, tmp_path, monkeypatch, capsys):
    histories = []

    def tracked(config, folder, ranks):
        tracker = FakeTracker()
        tracker.id = folder.name
        histories.append(tracker.told)
        return contextlib.nullcontext(tracker)

    monkeypatch.setattr(recipe, "_tracker", tracked)
    alone, first = recipe.run(*small("alone", "stage_store=null")), recipe.run(*small("first"))
    capsys.readouterr()
    second = recipe.run(*small("second", "loader_workers=0", "microbatch=1"))
    assert losses(tmp_path / "second") == losses(tmp_path / "first") == losses(tmp_path / "alone")
    for name in ("first", "second"):
        weights = f"{PLACE}/model.safetensors"
        assert same_tensors(tmp_path / name / weights, tmp_path / "alone" / weights)
    logged = [[item for item in told if item[0] == "log"] for told in histories]
    assert logged[1] == logged[2]
    assert [item[1] for item in logged[2]] == [1, 2, 3, 4]

    (begun,) = trainings(tmp_path / "store")
    (stage,) = second["stages"]
    assert (begun["key"], begun["stage"], begun["seen_steps"]) == (stage["key"], "context", 0)
    assert begun["run"] == str(tmp_path / "first")
    assert [s["from_store"] for s in (first["stages"][0], stage)] == [False, True]
    assert "from_store" not in alone["stages"][0]
    assert stage["device_seconds"] == first["stages"][0]["device_seconds"] > 0
    assert f"stage context ({stage['key'][:12]}): taken from the store" in capsys.readouterr().err


def test_a_run_that_validates_otherwise_does_so_at_the_end_of_what_it_takes(small, tmp_path):
    recipe.run(*small("first", "validation=null"))
    recipe.run(*small("second", *VALIDATE))
    assert len(trainings(tmp_path / "store")) == 1
    assert losses(tmp_path / "second") == losses(tmp_path / "first")
    stage = tmp_path / "second" / PLACE
    assert [row["step"] for row in read_rows(stage / VALIDATION)] == [4]
    assert json.loads((stage / "stage.json").read_text())["from_store"] is True
    assert same_tensors(stage / "model.safetensors", tmp_path / "first/model/model.safetensors")

    recipe.run(*small("alone", *VALIDATE, "stage_store=null"))
    own = read_rows(tmp_path / "alone" / PLACE / VALIDATION)[-1]
    assert read_rows(stage / VALIDATION)[-1]["rows"] == own["rows"]


def test_a_damaged_stage_is_refused_with_the_remedy(small, tmp_path):
    recipe.run(*small("first"))
    (stage,) = (tmp_path / "store").glob("*/stage")
    weights = stage / "model.safetensors"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.unlink()  # the run that trained it shares the file
    weights.write_bytes(data)
    with pytest.raises(InputError, match=rf"{weights} is damaged: .*; remove {stage.parent} and"):
        recipe.run(*small("second"))
    assert not (tmp_path / "second" / PLACE).exists()
    shutil.rmtree(stage.parent)
    recipe.run(*small("second"))
    assert losses(tmp_path / "second") == losses(tmp_path / "first")


class Stopped(Exception):
    """What stands for a kill."""


def stop_in(monkeypatch, step):
    """Stop training when this step has been written down."""
    append = recipe.Journal.step

    def stopping(self, row):
        append(self, row)
        if row["step"] == step:
            raise Stopped

    monkeypatch.setattr(recipe.Journal, "step", stopping)


@pytest.mark.parametrize("begun", ["first", "second", "without a store"])
def test_what_one_run_left_half_done_goes_on(small, tmp_path, monkeypatch, begun, capsys):
    """In the run that began it, in another one, or in one that had no store before."""
    recipe.run(*small("alone", "stage_store=null"))
    every = "recipe.context.checkpoint_every=2"
    without = ["stage_store=null"] if begun == "without a store" else []
    with monkeypatch.context() as patch:
        stop_in(patch, 3)
        with pytest.raises(Stopped):
            recipe.run(*small("first", every, *without))
    assert losses(tmp_path / "first") == losses(tmp_path / "alone")[:3]  # through the link
    name = "second" if begun == "second" else "first"
    recipe.run(*small(name, every))
    assert "step-00000002, read in" in capsys.readouterr().err
    assert losses(tmp_path / name) == losses(tmp_path / "alone")
    assert [row["seen_steps"] for row in trainings(tmp_path / "store")][-1] == 3
    weights = f"{PLACE}/model.safetensors"
    assert same_tensors(tmp_path / name / weights, tmp_path / "alone" / weights)
    recipe.run(*small("first", every))
    assert losses(tmp_path / "first") == losses(tmp_path / "alone")
    assert not (tmp_path / "first" / PLACE).is_symlink()


def test_a_run_that_gives_up_its_store_trains_by_itself(small, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        stop_in(patch, 3)
        with pytest.raises(Stopped):
            recipe.run(*small("first"))
    shutil.rmtree(tmp_path / "store")
    recipe.run(*small("first", "stage_store=null"))
    assert [step for step, _ in losses(tmp_path / "first")] == [1, 2, 3, 4]
    assert (tmp_path / "first" / PLACE).is_dir()


def test_the_model_of_a_stage_is_in_its_key(shards):
    config = config_of(shards)
    OmegaConf.set_struct(config, False)
    config.model = SMALL_MODEL
    assert changed_stages(keys_of(config_of(shards)), keys_of(config)) == ALL


def test_nothing_is_there_before_it_is_published(tmp_path):
    store = StageStore(tmp_path)
    (tmp_path / "k").mkdir()
    work = store.begin("k", "joint", tmp_path / "run", tmp_path / "run/stages/01-joint")
    (work / "stage.json").write_text("{}")
    assert not store.has("k")
    store.publish("k", {"validated": None, "device_seconds": 1})
    assert store.has("k")
    assert store.facts("k")["device_seconds"] == 1
