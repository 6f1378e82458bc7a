"""`dynamicrafter train`: the stages of a recipe, one after the other.

    <run_dir>/stages/01-context/   see `train/stage.py`
    <run_dir>/model/               the last stage's weights and config: what `animate` reads
    <run_dir>/summary.json         losses, seconds and parameter counts of each stage

A whole stage is never trained again; a stopped one goes on from its newest whole checkpoint. With
`stage_store` that holds for all runs that share one (`train/stage_store.py`).
Started by torchrun, all ranks run this; rank 0 alone writes.
"""

import contextlib
import functools
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
from dynamicrafter.stopping import interrupting_signals
from train import parallel
from train.context import Context
from train.data import Clips, Positions, check_batch, open_clips, open_held_out, stage_windows
from train.encoded.fill import kept_windows
from train.handover import PREVIOUS, locate, save_reports
from train.holding import held
from train.journal import Journal, loss_summary
from train.loop import train_stage
from train.objectives import Objective, Reconstruction
from train.plan import advice_for_oom, flops_per_clip
from train.precision import choose_precision
from train.reconstruction import latent_scale, reconstruction_quality
from train.settings import Settings
from train.stage import (
    RESULT,
    Beginning,
    begin_stage,
    check_stage,
    of_stage,
    stage_objective,
    stage_settings,
)
from train.stage_store import StageStore, stage_key, validated_as
from train.step import Fit, Step, choose_compiled, choose_recorded
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
                digests[source["from"]] = files.file_digest(locate(source["from"], name))
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
    store: StageStore | None


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
        store = StageStore(Path(config.stage_store).expanduser()) if config.stage_store else None
        shared = Shared(config, folder, open_clips(config), ranks, device, tracker, store)
        summary: dict[str, Any] = {"stages": [], "notes": list(config.recipe.get("notes", []))}
        previous = key = None
        for number, name in enumerate(config.recipe.stages, 1):
            place = folder / "stages" / f"{number:02d}-{name}"
            key = _key(shared, name, key)
            summary["stages"].append(_stage(shared, name, place, previous, key))
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


def _key(shared: Shared, name: str, previous: str | None) -> str | None:
    """The key of a stage in the store, `previous` being that of the one before; None without."""
    if shared.store is None:
        return None
    config, device = shared.config, shared.device
    computed = {"precision": choose_precision(config.precision, device), "device": device.type}
    return stage_key(config, name, previous, shared.clips, computed)


def _stage(
    shared: Shared, name: str, place: Path, previous: Path | None, key: str | None
) -> dict[str, Any]:
    """Train one stage in `place` unless it is whole; returns its part of the summary."""

    def is_whole() -> bool:
        return not place.is_symlink() and (place / RESULT).exists()

    if parallel.from_leader(shared.ranks, is_whole):
        return _told_again(shared, name, place)
    if key is None:
        return _train_stage(shared, name, place, previous, {})
    return _shared_stage(shared, name, place, previous, key)


def _told_again(shared: Shared, name: str, place: Path) -> dict[str, Any]:
    """The result of a whole stage, whose history W&B is told."""
    settings = stage_settings(shared.config, name)
    Journal(place, name, shared.tracker, settings.first_step).begin_at(settings.steps)
    return files.read_json(place / RESULT)


def _shared_stage(
    shared: Shared, name: str, place: Path, previous: Path | None, key: str
) -> dict[str, Any]:
    """Take a stage from the store; train it there first if no other run has or does."""
    store, ranks = shared.store, shared.ranks
    validated = validated_as(shared.config)
    who, is_own = f"stage {name} ({key[:12]})", False
    if not parallel.from_leader(ranks, lambda: store.has(key)):
        with held(store.folder / key, ranks, f"{who}: another run trains it; waiting for it"):
            if not parallel.from_leader(ranks, lambda: store.has(key)):
                begin = functools.partial(store.begin, key, name, shared.folder, place)
                work = parallel.from_leader(ranks, begin)
                result = _train_stage(shared, name, work, previous, {"key": key})
                facts = {"validated": validated, "device_seconds": result["device_seconds"]}
                parallel.from_leader(ranks, lambda: store.publish(key, facts))
                is_own = True

    def take() -> bool:
        store.take(key, place, validated, from_store=not is_own)
        return (place / RESULT).exists()

    is_whole = parallel.from_leader(ranks, take)
    if is_own:
        return files.read_json(place / RESULT)
    seconds = store.facts(key)["device_seconds"]
    if ranks.leads:
        say(f"{who}: taken from the store; to train it cost {seconds:.0f} s of a device")
    if is_whole:
        return _told_again(shared, name, place)
    told = {"key": key, "from_store": True, "device_seconds": seconds}
    return _train_stage(shared, name, place, previous, told)  # its end is still to be validated


def _train_stage(
    shared: Shared, name: str, place: Path, previous: Path | None, told: dict[str, Any]
) -> dict[str, Any]:
    """Train one stage in `place`; returns its part of the summary, with what is `told` of it."""
    ranks, settings = shared.ranks, stage_settings(shared.config, name)
    parallel.from_leader(ranks, lambda: _make_folder(place))
    beginning = begin_stage(shared.config, name, previous)
    if ranks.leads:
        save_reports(place, beginning.reports)
    # On the device the frozen tensors may be lowered to bf16; what is saved are these.
    original = beginning.model.state_dict() if ranks.leads else {}
    counts = beginning.counts
    journal = Journal(place, name, shared.tracker, settings.first_step)
    trained, averaged, model_config = _train(shared, name, beginning, settings, journal, place)
    del beginning
    gc.collect()  # the next stage needs the room

    def end() -> dict[str, Any]:
        if averaged:
            save_state(place / EMA_FOLDER, {**original, **averaged}, model_config)
        save_state(place, {**original, **trained}, model_config)
        losses = loss_summary(place)
        spent = {"device_seconds": round(losses["seconds"] * ranks.count, 3)}
        result = {"name": name, **losses, **counts, **spent, **told}
        files.write_json(place / RESULT, result)
        return result

    return parallel.from_leader(ranks, end)


def _make_folder(place: Path) -> None:
    if place.is_symlink():  # into a store, where a run before this one was broken off
        place.unlink()
    place.mkdir(parents=True, exist_ok=True)


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
        with step.encoding():
            samples = settings.steps * settings.batch
            windows = kept_windows(config, windows, samples, model, objective, shared.ranks)
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
        compiled=choose_compiled(config.compile, shared.device, wanted),
        recorded=choose_recorded(config.record_steps, shared.device, wanted),
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
