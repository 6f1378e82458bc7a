"""`ablation.json`: what a matrix of arms and seeds found, and what it cost.

`dynamicrafter ablate` writes it, `dynamicrafter eval ablation` makes tables of it. Folders are
relative to the file, so a run folder can be moved. The scores of the videos are not in it: they lie
in the evaluation of each cell.

A difference is an arm's value minus the baseline's. Both were trained on the same clips, noise,
timesteps and drops wherever their seeds are equal, and are judged on the same inputs.
"""

from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from dynamicrafter import files
from dynamicrafter.errors import InputError

FILE = "ablation.json"
FORMAT = 1


@dataclass(frozen=True)
class Stage:
    """A stage that a cell stands on.

    Attributes:
        name: of the stage.
        key: digest of all that decides its result; cells with equal keys share one training.
        steps: that were trained.
        seconds: that they took, validation included.
        gpu_seconds: the same times the GPUs; 0 where it was trained on the CPU.
    """

    name: str
    key: str
    steps: int
    seconds: float
    gpu_seconds: float


@dataclass(frozen=True)
class Cell:
    """An arm under a seed.

    Attributes:
        arm: name of its file in conf/ablation.
        seed: of the training.
        train: its run folder of `train`.
        evaluation: its run folder of `eval`.
        stages: it stands on; empty where it failed.
        reason: why there is no result, or None.
    """

    arm: str
    seed: int
    train: str
    evaluation: str
    stages: list[Stage] = field(default_factory=list)
    reason: str | None = None


@dataclass(frozen=True)
class Estimate:
    """A mean with its 95 % bootstrap interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Difference:
    """A difference of means, with the interval of the pairs and the one of two unrelated samples.

    Attributes:
        value: arm minus baseline.
        low: end of the paired 95 % interval.
        high: the other end.
        unpaired_low: end of the interval that forgets which values belong together.
        unpaired_high: the other end.
        clips: held-out clips.
        seeds: of the training, that both have.
    """

    value: float
    low: float
    high: float
    unpaired_low: float
    unpaired_high: float
    clips: int
    seeds: list[int]


@dataclass(frozen=True)
class Slice:
    """A slice of the timesteps, from `first` up to but without `end`."""

    first: int
    end: int
    loss: Estimate
    difference: Difference | None  # None for the baseline


@dataclass(frozen=True)
class Loss:
    """The validation loss of an arm under a mode.

    Attributes:
        arm: see `Cell`.
        mode: which conditions the model was given: full, no_text, no_image or none.
        loss: mean over seeds, clips and slices.
        difference: from the baseline; None for the baseline itself.
        by_seed: the difference under each seed of `difference`.
        slices: the same by slices of the timesteps.
    """

    arm: str
    mode: str
    loss: Estimate
    difference: Difference | None
    by_seed: list[float]
    slices: list[Slice]


@dataclass(frozen=True)
class Ablation:
    """All that `ablation.json` holds.

    Attributes:
        baseline: the arm that the others are compared with.
        cells: arms and seeds, in the order of the table.
        losses: of every arm and mode that can be compared.
        unpaired: why an arm's losses cannot be compared, by arm.
    """

    baseline: str
    cells: list[Cell]
    losses: list[Loss] = field(default_factory=list)
    unpaired: dict[str, str] = field(default_factory=dict)

    @property
    def arms(self) -> list[str]:
        """Names, in the order of the table."""
        return list(dict.fromkeys(cell.arm for cell in self.cells))

    def whole(self, arm: str) -> list[Cell]:
        """The cells of an arm that have a result."""
        return [cell for cell in self.cells if cell.arm == arm and cell.reason is None]

    def loss(self, arm: str, mode: str) -> Loss | None:
        """The validation loss of an arm under a mode, where it is known."""
        return next((one for one in self.losses if (one.arm, one.mode) == (arm, mode)), None)


def hours(cells: Iterable[Cell]) -> float:
    """Hours that the stages of some cells took, a stage that several share counted once."""
    return _spent(cells, lambda stage: stage.seconds)


def gpu_hours(cells: Iterable[Cell]) -> float | None:
    """Hours times GPUs, a shared stage counted once; None where nothing ran on a GPU."""
    spent = _spent(cells, lambda stage: stage.gpu_seconds)
    return spent or None


def write(path: Path, found: Ablation) -> None:
    """Write the file, whole or not at all."""
    files.write_json(path, {"format": FORMAT, **asdict(found)})


def read(path: Path) -> Ablation:
    """Read the file back.

    Raises:
        InputError: it is missing or was not written by this version.
    """
    document = files.read_json(path)
    if not isinstance(document, dict) or document.pop("format", None) != FORMAT:
        raise InputError(f"{path} is not what dynamicrafter ablate writes now; run it again")
    try:
        return Ablation(
            **{
                **document,
                "cells": [
                    Cell(**{**cell, "stages": [Stage(**stage) for stage in cell["stages"]]})
                    for cell in document["cells"]
                ],
                "losses": [
                    Loss(
                        **{
                            **loss,
                            "loss": Estimate(**loss["loss"]),
                            "difference": _difference(loss["difference"]),
                            "slices": [
                                Slice(
                                    **{
                                        **one,
                                        "loss": Estimate(**one["loss"]),
                                        "difference": _difference(one["difference"]),
                                    }
                                )
                                for one in loss["slices"]
                            ],
                        }
                    )
                    for loss in document["losses"]
                ],
            }
        )
    except (KeyError, TypeError) as error:
        raise InputError(f"{path} has other fields ({error}); run dynamicrafter ablate") from None


def _difference(plain: dict[str, Any] | None) -> Difference | None:
    return None if plain is None else Difference(**plain)


def _spent(cells: Iterable[Cell], seconds: Callable[[Stage], float]) -> float:
    trained = {stage.key: seconds(stage) for cell in cells for stage in cell.stages}
    return sum(trained.values()) / 3600
