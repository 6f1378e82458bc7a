"""The ablations trained end to end, a step a stage, and what the stock captions are."""

import json

import pytest
import torch
from hydra import compose, initialize_config_module
from omegaconf import OmegaConf
from safetensors.torch import load_file

from dynamicrafter.animate import Animator, Sampling
from dynamicrafter.errors import InputError
from dynamicrafter.files import write_json
from dynamicrafter.items import Item
from dynamicrafter.media.encode import encode_mp4
from dynamicrafter.model.pretrained import load_model
from dynamicrafter.shards import Sample, write_shards
from tests.train.ablating import ARMS, SMALL
from tests.train.conftest import moving_square
from train import recipe
from train.data import open_clips, stage_windows
from train.journal import read_rows
from train.validation.losses import MODES
from train.which_clips import clips_of_step

STAGES = ("autoencoder", "context", "adapt", "joint")
BUILT_IN = {"wo_ctx": ["autoencoder", "joint"], "one_stage": ["autoencoder", "adapt", "joint"]}
INFO = {"fps": 24.0, "frames": 24, "width": 48, "height": 32}
STATED = {"name": "a studio in the style of the seventies"}


def write(folder, *stated):
    """A clip for each of `stated`, which is what its JSON says besides."""
    samples = [
        Sample(f"clip-{i}", encode_mp4(moving_square(i), 24), f"square {i} moves", {**INFO, **one})
        for i, one in enumerate(stated)
    ]
    write_shards(folder, samples, name="x", config_digest="t")
    return str(folder)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write(tmp_path_factory.mktemp("data"), *[STATED] * 4)


def config_of(arm, data, folder, *overrides):
    with initialize_config_module("conf", version_base="1.3"):
        return compose(
            "train",
            [
                "+experiment=demo/train",
                *SMALL,
                "model.unet.channel_mult=[1]",
                "model.unet.attention_resolutions=[1]",
                f"data={data}",
                f"validation={data}",
                f"run_dir={folder}",
                "tracking=disabled",
                "threads=1",
                *(f"recipe.{name}.steps=1" for name in STAGES),
                *(f"recipe.{name}.batch=2" for name in STAGES),
                "validate={clips: 2, strata: 1, batch: 2, samples: 0}",
                *overrides,
                f"+ablation={arm}",
            ],
        )


@pytest.fixture(scope="module")
def run(data, tmp_path_factory):
    """The run folder of an arm; each is trained once for this file."""
    made = {}

    def make(arm):
        if arm not in made:
            made[arm] = tmp_path_factory.mktemp(arm)
            config = config_of(arm, data, made[arm])
            recipe.inputs(config)  # refuses what cannot be built
            recipe.run(config, made[arm])
        return made[arm]

    return make


def rows_of(folder, stage, name):
    (path,) = folder.glob(f"stages/*-{stage}/{name}.jsonl")
    return read_rows(path)


def marked(arm):
    """One arm is trained in the quick tests, another in the sample of the slow ones."""
    marks = {"wo_ctx": [], "ours_g": [pytest.mark.slow, pytest.mark.sample]}
    return pytest.param(arm, marks=marks.get(arm, [pytest.mark.slow]))


@pytest.mark.parametrize("arm", [marked(arm) for arm in ARMS])
def test_an_arm_trains_and_animates(arm, run):
    folder = run(arm)
    summary = json.loads((folder / "summary.json").read_text())
    assert [stage["name"] for stage in summary["stages"]] == BUILT_IN.get(arm, list(STAGES))
    assert len(rows_of(folder, "joint", "metrics")) == (2 if arm == "wo_ctx" else 1)
    modes = {row["mode"] for row in rows_of(folder, "joint", "validation")[-1]["rows"]}
    assert modes == ({"full", "no_text"} if arm == "wo_ctx" else set(MODES))
    model = load_model(folder / "model")
    image = moving_square(7)[0][:16, :16]
    sampling = Sampling(steps=2, guidance_scale=7.5)
    (video,) = Animator(model).batch([Item("a", image, "a square moves")], sampling)
    assert video.shape == (4, 16, 16, 3)


@pytest.mark.slow
@pytest.mark.parametrize("arm", sorted(set(ARMS) - {"full"}))
def test_arms_see_the_same_clips_and_share_their_latents(arm, run):
    full, folder = run("full"), run(arm)
    for stage in BUILT_IN.get(arm, STAGES):
        found, wanted = (rows_of(one, stage, "metrics")[0] for one in (folder, full))
        assert found["clips"] == wanted["clips"]
    first, other = (load_file(one / "model" / "model.safetensors") for one in (full, folder))
    shared = [name for name in first if name.startswith("first_stage_model.")]
    assert len(shared) > 50
    assert all(torch.equal(first[name], other[name]) for name in shared)
    looked_at = [
        [(row["key"], row["timestep"]) for row in rows_of(one, "joint", "validation")[-1]["rows"]]
        for one in (full, folder)
    ]
    assert set(looked_at[0]) == set(looked_at[1])


def test_stock_captions_are_those_of_the_source(tmp_path):
    data = write(tmp_path / "data", STATED, {"name": "none"})
    config = config_of("stock_captions", data, tmp_path)
    windows = stage_windows(open_clips(config), config, "joint")
    found = {(row["key"], row["caption"]) for row in map(windows.sample, range(8))}
    assert found == {("clip-0", STATED["name"]), ("clip-1", "")}
    config = config_of("full", data, tmp_path)
    windows = stage_windows(open_clips(config), config, "joint")
    found = {(row["key"], row["caption"]) for row in map(windows.sample, range(8))}
    assert found == {("clip-0", "square 0 moves"), ("clip-1", "square 1 moves")}


def clips_of(arm, data, folder, step):
    """What `train which-clips` tells of a step of `joint`."""
    config = config_of(arm, data, folder)
    plain = OmegaConf.to_container(config, resolve=True)
    write_json(folder / "run.json", {"config": plain, "inputs": open_clips(config).digests})
    return clips_of_step(folder, "joint", step, captions=True)


def test_which_clips_tells_the_captions_that_were_learned(data, tmp_path):
    assert {row["caption"] for row in clips_of("stock_captions", data, tmp_path, 1)} == {
        STATED["name"]
    }
    assert STATED["name"] not in {row["caption"] for row in clips_of("full", data, tmp_path, 1)}


def test_which_clips_knows_the_added_steps(data, tmp_path):
    assert len(clips_of("wo_ctx", data, tmp_path, 2)) == 2
    with pytest.raises(InputError, match=r"stage joint of .* has steps 1 to 2"):
        clips_of("wo_ctx", data, tmp_path, 3)


def test_clips_without_a_stock_caption_cannot_be_trained_on(tmp_path):
    data = write(tmp_path / "data", {}, {})
    config = config_of("stock_captions", data, tmp_path)
    windows = stage_windows(open_clips(config), config, "joint")
    with pytest.raises(InputError, match=r"clip clip-\d keeps no stock caption .*captions=motion"):
        raise windows[0]


def test_other_captions_there_are_not(data, tmp_path):
    config = config_of("full", data, tmp_path, "captions=both")
    with pytest.raises(InputError, match=r"captions=both; choose motion or stock"):
        stage_windows(open_clips(config), config, "joint")
