"""`dynamicrafter train`: the stages of a recipe, one after the other.

    <run_dir>/stages/01-context/   model.safetensors + model.yaml once the stage is whole,
                                   handover.json, metrics.jsonl, checkpoints/
    <run_dir>/model/               the last stage's weights and config: what `animate` reads
    <run_dir>/summary.json         losses, seconds and parameter counts of each stage

A whole stage is never trained again; a stopped one goes on from its newest whole checkpoint.
"""

import contextlib
import shutil
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf

from dynamicrafter import draws, files, tracking
from dynamicrafter.command import choose_device
from dynamicrafter.errors import InputError
from dynamicrafter.model.animation import AnimationConfig, AnimationModel
from dynamicrafter.model.pretrained import CONFIG, WEIGHTS, load_model, save_model
from dynamicrafter.shards import ShardReader
from train import objectives
from train.data import ClipFrames, ClipWindows, Window
from train.handover import PREVIOUS, choose_trainable, hand_over
from train.loop import Settings, train_stage
from train.reconstruction import latent_scale, reconstruction_quality


def inputs(config: DictConfig) -> dict[str, str]:
    """Digests of the data and of every weight file that a stage starts from.

    Raises:
        InputError: a stage cannot be built as the config says; found before anything is trained.
    """
    if config.on_change == "redo":
        raise InputError("train does not redo in place; pass on_change=restart or another run_dir")
    for name in config.recipe.stages:
        _check_stage(config, name)
    digests = {"data": ShardReader(config.data).digest}
    if config.validation:
        digests["validation"] = ShardReader(config.validation).digest
    for name in config.recipe.stages:
        for source in config.recipe[name].start:
            if source["from"] != PREVIOUS:
                if not Path(source["from"]).is_file():
                    raise InputError(f"stage {name} starts from {source['from']}: no such file")
                digests[source["from"]] = files.sha256_file(source["from"])
    return digests


def run(config: DictConfig, folder: Path) -> dict[str, Any]:
    """Train all stages of `config.recipe` in `folder`; returns the summary."""
    if config.threads:
        torch.set_num_threads(config.threads)
    size = tuple(config.model.resolution)
    clips = ClipFrames(ShardReader(config.data), size, config.keep_decoded)
    plain = OmegaConf.to_container(config, resolve=True)
    summary: dict[str, Any] = {"stages": [], "notes": list(config.recipe.get("notes", []))}
    with tracking.open_run(config.tracking, folder, "train", plain) as tracker:
        previous, first_step = None, 0
        for number, name in enumerate(config.recipe.stages, 1):
            place = folder / "stages" / f"{number:02d}-{name}"
            summary["stages"].append(
                _stage(config, name, place, previous, clips, tracker, first_step)
            )
            previous, first_step = place, first_step + config.recipe[name].steps
        if config.validation:
            summary["autoencoder"] = _judge_autoencoder(config, folder, previous, tracker)
        _publish(previous, folder / "model")
        tracker.summary(_flat(summary))
    files.write_json(folder / "summary.json", summary)
    return summary


