"""`dynamicrafter plan train` on the small model: what it says, and that it can be pasted back."""

import json
import shlex

import pytest
import torch
from hydra import compose as hydra_compose
from hydra import initialize_config_module
from omegaconf import OmegaConf

from dynamicrafter.errors import InputError
from dynamicrafter.model.animation import AnimationConfig, AnimationModel
from dynamicrafter.model.weights import save_weights
from tests.train.conftest import SMALL_MODEL
from train.plan import command
from train.plan.memory import GIB, Knobs, Workload, estimate
from train.plan.table import lines_of


def config_of(*overrides, cards=((24, 165.0),)):
    with initialize_config_module("conf", version_base="1.3"):
        config = hydra_compose("plan_train", list(overrides))
    OmegaConf.set_struct(config, False)
    config.model = SMALL_MODEL
    config.cards = [{"gigabytes": size, "like": "X", "tflops": tflops} for size, tflops in cards]
    return config


@pytest.fixture(scope="module")
def planned():
    """The paper's recipe on the small model, no base weights at hand."""
    return command.plan(config_of(cards=((24, 165.0), (0, 165.0))))


def test_every_stage_is_there_with_its_counts(planned):
    with torch.device("meta"):
        model = AnimationModel(AnimationConfig.from_dict(SMALL_MODEL))
    joint = planned["stages"][2]
    assert [stage["name"] for stage in planned["stages"]] == ["context", "adapt", "joint"]
    counted = sum(group["parameters"] for group in joint["groups"].values())
    assert counted == sum(tensor.numel() for tensor in model.state_dict().values())
    trained = {name for name, group in joint["groups"].items() if group["trained"]}
    assert trained == {"image_projector", "image_cross_attention_kv", "spatial", "lambda_alpha"}


def test_new_tensors_are_those_that_no_base_weights_of_this_kind_hold(planned):
    context, adapt, joint = planned["stages"]
    new = {name for name, group in context["groups"].items() if group["new"]}
    assert new == {"image_projector", "image_cross_attention_kv"}
    assert {name for name, group in adapt["groups"].items() if group["new"]} == {"lambda_alpha"}
    assert joint["new"] == []
    assert "assumed to hold" in context["sources"]["<recipe.base.image_model>"]


def test_weights_at_hand_are_read(tmp_path):
    model = AnimationModel(AnimationConfig.from_dict(SMALL_MODEL))
    state = {n: t for n, t in model.state_dict().items() if "time_embed" not in n}
    save_weights(tmp_path / "base.safetensors", state)
    config = config_of("recipe=finetune", f"recipe.base.model={tmp_path / 'base.safetensors'}")
    (stage,) = command.plan(config)["stages"]
    assert list(stage["sources"].values()) == ["read"]
    assert {name for name, group in stage["groups"].items() if group["new"]} == {"time_embed"}
    assert len(stage["new"]) == 4


def test_the_settings_that_fit_can_be_pasted_and_do_fit(planned):
    card = planned["cards"][0]
    with initialize_config_module("conf", version_base="1.3"):
        config = hydra_compose("train", ["data=d", *shlex.split(card["overrides"])])
    joint = card["stages"]["joint"]
    assert config.microbatch.joint == joint["microbatch"]
    assert config.recompute.joint == joint["recompute"]
    assert config.offload is joint["offload"]
    groups = ("image_projector", "image_cross_attention_kv", "spatial", "lambda_alpha")
    work = Workload(SMALL_MODEL, groups, "diffusion", batch=64)
    needed = estimate(work, Knobs(config.microbatch.joint, config.recompute.joint)).needed
    assert needed / GIB == pytest.approx(joint["needed_gib"], abs=0.01)
    assert needed / GIB <= card["usable_gib"]


def test_where_nothing_fits_it_says_what_would_be_needed(planned):
    card = planned["cards"][1]
    assert not any(found["fits"] for found in card["stages"].values())
    assert card["overrides"] == ""
    lines = "\n".join(lines_of(planned))
    assert "joint does not fit: the least is 0." in lines


def test_the_table_shows_the_sum_and_the_assumption(planned):
    lines = lines_of(planned)
    flop = planned["stages"][2]["flop"]
    assert any(line.split() == ["sum", f"{sum(flop.values()) / 1e12:.4g}"] for line in lines)
    assert "assume 12 % of a card's dense bf16 peak" in lines[-1]
    assert max(len(line) for line in lines if line.startswith("  image_projector")) < 80


def test_an_autoencoder_stage_is_planned_too():
    stages = command.plan(config_of("recipe=tiny", cards=()))["stages"]
    assert [stage["name"] for stage in stages] == ["autoencoder", "context", "adapt", "joint"]
    flop = stages[0]["flop"]
    assert set(flop) == {"autoencoder forward", "autoencoder backward", "recomputed"}
    # Of each layer the gradients of its weights and of its input; attention makes its matrix again.
    ratio = flop["autoencoder backward"] / flop["autoencoder forward"]
    assert ratio == pytest.approx(2, rel=0.02)
    assert stages[0]["groups"]["autoencoder"]["trained"]


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("gpus=0", "gpus=0; it must be 1 or more"),
        ("gpus=3", "stage context: batch=64 cannot be shared by gpus=3"),
        ("mfu=2", "mfu=2; it is a share"),
        ("recipe.joint.trainable=[temporel]", "there is no parameter group temporel"),
        ("+recipe.vae.steps=3", "recipe.vae sets steps, but this recipe has no stage vae"),
    ],
)
def test_settings_that_cannot_be_are_refused(override, message):
    with pytest.raises(InputError, match=message):
        command.plan(config_of(override))


def test_as_json_it_is_one_line_on_stdout(capsys):
    config = config_of("recipe=finetune", "json=true")
    command._plan(config)
    out, err = capsys.readouterr()
    assert err == ""
    (line,) = out.splitlines()
    assert json.loads(line) == json.loads(json.dumps(command.plan(config)))
