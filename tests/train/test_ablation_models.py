"""The models of the ablations: no parameter without use, and what is frozen is frozen in common."""

import functools
import json

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf

from dynamicrafter.draws import BatchDraws
from dynamicrafter.model.animation import AnimationConfig, AnimationModel
from dynamicrafter.model.names import parameter_group
from dynamicrafter.model.pretrained import save_model
from dynamicrafter.model.weights import save_weights
from tests.train.ablating import ARMS, RECIPES, SMALL, TEMPORAL, composed
from train.data import Batch
from train.objectives import Diffusion
from train.stage import begin_stage, stage_model, stage_objective

UNET, P = "model.diffusion_model.", "image_proj_model."
CONV_IN = f"{UNET}input_blocks.0.0.weight"
ON_TINY = ["model=tiny", *SMALL, *RECIPES["dynamicrafter"]]


def small_model(plain: dict) -> AnimationModel:
    """A model with random weights, those that begin at zero too; all but the encoders trained."""
    torch.manual_seed(0)
    model = AnimationModel(AnimationConfig.from_dict(plain))
    with torch.no_grad():
        for parameter in model.unet.parameters():
            parameter.normal_(std=0.05)
    return model.train()


def encoded_of(model: AnimationModel, objective: Diffusion, chance: BatchDraws):
    """Two clips of noise, as the objective encodes them."""
    shape = (2, model.config.frames, *model.config.resolution, 3)
    frames = torch.from_numpy(np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8))
    stride, fps = torch.tensor([1, 4]), torch.tensor([24.0, 6.0])
    captions = ["a cat runs", "a tree falls"]
    return objective.encode(
        model, Batch([0, 1], ["a", "b"], frames, captions, stride, fps, []), chance
    )


def without_gradient(model: AnimationModel, objective: Diffusion) -> list[str]:
    """Parameters of U-Net and image projection that a step does not reach."""
    chance = BatchDraws(0, "joint", [0, 1])
    encoded = encoded_of(model, objective, chance)
    drawn = objective.draw(model, encoded, chance)
    objective.losses(model, encoded, drawn).sum().backward()
    return [
        name
        for name, parameter in model.named_parameters()
        if name.startswith((UNET, P)) and (parameter.grad is None or not parameter.grad.any())
    ]


OBJECTIVE = Diffusion(condition_frame="random", drop_conditions=0.05, fs="stride")


@functools.cache
def unused_of(plain: str) -> list[str]:
    """Cached, for many stages of the arms have the same model."""
    return without_gradient(small_model(json.loads(plain)), OBJECTIVE)


@pytest.mark.parametrize("arm", ARMS)
def test_no_parameter_is_without_use(arm):
    """Every parameter of U-Net and image projection gets a gradient, in every stage."""
    config = composed(arm, *ON_TINY)
    for stage in config.recipe.stages:
        assert unused_of(json.dumps(stage_model(config, stage))) == [], stage


def test_a_parameter_without_use_would_be_found():
    model = small_model(stage_model(composed("wo_ctx", *ON_TINY), "joint"))
    model.unet.middle_block.dead = torch.nn.Parameter(torch.ones(1))
    assert without_gradient(model, OBJECTIVE) == [f"{UNET}middle_block.dead"]


@pytest.mark.parametrize(("arm", "drawn"), [("full", True), ("first_frame", False)])
def test_the_condition_frame(arm, drawn):
    """Of eight samples a drawn frame is another than the first at least once."""
    config = composed(arm, *ON_TINY)
    model = small_model(stage_model(config, "joint"))
    objective = stage_objective(config, "joint")
    others = []
    for number in range(0, 8, 2):
        encoded = encoded_of(model, objective, BatchDraws(3, "joint", [number, number + 1]))
        first = encoded.z[:, :, :1].expand_as(encoded.z)
        others.append(not torch.equal(encoded.condition, first))
    assert any(others) == drawn


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """Base weights as the paper's recipe wants them, no two alike, and `adapt` begun on them."""
    folder = tmp_path_factory.mktemp("base")
    image_model = {"spatial", "time_embed", "autoencoder", "text_encoder"}
    words = []
    for seed, (name, stage, groups) in enumerate(
        (
            ("image_model", "context", image_model),
            ("video_model", "adapt", image_model | TEMPORAL | {"fs_embedding"}),
            ("encoders", "adapt", {"text_encoder", "image_encoder"}),
        )
    ):
        torch.manual_seed(seed)
        plain = stage_model(composed("full", *ON_TINY), stage)
        state = AnimationModel(AnimationConfig.from_dict(plain)).state_dict()
        own = {key: tensor for key, tensor in state.items() if parameter_group(key) in groups}
        save_weights(folder / f"{name}.safetensors", own)
        words.append(f"{name}: {folder / name}.safetensors")
    overrides = ["model=tiny", *SMALL, f"recipe.base={{{', '.join(words)}}}"]
    config = composed("full", *overrides)
    context = begin_stage(config, "context", None)
    save_model(folder / "context", context.model, context.config)
    return overrides, begin_stage(config, "adapt", folder / "context").model.state_dict()


@pytest.mark.parametrize(
    ("arm", "stage", "new"),
    [
        ("one_stage", "adapt", {"image_projector", "image_cross_attention_kv", "lambda_alpha"}),
        ("wo_ctx", "joint", set()),
    ],
)
def test_where_a_stage_has_fallen_away_the_rest_is_that_of_the_full_recipe(base, arm, stage, new):
    """Latents and text states are the same in all arms; P, if there is one, is untrained."""
    overrides, full = base
    found = begin_stage(composed(arm, *overrides), stage, None)
    assert {parameter_group(name) for name in found.reports[-1]["new"]} == new
    state = found.model.state_dict()
    conv_in = state.pop(CONV_IN)
    assert torch.equal(conv_in[:, :4], full[CONV_IN])
    assert not conv_in[:, 4:].any()
    kept = {name: tensor for name, tensor in state.items() if parameter_group(name) not in new}
    assert {"autoencoder", "text_encoder", *TEMPORAL} <= {parameter_group(name) for name in kept}
    for name, tensor in kept.items():
        assert torch.equal(tensor, full[name]), name
    for name in found.reports[-1]["new"]:
        if name.endswith(("latents", "to_k_ip.weight")):
            assert not torch.equal(state[name], full[name]), name


@pytest.mark.parametrize("arm", ["full", "wo_lambda", "ours_g", "wo_ctx"])
def test_the_autoencoder_of_the_tiny_recipe_is_that_of_the_full_one(arm):
    """So that it is trained once for all arms, and they share their latents."""
    overrides = [*RECIPES["tiny"], *SMALL]
    stages = [composed(one, *overrides) for one in ("full", arm)]
    models = [stage_model(config, "autoencoder") for config in stages]
    assert models[0] == models[1]
    blocks = [OmegaConf.to_container(c.recipe.autoencoder, resolve=True) for c in stages]
    assert blocks[0] == blocks[1]


@pytest.mark.parametrize("arm", sorted(set(ARMS) - {"ours_g", "stock_captions"}))
def test_the_context_stage_is_that_of_the_full_recipe(arm):
    """Arms that have one differ later, so it is trained once for all of them."""
    full, config = composed("full", *ON_TINY), composed(arm, *ON_TINY)
    if "context" in config.recipe.stages:
        assert stage_model(config, "context") == stage_model(full, "context")
        assert config.recipe.context == full.recipe.context
