"""What the run folders of a matrix say: losses, their paired differences, and what it all cost."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dynamicrafter import files
from dynamicrafter.ablation import Ablation, Cell, Loss, Stage
from dynamicrafter.errors import InputError
from train.ablation.cells import Job
from train.ablation.paired import SeedRows, losses_of
from train.journal import METRICS, VALIDATION, read_rows


def collect(
    folder: Path, jobs: Sequence[Job], reasons: Sequence[str | None], baseline: str, seed: int
) -> Ablation:
    """Read what the cells left in `folder`.

    Args:
        folder: of the matrix.
        jobs: its cells.
        reasons: why a cell has no result, or None.
        baseline: the arm that the others are compared with.
        seed: of the bootstrap.
    """
    cells = [_cell(folder, job, reason) for job, reason in zip(jobs, reasons, strict=True)]
    whole = [cell for cell in cells if cell.reason is None]
    rows = {
        arm: {cell.seed: _last_validation(folder / cell.train) for cell in whole if cell.arm == arm}
        for arm in dict.fromkeys(cell.arm for cell in cells)
    }
    losses, unpaired = _losses(rows, baseline, seed)
    return Ablation(baseline, cells, losses, unpaired)


def _cell(folder: Path, job: Job, reason: str | None) -> Cell:
    train, evaluation = job.folder / "train", job.folder / "eval"
    return Cell(
        arm=job.arm,
        seed=job.seed,
        train=os.path.relpath(train, folder),
        evaluation=os.path.relpath(evaluation, folder),
        stages=[] if reason else [_stage(job, place) for place in _stage_folders(train)],
        reason=reason,
    )


def _stage(job: Job, place: Path) -> Stage:
    told = files.read_json(place / "stage.json")
    rows = read_rows(place / METRICS)
    on_gpu = bool(rows) and "peak_gigabytes" in rows[-1]
    return Stage(
        name=told["name"],
        key=told.get("key") or f"{job.arm}/{job.seed}/{told['name']}",
        steps=told["steps"],
        seconds=told["seconds"],
        gpu_seconds=told["device_seconds"] if on_gpu else 0.0,
    )


def _stage_folders(train: Path) -> list[Path]:
    """The stages of a whole run, in order."""
    stages = files.read_json(train / "summary.json")["stages"]
    return [
        train / "stages" / f"{number:02d}-{stage['name']}" for number, stage in enumerate(stages, 1)
    ]


def _last_validation(train: Path) -> list[dict[str, Any]]:
    """The rows of the last validation of the last stage; none where it was not validated."""
    told = read_rows(_stage_folders(train)[-1] / VALIDATION)
    return told[-1]["rows"] if told else []


def _losses(
    rows: dict[str, SeedRows], baseline: str, seed: int
) -> tuple[list[Loss], dict[str, str]]:
    """The losses of all arms, and why some cannot be compared."""
    losses: list[Loss] = []
    unpaired: dict[str, str] = {}
    with_baseline = _is_judged(rows[baseline])
    for arm, found in rows.items():
        if not _is_judged(found):
            unpaired[arm] = "no validation loss" if found else "no seed of it is whole"
        elif arm == baseline or not with_baseline:
            losses += losses_of(arm, found, None, seed)
            if arm != baseline:
                unpaired[arm] = f"the baseline, {baseline}, has no validation loss"
        else:
            try:
                losses += losses_of(arm, found, rows[baseline], seed)
            except InputError as error:
                unpaired[arm] = str(error)
    return losses, unpaired


def _is_judged(rows: SeedRows) -> bool:
    """Whether an arm has a seed, and every seed of it a validation."""
    return bool(rows) and all(rows.values())
