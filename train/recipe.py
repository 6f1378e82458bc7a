"""`dynamicrafter train`: the stages of a recipe, one after the other.

    <run_dir>/stages/01-context/   see `train/stage.py`
    <run_dir>/model/               the last stage's weights and config: what `animate` reads
    <run_dir>/summary.json         losses, seconds and parameter counts of each stage

A whole stage is never trained again; a stopped one goes on from its newest whole checkpoint.
Started by torchrun, all ranks run this; rank 0 alone writes.
"""

import contextlib
import gc
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf
from torch import Tensor

from dynamicrafter import files, tracking
from dynamicrafter.command import say
from dynamicrafter.errors import InputError, MachineError
from dynamicrafter.model.pretrained import CONFIG, WEIGHTS, load_model, save_state
from dynamicrafter.ranks import Ranks, own_device, ranks_here
from train import parallel
from train.context import Context
from train.data import Clips, Positions, check_batch, open_clips, open_held_out, stage_windows
from train.handover import PREVIOUS, locate, save_reports
from train.journal import Journal, loss_summary
from train.loop import train_stage
from train.objectives import Objective, Reconstruction
from train.plan import advice_for_oom, flops_per_clip
from train.precision import choose_precision
from train.reconstruction import latent_scale, reconstruction_quality
from train.settings import Settings
from train.stage import (
    Beginning,
    begin_stage,
    check_stage,
    of_stage,
    stage_objective,
    stage_settings,
)
from train.step import Fit, Step
from train.stopping import interrupting_signals
from train.validator import open_validator, validation_settings

EMA_FOLDER = "ema"


def leads(config: DictConfig) -> bool:
    """Whether this process holds the run folder; the other ranks of torchrun follow it."""
    return ranks_here().leads


def inputs(config: DictConfig) -> dict[str, str]:
    """Digests of the data and of every weight file that a stage starts from.

    Raises:
        InputError: a stage cannot be built as the config says; found before anything is trained.
    """
    if config.on_change == "redo":
        raise InputError("train does not redo in place; pass on_change=restart or another run_dir")
    for name in config.recipe.stages:
        check_stage(config, name)
    clips, ranks = open_clips(config), ranks_here()
    for name in config.recipe.stages:
        settings = stage_settings(config, name)
        check_batch(stage_windows(clips, config, name), settings.batch)
        Positions(0, 1, settings.batch, ranks.rank, ranks.count, settings.microbatch)
    digests = dict(clips.digests)
    if config.validation:
        validation_settings(config, interpolation=False)
        for name, digest in open_held_out(config).digests.items():
            digests[name.replace("data", "validation", 1)] = digest
    for name in config.recipe.stages:
        for source in config.recipe[name].start:
            if source["from"] != PREVIOUS:
                digests[source["from"]] = files.sha256_file(locate(source["from"], name))
    return digests


@dataclass(frozen=True)
class Shared:
    """What the stages of a run share."""

    config: DictConfig
    folder: Path
    clips: Clips
    ranks: Ranks
    device: torch.device
    tracker: tracking.Run | None  # of the leading rank


def run(config: DictConfig, folder: Path) -> dict[str, Any]:
    """Train all stages of `config.recipe` in `folder`; returns the summary."""
    if config.threads:
        torch.set_num_threads(config.threads)
    ranks = ranks_here()
    device = own_device(config.device, ranks)
    with (
        interrupting_signals(),
        parallel.joined(ranks, device),
        _tracker(config, folder, ranks) as tracker,
    ):
        shared = Shared(config, folder, open_clips(config), ranks, device, tracker)
        summary: dict[str, Any] = {"stages": [], "notes": list(config.recipe.get("notes", []))}
        previous = None
        for number, name in enumerate(config.recipe.stages, 1):
            place = folder / "stages" / f"{number:02d}-{name}"
            summary["stages"].append(_stage(shared, name, place, previous))
            previous = place
        if ranks.leads:
            _finish(shared, previous, summary)
    return summary


def _tracker(
    config: DictConfig, folder: Path, ranks: Ranks
) -> contextlib.AbstractContextManager[tracking.Run | None]:
    if not ranks.leads:
        return contextlib.nullcontext()
    plain = OmegaConf.to_container(config, resolve=True)
    return tracking.open_run(config.tracking, folder, "train", plain, from_the_start=True)


def _stage(shared: Shared, name: str, place: Path, previous: Path | None) -> dict[str, Any]:
    """Train one stage in `place` unless it is whole; returns its part of the summary."""
    ranks, settings = shared.ranks, stage_settings(shared.config, name)
    journal = Journal(place, name, shared.tracker, settings.first_step)
    if parallel.from_leader(ranks, (place / "stage.json").exists):
        journal.begin_at(settings.steps)
        return files.read_json(place / "stage.json")
    place.mkdir(parents=True, exist_ok=True)

    beginning = begin_stage(shared.config, name, previous)
    if ranks.leads:
        save_reports(place, beginning.reports)
    # On the device the frozen tensors may be lowered to bf16; what is saved are these.
    original = beginning.model.state_dict() if ranks.leads else {}
    counts = beginning.counts
    trained, averaged, model_config = _train(shared, name, beginning, settings, journal, place)
    del beginning
    gc.collect()  # the next stage needs the room

    def end() -> dict[str, Any]:
        if averaged:
            save_state(place / EMA_FOLDER, {**original, **averaged}, model_config)
        save_state(place, {**original, **trained}, model_config)
        result = {"name": name, **loss_summary(place), **counts}
        files.write_json(place / "stage.json", result)
        return result

    return parallel.from_leader(ranks, end)