def _stage(
    config: DictConfig,
    name: str,
    place: Path,
    previous: Path | None,
    clips: ClipFrames,
    tracker: tracking.Run,
    first_step: int,
) -> dict[str, Any]:
    """Train one stage in `place` unless it is whole; returns its part of the summary."""
    if (place / "stage.json").exists():
        return files.read_json(place / "stage.json")
    stage = config.recipe[name]
    place.mkdir(parents=True, exist_ok=True)

    model_config = stage_model(config, name)
    if previous is not None:  # measured by the stage that trained the autoencoder
        model_config["scale_factor"] = OmegaConf.load(previous / CONFIG)["scale_factor"]
    with seeded_initialisation(config.seed, name):
        model = AnimationModel(AnimationConfig.from_dict(model_config))
    sources = OmegaConf.to_container(stage.start, resolve=True)
    reports = hand_over(model, sources, previous / WEIGHTS if previous else None)
    files.write_json(place / "handover.json", reports)
    counts = choose_trainable(model, list(stage.trainable))
    model.to(choose_device(config.device))

    window = Window(model.config.frames, tuple(stage.frame_stride))
    windows = ClipWindows(clips, config.seed, name, window)
    settings = Settings(
        name=name,
        steps=stage.steps,
        batch=stage.batch,
        learning_rate=stage.learning_rate,
        warmup_steps=stage.warmup_steps,
        final_learning_rate=stage.final_learning_rate,
        weight_decay=stage.weight_decay,
        betas=tuple(stage.betas),
        gradient_clip=stage.gradient_clip,
        checkpoint_every=stage.checkpoint_every,
        seed=config.seed,
        loader_workers=config.loader_workers,
        first_step=first_step,
    )
    provenance = {
        "config": {"model": model_config, "stage": OmegaConf.to_container(stage, resolve=True)},
        "data": clips.reader.digest,
        "start": [report["sha256"] for report in reports],
    }
    losses = train_stage(
        model, _objective(config, stage), windows, settings, place, tracker, provenance
    )

    if "autoencoder" in stage.trainable:
        model_config["scale_factor"] = latent_scale(model, windows, config.seed)
    save_model(place, model, model_config)
    result = {"name": name, **losses, **counts}
    files.write_json(place / "stage.json", result)
    return result


def stage_model(config: DictConfig, name: str) -> dict[str, Any]:
    """The model of a stage as a plain config: the run's model with the stage's differences."""
    parts = (config.model, config.recipe[name].model)
    plain = [OmegaConf.create(OmegaConf.to_container(part, resolve=True)) for part in parts]
    return OmegaConf.to_container(OmegaConf.merge(*plain))


def _check_stage(config: DictConfig, name: str) -> None:
    """Build a stage's model without memory, choose its parameters, look up its objective."""
    with torch.device("meta"):
        model = AnimationModel(AnimationConfig.from_dict(stage_model(config, name)))
    model.latent_shape(model.config.frames, *model.config.resolution)
    choose_trainable(model, list(config.recipe[name].trainable))
    _objective(config, config.recipe[name])


def _objective(config: DictConfig, stage: DictConfig):
    if stage.objective == "reconstruction":
        return objectives.reconstruction
    if stage.objective == "diffusion":
        return objectives.diffusion(
            condition_frame=stage.condition_frame,
            drop_conditions=stage.drop_conditions,
            fs=config.model.fs_means,
        )
    raise InputError(f"objective is {stage.objective!r}; choose diffusion or reconstruction")


@contextlib.contextmanager
def seeded_initialisation(seed: int, stage: str):
    """Make random initial weights a function of (seed, stage) inside the block."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(draws.key(seed, 0, f"{stage}/initialisation") % 2**63)
        yield


def _judge_autoencoder(
    config: DictConfig, folder: Path, last: Path, tracker: tracking.Run
) -> dict[str, Any]:
    """PSNR and a picture of the autoencoder on frames that no stage has seen."""
    picture = folder / "reconstruction.png"
    model = load_model(last)
    quality = reconstruction_quality(model, ShardReader(config.validation), picture)
    if quality["media_may_be_passed_on"] or config.allow_media:
        words = "held-out frames above, decoded below"
        tracker.image("autoencoder/reconstruction", picture, words)
    return quality


def _publish(last: Path, target: Path) -> None:
    if target.exists():
        return
    with files.atomic_folder(target) as partial:
        for name in (WEIGHTS, CONFIG):
            with files.atomic_path(partial / name) as path:
                shutil.copyfile(last / name, path)


def _flat(summary: dict[str, Any]) -> dict[str, float]:
    values = {f"{s['name']}/last_loss": s["last_loss"] for s in summary["stages"]}
    if "autoencoder" in summary:
        values["autoencoder/psnr_db"] = summary["autoencoder"]["psnr_db"]
    return values
