"""The training loop: one stage, read from top to bottom.

Everything a step does is a function of (seed, step): its clips, its draws, its dropout masks. So a
stage that was killed and started again takes bit for bit the steps that it would have taken.
"""

import contextlib
import hashlib
import math
import time
from collections.abc import Callable
from pathlib import Path

import torch

from dynamicrafter.command import say
from dynamicrafter.errors import FailedShareError, ToolkitError
from dynamicrafter.progress import progress
from dynamicrafter.ranks import Ranks
from dynamicrafter.stopping import stop_requests
from train import parallel
from train.checkpoints import Checkpoints, Training, read_state, restore
from train.context import Context
from train.data import Batch, ClipWindows, Positions, batches
from train.journal import Journal
from train.optimizer import Ema, clip_gradients, gradient_norms, learning_rate, make_optimizer
from train.profiling import profiler
from train.settings import Settings
from train.step import Step
from train.stopwatch import PHASES, Stopwatch, peak_flops
from train.validator import Validator

FEW_SAMPLES = 100  # below which a share of unreadable clips means little


class NotFiniteError(ToolkitError):
    """A loss or gradient is not finite; the step was not taken."""

    exit_code = 5


def train_stage(
    step_of: Step,
    windows: ClipWindows,
    settings: Settings,
    context: Context,
    journal: Journal,
    validator: Validator | None,
) -> Training:
    """Train until `settings.steps`, or go on from the newest checkpoint.

    Raises:
        NotFiniteError: before a step whose loss or gradient is not finite.
        FailedShareError: too many clips cannot be read.
        KeyboardInterrupt: asked to stop by a signal; the step was finished and saved.
    """
    ranks, trained = context.ranks, step_of.trained
    optimizer = make_optimizer(trained, settings)
    ema = Ema(trained, settings.ema_decay) if settings.ema_decay else None
    training = Training(trained, optimizer, ema)
    checkpoints = Checkpoints(
        context.folder / "checkpoints", ranks.leads, settings.keep_last, settings.keep_every
    )
    step, replaced = 0, 0
    if found := parallel.from_leader(ranks, checkpoints.newest):
        _go_on_from(found, training, ranks)
        step, replaced = read_state(found)["step"], read_state(found)["replaced"]
    started = time.monotonic() - journal.begin_at(step)
    is_judged = parallel.from_leader(ranks, lambda: journal.has_validation(step))
    if validator and not is_judged and validator.is_due(step, settings.steps):
        validator.run(step, training, journal, at_end=step == settings.steps)

    positions = Positions(
        step, settings.steps, settings.batch, ranks.rank, ranks.count, settings.microbatch
    )
    rounds = settings.batch // ranks.count // (settings.microbatch or settings.batch // ranks.count)
    incoming = batches(windows, positions, settings.loader_workers)
    watch = Stopwatch(context.device)
    step_of.train()
    with (
        stop_requests() as stop,
        contextlib.closing(checkpoints),
        profiler(settings.profile, context.folder, step) as after_step,
        _progress(settings, step, ranks) as advance,
    ):
        while step < settings.steps:
            with watch("data"):
                batch = [next(incoming) for _ in range(rounds)]
            losses = step_of.gradients(batch, settings.seed, settings.name, settings.batch, watch)
            with watch("optimizer"):
                norms = gradient_norms(trained, ranks)
            values = parallel.in_order(ranks, losses).tolist()
            loss = math.fsum(values) / settings.batch
            if not (math.isfinite(loss) and math.isfinite(norms[""])):
                raise NotFiniteError(_not_finite(settings, step, loss, norms, batch, values, ranks))
            rate = learning_rate(settings, step)
            with watch("optimizer"):
                optimizer.param_groups[0]["lr"] = rate
                clip_gradients(trained, norms[""], settings.gradient_clip)
                optimizer.step()
                optimizer.zero_grad(set_to_none=True)
                if ema:
                    ema.update()
            step += 1

            here = [(b.numbers, b.keys, b.replaced) for b in batch]
            everywhere = parallel.gathered(ranks, (stop.made, here))
            stopping, seen = any(made for made, _ in everywhere), [rows for _, rows in everywhere]
            row = {
                "step": step,
                "loss": loss,
                "learning_rate": rate,
                "gradient_norm": norms.pop(""),
                **{f"gradient_norm/{group}": norm for group, norm in norms.items()},
                **_speed(watch.read(), settings.batch, context),
                "samples_seen": step * settings.batch,
                "clips": _clips_digest(seen),
                "seconds": round(time.monotonic() - started, 3),
            }
            if lost := [key for share in seen for _, _, keys in share for key in keys]:
                row["replaced"] = lost
                replaced += len(lost)
            journal.step(row)
            after_step()
            advance(1)
            _check_failed_share(replaced, step, settings)

            is_last = step == settings.steps
            if stopping or is_last or step % settings.checkpoint_every == 0:
                state = {
                    **context.provenance,
                    "sample_number": step * settings.batch,
                    "replaced": replaced,
                }
                with watch("save"):
                    checkpoints.save(step, training, state)
                journal.checkpoint(step, state)
            if stopping:
                checkpoints.wait()
                raise KeyboardInterrupt
            if validator and validator.is_due(step, settings.steps):
                step_of.train(False)
                validator.run(step, training, journal, at_end=is_last)
                step_of.train()
                watch.read()  # validation is no part of a step
        if any(parallel.gathered(ranks, stop.made)):  # during the last validation
            checkpoints.wait()
            raise KeyboardInterrupt
    checkpoints.wait()
    checkpoints.keep_newest()
    step_of.train(False)
    return training


