"""Each ablation differs from the recipe in exactly the stated way: its settings and its tensors."""

from pathlib import Path

import pytest
from hydra import compose, initialize_config_module
from omegaconf import OmegaConf, errors

from dynamicrafter.errors import InputError
from dynamicrafter.model.names import parameter_group
from tests.train.ablating import ARMS, FROZEN_PARTS, RECIPES, TEMPORAL, composed, settings
from tests.train.test_groups import NOT_IN_AN_IMAGE_MODEL, UNET, golden
from train.plan.counts import tensors_of
from train.settings import stage_steps
from train.stage import check_stage, stage_model, stage_settings

CONF = Path(__file__).parents[2] / "conf" / "ablation"
P, P_G = "image_proj_model.", ("norm.bias", "norm.weight", "proj.bias", "proj.weight")
TRAINED = {"spatial", "image_projector", "image_cross_attention_kv", "lambda_alpha"}
IMAGE = {"image_projector", "image_cross_attention_kv", "lambda_alpha", "image_encoder"}
ON_IMAGE_CONTEXT = "model.unet.image_context"

SAME_IN_BOTH = {  # what an ablation changes, whatever the recipe
    "full": {},
    "wo_ctx": {f"recipe.joint.{ON_IMAGE_CONTEXT}": "none"},
    "wo_vdg": {"recipe.joint.model.unet.in_channels": 4},
    "wo_lambda": {"model.unet.learned_gate": False},
    "ours_g": {f"recipe.{s}.{ON_IMAGE_CONTEXT}": "global" for s in ("context", "adapt", "joint")},
    "one_stage": {},
    "full_t2v": {},
    "first_frame": {f"recipe.{s}.condition_frame": "first" for s in ("adapt", "joint")},
    "stock_captions": {"captions": "stock"},
}
ON_THE_PAPERS_RECIPE = {
    "wo_ctx": {
        "recipe.stages": ["joint"],
        "recipe.joint.added_steps": 30_000,
        "recipe.joint.start": [
            {"from": "video"},
            {"from": "image", "groups": ["autoencoder"]},
            {"from": "clip"},
        ],
    },
    "one_stage": {
        "recipe.stages": ["adapt", "joint"],
        "recipe.adapt.start": [
            {"from": "video"},
            {"from": "image", "groups": ["autoencoder"]},
            {"from": "clip"},
        ],
    },
    "full_t2v": {
        "recipe.joint.trainable": [
            "image_projector",
            "image_cross_attention_kv",
            "spatial",
            "lambda_alpha",
            "temporal_transformer",
            "temporal_conv",
            "temporal_init_attn",
        ],
    },
}
ON_THE_TINY_RECIPE = {
    "wo_ctx": {
        "recipe.stages": ["autoencoder", "joint"],
        "recipe.joint.added_steps": 30,
        "recipe.joint.start": [{"from": "previous", "groups": FROZEN_PARTS}],
    },
    "one_stage": {
        "recipe.stages": ["autoencoder", "adapt", "joint"],
        "recipe.adapt.start": [{"from": "previous", "groups": FROZEN_PARTS}],
    },
}
BY_RECIPE = {"dynamicrafter": ON_THE_PAPERS_RECIPE, "tiny": ON_THE_TINY_RECIPE}


def test_every_ablation_is_looked_at_here():
    assert {path.stem for path in CONF.glob("*.yaml")} == set(ARMS) == set(SAME_IN_BOTH)


@pytest.mark.parametrize("recipe", sorted(RECIPES))
@pytest.mark.parametrize("arm", ARMS)
def test_it_changes_the_stated_settings_and_no_other(arm, recipe):
    before = settings(composed(None, *RECIPES[recipe]))
    after = settings(composed(arm, *RECIPES[recipe]))
    assert before.keys() <= after.keys()
    absent = object()
    changed = {key: value for key, value in after.items() if before.get(key, absent) != value}
    assert changed == {**SAME_IN_BOTH[arm], **BY_RECIPE[recipe].get(arm, {})}


