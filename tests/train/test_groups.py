"""What each stage trains, to the tensor, against the key lists of the released models."""

import json
from pathlib import Path

import pytest
from hydra import compose, initialize_config_module

from train.plan.counts import count_stage, tensors_of, without_missing

KEYS = Path(__file__).parents[1] / "golden" / "keys"
UNET, P = "model.diffusion_model.", "image_proj_model."
# Stage → groups of the key lists that are trained besides P (paper, section 3.3).
TRAINED = {
    "context": {"image_cross_attention_kv"},
    "adapt": {"image_cross_attention_kv", "spatial", "lambda_alpha"},
    "joint": {"image_cross_attention_kv", "spatial", "lambda_alpha"},
}
NOT_IN_AN_IMAGE_MODEL = {
    "temporal_transformer",
    "temporal_conv",
    "temporal_init_attn",
    "fs_embedding",
    "lambda_alpha",
}


def golden(size: str) -> tuple[dict[str, str], set[str]]:
    """The released model's group of every U-Net tensor, and the names of P."""
    lists = json.loads((KEYS / f"keys{size}.json").read_text())
    return lists["unet_key_group"], {key for key in lists["state_dict"] if key.startswith(P)}


def config_of(*overrides: str):
    with initialize_config_module("conf", version_base="1.3"):
        return without_missing(compose("plan_train", list(overrides)))


def trained(config, stage: str) -> set[str]:
    return {name for name, tensor in tensors_of(config, stage).items() if tensor.requires_grad}


@pytest.mark.parametrize("size", ["256", "512", "1024"])
@pytest.mark.parametrize("stage", list(TRAINED))
def test_the_trained_tensors_are_those_of_the_key_lists(size, stage):
    groups, projection = golden(size)
    wanted = {UNET + key for key, group in groups.items() if group in TRAINED[stage]}
    assert trained(config_of(f"model=dynamicrafter_{size}"), stage) == wanted | projection


@pytest.mark.parametrize("size", ["256", "512", "1024"])
def test_the_last_stage_has_every_tensor_of_the_released_model_and_no_other(size):
    groups, projection = golden(size)
    found = tensors_of(config_of(f"model=dynamicrafter_{size}"), "joint")
    own = {name for name in found if name.startswith((UNET, P))}
    assert own == {UNET + key for key in groups} | projection


@pytest.mark.parametrize("size", ["256", "512", "1024"])
def test_the_image_model_of_the_context_stage_has_no_temporal_tensor(size):
    groups, _ = golden(size)
    found = tensors_of(config_of(f"model=dynamicrafter_{size}"), "context")
    wanted = {UNET + key for key, group in groups.items() if group not in NOT_IN_AN_IMAGE_MODEL}
    assert {name for name in found if name.startswith(UNET)} == wanted


@pytest.mark.parametrize("size", ["256", "512", "1024"])
def test_fine_tuning_leaves_everything_temporal_frozen_unless_it_is_freed(size):
    groups, _ = golden(size)
    overrides = ["recipe=finetune", f"model=dynamicrafter_{size}"]
    config = config_of(*overrides)
    assert trained(config, "finetune") == trained(config_of(f"model=dynamicrafter_{size}"), "joint")
    freed = config_of(*overrides, "recipe.finetune.trainable=[temporal_conv,time_embed]")
    wanted = {k for k, group in groups.items() if group in ("temporal_conv", "time_embed")}
    assert trained(freed, "finetune") == {UNET + key for key in wanted}


def test_what_is_new_where_the_papers_base_weights_are_assumed():
    config = config_of("model=dynamicrafter_256")
    context = count_stage(config, "context", {})
    adapt = count_stage(config, "adapt", tensors_of(config, "context"))
    joint = count_stage(config, "joint", tensors_of(config, "adapt"))
    assert set(context["new"]) == trained(config, "context")  # in no text-to-image model
    assert len(adapt["new"]) == 16
    assert all(name.endswith(".alpha") for name in adapt["new"])
    assert joint["new"] == []