def _go_on_from(checkpoint: Path, training: Training, ranks: Ranks) -> None:
    began = time.monotonic()
    restore(checkpoint, training)
    if ranks.leads:
        say(f"going on from {checkpoint}, read in {time.monotonic() - began:.1f} s")


def _progress(
    settings: Settings, step: int, ranks: Ranks
) -> contextlib.AbstractContextManager[Callable[[int], None]]:
    if not ranks.leads:
        return contextlib.nullcontext(lambda count: None)
    return progress(settings.name, settings.steps, "steps", start=step)


def _speed(seconds: dict[str, float], batch: int, context: Context) -> dict[str, float]:
    """Where the step went, clips a second, and the share of the device's peak that was used."""
    row = {f"seconds/{phase}": round(seconds[phase], 4) for phase in PHASES}
    rate = batch / seconds["step"]
    row["clips_per_second"] = round(rate, 4)
    peak = peak_flops(context.device)
    if context.flops_per_clip and peak:
        row["mfu"] = round(rate * context.flops_per_clip / peak / context.ranks.count, 4)
    if context.device.type == "cuda":
        row["peak_gigabytes"] = round(torch.cuda.max_memory_allocated(context.device) / 1e9, 3)
    return row


def _clips_digest(seen: list[list[tuple]]) -> str:
    """A digest of the step's sample numbers and keys in their order, of all ranks."""
    pairs = [
        (number, key)
        for share in seen
        for numbers, keys, _ in share
        for number, key in zip(numbers, keys, strict=True)
    ]
    return hashlib.sha256(repr(pairs).encode()).hexdigest()[:16]


def _not_finite(
    settings: Settings,
    step: int,
    loss: float,
    norms: dict[str, float],
    batch: list[Batch],
    values: list[float],
    ranks: Ranks,
) -> str:
    keys = [key for share in parallel.gathered(ranks, batch) for b in share for key in b.keys]
    odd = [key for key, value in zip(keys, values, strict=True) if not math.isfinite(value)]
    groups = [group for group, norm in norms.items() if group and not math.isfinite(norm)]
    return (
        f"stage {settings.name}, step {step + 1}: loss {loss}, gradient norm {norms['']} "
        f"(not finite: {', '.join(groups) or 'no group'}; clips {', '.join(odd or keys)}); "
        "the step was not taken; lower learning_rate, or look at these clips"
    )


def _check_failed_share(replaced: int, step: int, settings: Settings) -> None:
    seen = step * settings.batch
    if seen >= FEW_SAMPLES and replaced > settings.max_failed_share * seen:
        raise FailedShareError(
            f"{replaced} of {seen} samples cannot be read, more than max_failed_share="
            f"{settings.max_failed_share}; pack the shards again, or allow more"
        )
