"""One stage of a recipe: what its settings mean, the model it begins with, the model it ends with.

<stage folder>/handover.json    which tensors came from where, which are new
               metrics.jsonl, validation.jsonl, checkpoints/, samples/
               model.safetensors + model.yaml    once the stage is whole
               ema/            the same with averaged weights, where they are asked for
               stage.json      its part of the summary; written last
"""

import contextlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf

from dynamicrafter import draws
from dynamicrafter.errors import InputError
from dynamicrafter.model.animation import AnimationConfig, AnimationModel
from dynamicrafter.model.pretrained import CONFIG, WEIGHTS
from train.handover import choose_trainable, hand_over
from train.objectives import Diffusion, Objective, Reconstruction
from train.settings import Settings, stage_steps

RESULT = "stage.json"
NO_STAGES = ("base", "ablations")  # blocks of a recipe that describe none


@dataclass(frozen=True)
class Beginning:
    """A stage's model as it begins.

    Attributes:
        model: filled from the stage's sources, with the trained parameters marked.
        config: the plain config that it was built from.
        reports: of the hand-over, one for each source.
        counts: trained and frozen parameters.
    """

    model: AnimationModel
    config: dict[str, Any]
    reports: list[dict[str, Any]]
    counts: dict[str, int]


def begin_stage(config: DictConfig, name: str, previous: Path | None) -> Beginning:
    """Build the model of stage `name` and fill it from its sources.

    Args:
        config: the composed train config.
        name: of the stage.
        previous: folder of the stage before, if there is one.
    """
    stage = config.recipe[name]
    plain = stage_model(config, name)
    if previous is not None:  # measured by the stage that trained the autoencoder
        plain["scale_factor"] = OmegaConf.load(previous / CONFIG)["scale_factor"]
    with seeded_initialisation(config.seed, name):
        model = AnimationModel(AnimationConfig.from_dict(plain))
    sources = OmegaConf.to_container(stage.start, resolve=True)
    reports = hand_over(model, sources, previous / WEIGHTS if previous else None)
    counts = choose_trainable(model, list(stage.trainable))
    return Beginning(model, plain, reports, counts)


def stage_model(config: DictConfig, name: str) -> dict[str, Any]:
    """The model of a stage as a plain config: the run's model with the stage's differences."""
    parts = (config.model, config.recipe[name].model)
    plain = [OmegaConf.create(OmegaConf.to_container(part, resolve=True)) for part in parts]
    return OmegaConf.to_container(OmegaConf.merge(*plain))


def stage_settings(config: DictConfig, name: str) -> Settings:
    """What the loop of stage `name` is told."""
    stage = config.recipe[name]
    before = list(config.recipe.stages)[: list(config.recipe.stages).index(name)]
    return Settings(
        name=name,
        steps=stage_steps(config, name),
        batch=stage.batch,
        learning_rate=stage.learning_rate,
        warmup_steps=stage.warmup_steps,
        final_learning_rate=stage.final_learning_rate,
        weight_decay=stage.weight_decay,
        betas=tuple(stage.betas),
        gradient_clip=stage.gradient_clip,
        ema_decay=stage.ema_decay,
        seed=config.seed,
        first_step=sum(stage_steps(config, other) for other in before),
        checkpoint_every=stage.checkpoint_every,
        keep_last=config.checkpoints.keep_last,
        keep_every=config.checkpoints.keep_every,
        loader_workers=config.loader_workers,
        microbatch=of_stage(config.microbatch, name),
        max_failed_share=config.max_failed_share,
        profile=config.profile,
    )


def stage_objective(config: DictConfig, name: str) -> Objective:
    """What stage `name` minimises.

    Raises:
        InputError: there is no such objective.
    """
    stage = config.recipe[name]
    if stage.objective == "reconstruction":
        return Reconstruction()
    if stage.objective == "diffusion":
        return Diffusion(
            condition_frame=stage.condition_frame,
            drop_conditions=stage.drop_conditions,
            fs=config.model.fs_means,
            interpolation=stage.interpolation,
        )
    raise InputError(f"objective is {stage.objective!r}; choose diffusion or reconstruction")


def of_stage(setting: Any, name: str) -> Any:
    """A setting that is one value for all stages, or values by stage; None for others."""
    return setting.get(name) if isinstance(setting, dict | DictConfig) else setting


def check_stage(config: DictConfig, name: str) -> None:
    """Build a stage's model without memory, choose its parameters, look up its objective.

    Raises:
        InputError: something of it cannot be as the config says.
    """
    _refuse_stray_blocks(config.recipe)
    with torch.device("meta"):
        model = AnimationModel(AnimationConfig.from_dict(stage_model(config, name)))
    model.latent_shape(model.config.frames, *model.config.resolution)
    choose_trainable(model, list(config.recipe[name].trainable))
    stage_objective(config, name)
    stage_settings(config, name)


def _refuse_stray_blocks(recipe: DictConfig) -> None:
    """Refuse settings of a stage that the recipe does not have, which would do nothing."""
    for name, block in recipe.items():
        if isinstance(block, DictConfig) and name not in NO_STAGES and "objective" not in block:
            raise InputError(
                f"recipe.{name} sets {', '.join(map(str, block))}, but this recipe has no stage "
                f"{name}; an experiment or ablation for another recipe? Leave it out"
            )


@contextlib.contextmanager
def seeded_initialisation(seed: int, stage: str):
    """Make random initial weights a function of (seed, stage) inside the block."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(draws.key(seed, 0, f"{stage}/initialisation") % 2**63)
        yield
