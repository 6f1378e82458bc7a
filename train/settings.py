"""The settings of one stage's loop."""

import math
from dataclasses import dataclass

from omegaconf import DictConfig

from dynamicrafter.errors import InputError


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What the loop of a stage is told.

    Attributes:
        name: the stage; prefix of its draws and metrics.
        steps: optimizer steps.
        batch: clips per step, over all ranks.
        learning_rate: peak AdamW learning rate.
        warmup_steps: steps over which the learning rate rises from zero.
        final_learning_rate: share of the peak at the last step, on a cosine (1 = constant).
        weight_decay: AdamW weight decay.
        betas: AdamW's decay of its two moments.
        gradient_clip: largest norm of the whole gradient.
        ema_decay: of an average of the weights; None for none.
        seed: the run's seed.
        first_step: steps of earlier stages, for the W&B axis.
        checkpoint_every: steps between checkpoints.
        keep_last: newest checkpoints kept.
        keep_every: checkpoints at multiples of this step stay for good; 0 for none.
        loader_workers: processes that decode; 0 decodes in this one.
        microbatch: clips at once on a rank; None is its whole share of the batch.
        max_failed_share: share of unreadable clips at which training stops.
        profile: steps to record with PyTorch's profiler, from the third on; 0 for none.
    """

    name: str
    steps: int
    batch: int
    learning_rate: float
    warmup_steps: int = 0
    final_learning_rate: float = 1.0
    weight_decay: float = 0.01
    betas: tuple[float, float] = (0.9, 0.999)
    gradient_clip: float = 0.5
    ema_decay: float | None = None
    seed: int = 0
    first_step: int = 0
    checkpoint_every: int = 1000
    keep_last: int = 2
    keep_every: int = 0
    loader_workers: int = 0
    microbatch: int | None = None
    max_failed_share: float = 0.05
    profile: int = 0

    def __post_init__(self) -> None:
        for name in ("steps", "batch", "checkpoint_every", "keep_last"):
            if getattr(self, name) < 1:
                raise InputError(
                    f"stage {self.name}: {name} is {getattr(self, name)}, not 1 or more"
                )
        if not (math.isfinite(self.learning_rate) and self.learning_rate > 0):
            raise InputError(f"stage {self.name}: learning_rate is {self.learning_rate}")
        if self.ema_decay is not None and not 0 < self.ema_decay < 1:
            raise InputError(f"stage {self.name}: ema_decay is {self.ema_decay}; choose 0 to 1")


def stage_steps(config: DictConfig, name: str) -> int:
    """Steps of stage `name`: its own, and those it was given from a stage that is left out."""
    stage = config.recipe[name]
    return stage.steps + stage.get("added_steps", 0)
