"""`dynamicrafter ablate`: arms × seeds, each trained, animated and judged; then one table.

    <run_dir>/<arm>/seed-<n>/{train,animate,eval}    run folders of the plain commands; logs
    <run_dir>/stages, encoded, features              what the cells share
    <run_dir>/ablation.json                          see `dynamicrafter/ablation.py`
    <run_dir>/table                                  run folder of `dynamicrafter eval ablation`

The same command goes on where it was stopped. A cell that fails stops no other: the table names it,
and the command ends with exit code 3.
"""

from importlib import resources
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from dynamicrafter import ablation
from dynamicrafter.chain import run_phases
from dynamicrafter.command import say
from dynamicrafter.errors import FailedShareError, InputError
from dynamicrafter.shards import ShardReader
from train.ablation.cells import Job
from train.ablation.collect import collect
from train.ablation.launchers import Launch, launcher


def inputs(config: DictConfig) -> dict[str, str]:
    """Digests of the data; the weights that an arm starts from are its own command's to look at.

    Raises:
        InputError: settings that no matrix can be made of; found before anything is trained.
    """
    _check(config)
    _launch(config)
    return {name: ShardReader(config[name]).digest for name in ("data", "validation")}


def run(config: DictConfig, folder: Path) -> dict[str, Any]:
    """Make all cells, collect, and make the table; returns the summary.

    Raises:
        FailedShareError: some cells have no result; the others and the table are there.
        PhaseError: the table could not be made.
    """
    jobs = jobs_of(config, folder)
    reasons = _launch(config)(jobs)
    found = collect(folder, jobs, reasons, config.baseline, config.bootstrap_seed)
    ablation.write(folder / ablation.FILE, found)
    run_phases({"table": _table_arguments(config, folder)}, {})
    say(str((folder / "table" / "ablation.html").resolve()))
    failed = [cell for cell in found.cells if cell.reason]
    if failed:
        names = ", ".join(f"{cell.arm} (seed {cell.seed})" for cell in failed)
        raise FailedShareError(
            f"{len(failed)} of {len(jobs)} cells have no result: {names}; the first says: "
            f"{failed[0].reason}; the same command tries them again"
        )
    return {
        "cells": len(jobs),
        "hours": round(ablation.hours(found.cells), 4),
        "gpu_hours": ablation.gpu_hours(found.cells),
        "page": str(folder / "table" / "ablation.html"),
    }


def jobs_of(config: DictConfig, folder: Path) -> list[Job]:
    """The cells of the matrix: every arm under every seed.

    Cells of one arm stand side by side: they have no stage in common, while arms that share one
    would wait for it.
    """
    return [
        Job(arm, seed, place, _phases(config, folder, arm, seed, place), config.gpus)
        for arm in config.arms
        for seed in config.seeds
        for place in [folder / arm / f"seed-{seed}"]
    ]


def _phases(
    config: DictConfig, folder: Path, arm: str, seed: int, place: Path
) -> dict[str, list[str]]:
    """The commands of a cell; what is given first may be overridden by `extra`."""

    def tracked(verb: str) -> list[str]:
        return _tracking(config, folder, f"{arm}-seed-{seed}-{verb}")

    kept = [f"stage_store={config.stages}"] if config.stages else []
    kept += [f"encoded.folder={config.encoded}"] if config.encoded else []
    return {
        "train": [
            "train", *tracked("train"), "on_change=refuse", *config.extra.train,
            f"+ablation={arm}", f"seed={seed}", f"data={config.data}",
            f"validation={config.validation}", *kept, f"run_dir={place}/train",
        ],
        "animate": [
            "animate", *tracked("animate"), f"image={config.validation}", *config.extra.animate,
            f"pretrained={place}/train/model", f"run_dir={place}/animate",
        ],
        "eval": [
            "eval", *tracked("eval"), f"reference={config.validation}",
            f"second_reference={config.data}", *config.extra.eval, f"generated={place}/animate",
            f"method={arm}", f"features={folder}/features", f"run_dir={place}/eval",
        ],
    }  # fmt: skip


def _table_arguments(config: DictConfig, folder: Path) -> list[str]:
    published = "null" if config.published is None else config.published
    return [
        "eval", "ablation", f"run={folder / ablation.FILE}", f"run_dir={folder}/table",
        f"published={published}", f"published_benchmark={config.published_benchmark}",
        f"seed={config.bootstrap_seed}", *_tracking(config, folder, "table"),
    ]  # fmt: skip


def _tracking(config: DictConfig, folder: Path, name: str) -> list[str]:
    """Where a command logs to and under which name: all together, as one group of runs."""
    own = config.tracking
    entity = [f"tracking.entity={own.entity}"] if own.entity else []
    group = own.group or folder.resolve().name
    return [f"tracking={own.mode}", f"tracking.project={own.project}", *entity,
            f"tracking.group={group}", f"tracking.name={name}"]  # fmt: skip


def _check(config: DictConfig) -> None:
    known = sorted(
        path.name.removesuffix(".yaml")
        for path in resources.files("conf").joinpath("ablation").iterdir()
        if path.name.endswith(".yaml")
    )
    for name in ("arms", "seeds"):
        values = list(config[name])
        if not values or len(set(values)) < len(values):
            raise InputError(f"{name}={values}; name at least one, and each once")
    if strangers := [arm for arm in config.arms if arm not in known]:
        raise InputError(f"arms: there is no {strangers[0]}; choose from {', '.join(known)}")
    if config.baseline not in config.arms:
        raise InputError(f"baseline={config.baseline} is none of the arms; add it to them")
    if config.gpus < 1:
        raise InputError(f"gpus={config.gpus}; it must be at least 1")


def _launch(config: DictConfig) -> Launch:
    cluster = OmegaConf.to_container(config.cluster, resolve=True)
    return launcher(config.launcher, config.side_by_side, cluster, Path(config.run_dir) / "jobs")
