"""The recipe `finetune`: from a model to one that differs in what was trained alone."""

import json

import pytest
import torch
from hydra import compose as hydra_compose
from hydra import initialize_config_module
from omegaconf import OmegaConf
from safetensors.torch import load_file

from dynamicrafter.bench.weights import fill
from dynamicrafter.model.animation import AnimationConfig, AnimationModel
from dynamicrafter.model.names import parameter_group
from dynamicrafter.model.pretrained import save_model
from dynamicrafter.model.weights import save_weights
from tests.train.conftest import SMALL_MODEL
from train import recipe
from train.stage import stage_objective, stage_settings

TRAINED = {"image_projector", "image_cross_attention_kv", "spatial", "lambda_alpha"}


def config_of(*overrides):
    with initialize_config_module("conf", version_base="1.3"):
        return hydra_compose("train", ["recipe=finetune", *overrides])


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory):
    """A small model with no silent layer: as a folder, and as an official checkpoint file."""
    place = tmp_path_factory.mktemp("pretrained")
    model = fill(AnimationModel(AnimationConfig.from_dict(SMALL_MODEL)))
    save_model(place / "folder", model, SMALL_MODEL)
    save_weights(place / "model.ckpt", model.official_state_dict())
    return place


@pytest.mark.parametrize("source", ["folder", "model.ckpt"])
def test_only_the_trained_groups_move(source, pretrained, shards, tmp_path):
    config = config_of(
        f"run_dir={tmp_path / 'run'}",
        f"data={shards}",
        f"recipe.base.model={pretrained / source}",
        "tracking=disabled",
        "loader_workers=0",
        "threads=1",
        "device=cpu",
        "recipe.finetune.batch=2",
        "recipe.finetune.steps=2",
        "recipe.finetune.learning_rate=0.01",
    )
    OmegaConf.set_struct(config, False)
    config.model = SMALL_MODEL
    recipe.inputs(config)
    recipe.run(config, tmp_path / "run")
    before = load_file(pretrained / "folder" / "model.safetensors")
    after = load_file(tmp_path / "run" / "model" / "model.safetensors")
    assert before.keys() == after.keys()
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    assert {parameter_group(name) for name in moved} == TRAINED
    reports = json.loads((tmp_path / "run/stages/01-finetune/handover.json").read_text())
    assert set(reports[0]["loaded"]) == set(before)
    assert reports[0]["new"] == reports[0]["reshaped"] == []


def test_the_defaults_are_those_of_the_shipped_fine_tune():
    config = config_of("data=d", "recipe.base.model=m", "model=dynamicrafter_512")
    settings = stage_settings(config, "finetune")
    assert (settings.learning_rate, settings.batch, settings.gradient_clip) == (1e-5, 32, 0.5)
    assert list(config.recipe.finetune.frame_stride) == [1, 6]
    assert set(config.recipe.finetune.trainable) == TRAINED
    objective = stage_objective(config, "finetune")
    assert (objective.fs, objective.drop_conditions) == ("fps", 0.05)
    assert config.model.schedule == {"parameterization": "v", "zero_snr": True, "base_scale": 0.7}


def test_interpolation_is_a_switch():
    config = config_of("data=d", "recipe.base.model=m", "recipe.finetune.interpolation=true")
    assert stage_objective(config, "finetune").interpolation


def test_the_recipe_has_every_setting_that_the_stages_of_the_paper_have():
    with initialize_config_module("conf", version_base="1.3"):
        papers = hydra_compose("train", ["data=d"]).recipe.joint
    of_stages_left_out = {"added_steps"}  # there is one stage
    assert set(config_of("data=d").recipe.finetune) == set(papers) - of_stages_left_out
