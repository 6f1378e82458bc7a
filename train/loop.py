"""The training loop: one stage, read from top to bottom.

Everything a step does is a function of (seed, step): its clips, its draws, its dropout masks. So a
stage that was killed and started again takes bit for bit the steps that it would have taken.
"""

import contextlib
import json
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from dynamicrafter import draws, files, tracking
from dynamicrafter.errors import ToolkitError
from dynamicrafter.model.animation import AnimationModel
from dynamicrafter.progress import progress
from train import state
from train.data import Batch, ClipWindows, Positions, batches

METRICS = "metrics.jsonl"

Objective = Callable[[AnimationModel, Batch, draws.BatchDraws], torch.Tensor]


class NotFiniteError(ToolkitError):
    """A loss or gradient is not finite; the step was not taken."""

    exit_code = 5


@dataclass(frozen=True)
class Settings:
    """The settings of one stage's loop.

    Attributes:
        name: the stage; prefix of its draws and metrics.
        steps: optimizer steps.
        batch: clips per step.
        learning_rate: peak AdamW learning rate.
        warmup_steps: steps over which the learning rate rises from zero.
        final_learning_rate: share of the peak at the last step, on a cosine (1 = constant).
        weight_decay: AdamW weight decay.
        betas: AdamW's decay of its two moments.
        gradient_clip: largest norm of the whole gradient.
        checkpoint_every: steps between checkpoints.
        seed: the run's seed.
        loader_workers: processes that decode; 0 decodes in this one.
        first_step: steps of earlier stages, for the W&B axis.
    """

    name: str
    steps: int
    batch: int
    learning_rate: float
    warmup_steps: int
    final_learning_rate: float
    weight_decay: float
    betas: tuple[float, float]
    gradient_clip: float
    checkpoint_every: int
    seed: int
    loader_workers: int
    first_step: int


def train_stage(
    model: AnimationModel,
    objective: Objective,
    windows: ClipWindows,
    settings: Settings,
    folder: Path,
    tracker: tracking.Run,
    provenance: dict[str, Any],
) -> dict[str, Any]:
    """Train `model` (its parameters with `requires_grad`) until `settings.steps`, or resume.

    Args:
        model: on its device; changed in place.
        objective: batch and draws → scalar loss.
        windows: where samples come from.
        settings: see `Settings`.
        folder: the stage's folder; holds `metrics.jsonl` and `checkpoints/`.
        tracker: the W&B run.
        provenance: digests of data and base weights; saved with every checkpoint.

    Returns:
        first and last smoothed loss, seconds of all processes that took part.

    Raises:
        NotFiniteError: before a step whose loss or gradient is not finite.
    """
    named = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
    names, parameters = [name for name, _ in named], [p for _, p in named]
    optimizer = torch.optim.AdamW(
        parameters,
        settings.learning_rate,
        betas=settings.betas,
        weight_decay=settings.weight_decay,
    )
    checkpoints = folder / "checkpoints"
    step = 0
    if found := state.whole(checkpoints):
        step = state.restore(found[-1], model, optimizer, names)["step"]
    started = time.monotonic() - _truncate(folder / METRICS, step)
    model.train()
    metrics = (folder / METRICS).open("a", encoding="utf-8")
    with metrics, progress(settings.name, settings.steps, "steps", start=step) as advance:
        positions = Positions(step, settings.steps, settings.batch)
        for batch in batches(windows, positions, settings.loader_workers):
            optimizer.param_groups[0]["lr"] = rate = learning_rate(settings, step)
            chance = draws.BatchDraws(settings.seed, settings.name, batch.numbers)
            with seeded_dropout(settings.seed, step, settings.name):
                loss = objective(model, batch, chance)
                loss.backward()
            norm = torch.nn.utils.clip_grad_norm_(parameters, settings.gradient_clip)
            if not (math.isfinite(loss.item()) and math.isfinite(norm.item())):
                raise NotFiniteError(
                    f"stage {settings.name}, step {step}: loss {loss.item()}, gradient norm "
                    f"{norm.item()}, clips {', '.join(batch.keys)}; the step was not taken"
                )
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            step += 1
            row = {
                "step": step,
                "loss": loss.item(),
                "learning_rate": rate,
                "gradient_norm": norm.item(),
                "samples_seen": step * settings.batch,
                "seconds": round(time.monotonic() - started, 3),
            }
            if batch.replaced:
                row["replaced"] = batch.replaced
            metrics.write(json.dumps(row) + "\n")
            metrics.flush()
            tracker.log(
                settings.first_step + step,
                {
                    f"{settings.name}/{k}": row[k]
                    for k in ("loss", "learning_rate", "gradient_norm")
                },
            )
            if step % settings.checkpoint_every == 0 or step == settings.steps:
                kept = {**provenance, "sample_number": step * settings.batch, "wandb": tracker.id}
                state.save(checkpoints, step, model, optimizer, names, kept)
            advance(1)
    model.eval()
    return loss_summary(folder)


def learning_rate(settings: Settings, step: int) -> float:
    """Linear warm-up, then a cosine from the peak to its final share."""
    if step < settings.warmup_steps:
        return settings.learning_rate * (step + 1) / settings.warmup_steps
    length = max(settings.steps - settings.warmup_steps, 1)
    cosine = 0.5 * (1 + math.cos(math.pi * (step - settings.warmup_steps) / length))
    share = settings.final_learning_rate + (1 - settings.final_learning_rate) * cosine
    return settings.learning_rate * share


@contextlib.contextmanager
def seeded_dropout(seed: int, step: int, stage: str) -> Iterator[None]:
    """Make torch's global generators a function of (seed, step, stage) inside the block."""
    with torch.random.fork_rng():
        torch.manual_seed(draws.key(seed, step, f"{stage}/dropout") % 2**63)
        yield


def loss_summary(folder: Path) -> dict[str, Any]:
    """Mean loss of the first and the last tenth of a stage's steps, and its seconds."""
    rows = read_metrics(folder / METRICS)
    tenth = max(len(rows) // 10, 1)
    losses = [row["loss"] for row in rows]
    return {
        "steps": len(rows),
        "first_loss": sum(losses[:tenth]) / tenth,
        "last_loss": sum(losses[-tenth:]) / tenth,
        "seconds": rows[-1]["seconds"],
        "replaced_clips": sorted({key for row in rows for key in row.get("replaced", [])}),
    }


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """The rows of a `metrics.jsonl`; a last line that was cut off is left out."""
    if not path.exists():
        return []
    text = path.read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("\n")]


def _truncate(path: Path, steps: int) -> float:
    """Forget the metrics of steps that the checkpoint does not hold; returns the seconds so far."""
    kept = [row for row in read_metrics(path) if row["step"] <= steps]
    files.write_text(path, "".join(json.dumps(row) + "\n" for row in kept))
    return kept[-1]["seconds"] if kept else 0.0