def _train(
    shared: Shared,
    name: str,
    beginning: Beginning,
    settings: Settings,
    journal: Journal,
    place: Path,
) -> tuple[dict[str, Tensor], dict[str, Tensor], dict[str, Any]]:
    """Train a stage's model; returns what was trained, its averages, and the model's config."""
    config, model = shared.config, beginning.model
    objective = stage_objective(config, name)
    windows = stage_windows(shared.clips, config, name)
    context = _context(shared, name, beginning, place)
    with _advice_on_memory(config, name):
        step = Step(model, objective, shared.device, _fit(shared, name, objective), shared.ranks)
        validator = open_validator(config, name, model, objective, step, context)
        training = train_stage(step, windows, settings, context, journal, validator)
    model_config = dict(beginning.config)
    if "autoencoder" in config.recipe[name].trainable:
        model_config["scale_factor"] = latent_scale(model, windows, config.seed)
    averages = training.ema.average if training.ema else {}
    trained, averaged = (
        {key: parallel.whole(tensor.detach()).cpu() for key, tensor in part.items()}
        for part in (training.trained, averages)
    )
    return trained, averaged, model_config


def _context(shared: Shared, name: str, beginning: Beginning, place: Path) -> Context:
    stage = OmegaConf.to_container(shared.config.recipe[name], resolve=True)
    on_gpu = shared.device.type == "cuda"
    return Context(
        folder=place,
        device=shared.device,
        ranks=shared.ranks,
        provenance={
            "config": {"model": beginning.config, "stage": stage},
            "data": shared.clips.digests,
            "start": [report["sha256"] for report in beginning.reports],
            "wandb": shared.tracker.id if shared.tracker else None,
        },
        flops_per_clip=flops_per_clip(shared.config, name) if on_gpu else None,
    )


@contextlib.contextmanager
def _advice_on_memory(config: DictConfig, name: str) -> Iterator[None]:
    """Say what to lower where memory runs out inside the block."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if (said := _out_of_memory(error)) is None:
            raise
        raise MachineError(advice_for_oom(config, name, said)) from None


def _out_of_memory(error: MemoryError | RuntimeError) -> str | None:
    """What an error says if it is a want of memory; the host's has no kind of its own in torch."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return str(error) or "MemoryError"
    _, found, said = str(error).partition("DefaultCPUAllocator: ")
    return said if found else None


def _fit(shared: Shared, name: str, objective: Objective) -> Fit:
    config = shared.config
    wanted = parallel.choose_parallel(config.parallel, shared.ranks)
    if wanted == "fsdp" and isinstance(objective, Reconstruction):
        wanted = "ddp"  # an autoencoder is small, and is not trained through its `forward`
    return Fit(
        precision=choose_precision(config.precision, shared.device),
        recompute=of_stage(config.recompute, name) or "none",
        offload=bool(config.offload),
        parallel=wanted,
    )


def _finish(shared: Shared, last: Path, summary: dict[str, Any]) -> None:
    """Judge the autoencoder, publish the model, write the summary."""
    averaged = last / EMA_FOLDER
    result = averaged if averaged.exists() else last
    if shared.config.validation and _trains_autoencoder(shared.config):
        summary["autoencoder"] = _judge_autoencoder(shared, result)
    _publish(result, shared.folder / "model")
    shared.tracker.summary(_flat(summary))
    files.write_json(shared.folder / "summary.json", summary)
    for stage in summary["stages"]:
        shares = ", ".join(f"{phase} {share:.0%}" for phase, share in stage["phases"].items())
        say(f"{stage['name']}: where the steps went: {shares}")
        if stage["replaced_clips"]:
            say(f"{stage['name']}: {len(stage['replaced_clips'])} clips could not be read")


def _trains_autoencoder(config: DictConfig) -> bool:
    return any("autoencoder" in config.recipe[name].trainable for name in config.recipe.stages)


def _judge_autoencoder(shared: Shared, result: Path) -> dict[str, Any]:
    """PSNR and a picture of the autoencoder on frames that no stage has seen."""
    picture = shared.folder / "reconstruction.png"
    model = load_model(result)
    held_out = open_held_out(shared.config).sets[0]
    quality = reconstruction_quality(model, held_out.frames.reader, picture)
    if quality["media_may_be_passed_on"] or shared.config.allow_media:
        words = "held-out frames above, decoded below"
        shared.tracker.image("autoencoder/reconstruction", picture, words)
    return quality


def _publish(result: Path, target: Path) -> None:
    if target.exists():
        return
    with files.atomic_folder(target) as partial:
        for name in (WEIGHTS, CONFIG):
            try:  # never changed in place, so one copy will do
                os.link(result / name, partial / name)
            except OSError:  # a file system without links
                shutil.copyfile(result / name, partial / name)


def _flat(summary: dict[str, Any]) -> dict[str, float]:
    values = {f"{s['name']}/last_loss": s["last_loss"] for s in summary["stages"]}
    if "autoencoder" in summary:
        values["autoencoder/psnr_db"] = summary["autoencoder"]["psnr_db"]
    return values