BUDGETS = {
    "full": [1_000_000, 30_000, 100_000],
    "wo_ctx": [130_000],
    "one_stage": [30_000, 100_000],
}


@pytest.mark.parametrize("arm", ARMS)
def test_steps_of_the_stages(arm):
    config = composed(arm, *RECIPES["dynamicrafter"])
    steps = [stage_settings(config, name).steps for name in config.recipe.stages]
    assert steps == BUDGETS.get(arm, BUDGETS["full"])


@pytest.mark.parametrize(("recipe", "first_step"), [("dynamicrafter", 0), ("tiny", 450)])
def test_steps_given_on_the_command_line_carry_over(recipe, first_step):
    own = ["recipe.adapt.steps=7", "recipe.joint.steps=11"]
    config = composed("wo_ctx", *RECIPES[recipe], *own)
    found = stage_settings(config, "joint")
    assert (found.steps, found.first_step) == (18, first_step)
    assert stage_steps(composed(None, *RECIPES[recipe], *own), "joint") == 11


def test_an_ablation_on_a_recipe_without_its_stages_is_refused():
    with initialize_config_module("conf", version_base="1.3"):
        base = ["recipe=finetune", "recipe.base.model=m"]
        config = compose("train", ["data=d", *base, "+ablation=wo_vdg"])
        without = compose("train", ["data=d", *base, "+ablation=one_stage"])
    with pytest.raises(InputError, match=r"recipe\.joint sets model, but .* no stage joint"):
        check_stage(config, "finetune")
    with pytest.raises(errors.InterpolationKeyError, match=r"recipe\.ablations\.one_stage"):
        OmegaConf.to_container(without, resolve=True)


def wanted_names(arm: str, stage: str) -> set[str]:
    """All tensors of U-Net and image projection, from the released model's key lists."""
    groups, projection = golden("256")
    absent = set()
    if stage == "context":
        absent |= NOT_IN_AN_IMAGE_MODEL
    if arm == "wo_lambda":
        absent |= {"lambda_alpha"}
    if arm == "wo_ctx":
        absent |= IMAGE
        projection = set()
    if arm == "ours_g":
        projection = {P + name for name in P_G}
    return projection | {UNET + key for key, group in groups.items() if group not in absent}


def wanted_groups(arm: str, stage: str) -> set[str]:
    if stage == "context":
        return {"image_projector", "image_cross_attention_kv"}
    extra = TEMPORAL if (arm, stage) == ("full_t2v", "joint") else set()
    return TRAINED | extra


def wanted_channels(arm: str, stage: str) -> int:
    return 8 if stage == "joint" and arm != "wo_vdg" else 4


def wanted(arm: str, stage: str) -> tuple:
    return tuple(f(arm, stage) for f in (wanted_names, wanted_groups, wanted_channels))


@pytest.mark.parametrize("arm", sorted(set(ARMS) - {"full"}))
def test_tensors_of_the_256_model_and_which_of_them_are_trained(arm):
    """`full` is looked at in test_groups.py, and with it each stage that shall be the same."""
    full, config = (composed(one, *RECIPES["dynamicrafter"]) for one in ("full", arm))
    for stage in config.recipe.stages:
        if wanted(arm, stage) == wanted("full", stage):
            assert stage_model(config, stage) == stage_model(full, stage)
            assert config.recipe[stage].trainable == full.recipe[stage].trainable
            continue
        names, groups, channels = wanted(arm, stage)
        found = tensors_of(config, stage)
        assert {name for name in found if name.startswith((UNET, P))} == names, stage
        trained = {name for name, tensor in found.items() if tensor.requires_grad}
        assert trained == {name for name in names if parameter_group(name) in groups}, stage
        assert found[f"{UNET}input_blocks.0.0.weight"].shape[1] == channels
        assert any(name.startswith("embedder.") for name in found) == (arm != "wo_ctx")
        if arm == "ours_g":
            assert found[f"{P}proj.weight"].shape == (4 * 1024, 1024)
