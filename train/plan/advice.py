"""Which settings fit a card, how fast they are about, and what to lower where memory ran out."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from omegaconf import DictConfig

from dynamicrafter.ranks import ranks_here
from train import parallel
from train.plan.flops import flop_rows, model_flop
from train.plan.memory import GIB, Knobs, Workload, estimate, largest_microbatch, training_pass
from train.plan.passes import weights
from train.precision import choose_precision
from train.recompute import CHOICES as RECOMPUTE
from train.stage import of_stage, stage_model

# Seconds until one operator is on its way, an assumption: with few clips at once the GPU waits for
# Python, which starts some 70,000 operators a second.
LAUNCH_S = 14e-6
BUS = 20e9  # bytes a second from the host's memory to the GPU, for what is offloaded
USABLE = 0.92  # of a card's nominal gigabytes: 24 and 48 GB cards keep 8 % for error correction
MOST_GPUS = 64


@dataclass(frozen=True)
class Card:
    """A GPU.

    Attributes:
        gigabytes: its memory as its name says.
        like: an example.
        tflops: its dense bf16 peak in TFLOP/s.
    """

    gigabytes: int
    like: str
    tflops: float

    @property
    def usable(self) -> int:
        """Bytes that a process can have."""
        return int(self.gigabytes * GIB * USABLE)


@dataclass(frozen=True)
class Fitting:
    """Settings that fit, with bytes that they need and the clips a second to hope for."""

    knobs: Knobs
    needed: int
    clips_per_s: float


def workload(config: DictConfig, name: str, precision: str) -> Workload:
    """Stage `name` of the composed train config; `precision` is "bf16" or "fp32"."""
    stage = config.recipe[name]
    return Workload(
        model=stage_model(config, name),
        trainable=tuple(stage.trainable),
        objective=stage.objective,
        batch=stage.batch,
        precision=precision,
        averaged=stage.get("ema_decay") is not None,
    )


def flops_per_clip(config: DictConfig, stage: str) -> float:
    """FLOP of a clip's training that MFU is measured against (see `model_flop`)."""
    return float(model_flop(workload(config, stage, "bf16")))


def clips_per_second(work: Workload, knobs: Knobs, tflops: float, mfu: float) -> float:
    """A rough rate of all GPUs together.

    The larger of two times decides: what the arithmetic takes at `mfu` of the peak (without
    recomputing, by definition of the MFU; with it, in proportion longer), and what Python takes to
    launch it. Offloaded encoders are brought in for every micro-batch.
    """
    rows = flop_rows(work, knobs.recompute)
    compute = knobs.microbatch * sum(rows.values()) / (mfu * tflops * 1e12)
    launch = training_pass(work, knobs.recompute).operators * LAUNCH_S
    bus = 0.0
    if knobs.offload:
        frozen = weights(work.model, work.trainable, work.precision).frozen
        bus = sum(size for name, size in frozen.items() if name != "unet") / BUS
    return knobs.gpus * knobs.microbatch / (max(compute, launch) + bus)


def fitting(
    work: Workload, card: Card, knobs: Knobs, mfu: float, recompute: str | None = None
) -> Fitting | None:
    """The fastest settings that fit a card, or None.

    Args:
        work: the stage.
        card: the GPU.
        knobs: what is given: offload, gpus and parallel.
        mfu: see `clips_per_second`.
        recompute: only this choice; None tries all.
    """
    found = []
    choices = RECOMPUTE if work.objective == "diffusion" else RECOMPUTE[:1]
    for choice in (recompute,) if recompute else choices:
        tried = replace(knobs, recompute=choice)
        if size := largest_microbatch(work, tried, card.usable):
            tried = replace(tried, microbatch=size)
            rate = clips_per_second(work, tried, card.tflops, mfu)
            found.append(Fitting(tried, estimate(work, tried).needed, rate))
        if size == work.batch // knobs.gpus:
            break  # all clips at once; recomputing more could only take longer
    return max(found, key=lambda item: item.clips_per_s, default=None)


def what_would_fit(name: str, work: Workload, card: Card, gpus: int) -> list[str]:
    """What stage `name` needs where nothing fits a card: in words, the least of each kind."""
    least = Knobs(1, "full" if work.objective == "diffusion" else "none", offload=True, gpus=gpus)
    found = estimate(work, least)
    fullest = max(found.phases, key=found.phases.get)
    ways = [
        f"the least is {found.needed / GIB:.1f} GiB, with one clip at once, all recomputed and "
        f"offloaded (fullest phase: {fullest!r})"
    ]
    sharded = (replace(least, gpus=n, parallel="fsdp") for n in _powers(max(gpus, 2)))
    fits = (k.gpus for k in sharded if estimate(work, k).needed <= card.usable)
    if number := next(fits, None):
        ways.append(f"parallel=fsdp over {number} GPUs fits")
    for frozen, rest in _without_largest(work):
        if estimate(replace(work, trainable=rest), least).needed <= card.usable:
            ways.append(
                f"freezing {', '.join(frozen)} fits: recipe.{name}.trainable=[{','.join(rest)}]"
            )
            break
    return ways


def advice_for_oom(config: DictConfig, stage: str, error: str) -> str:
    """One line for a stage that ran out of memory: the estimate, and what lower settings need.

    Args:
        config: the composed train config.
        stage: the stage's name.
        error: what torch said; its first sentence is repeated.
    """
    gpus = ranks_here().count
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    work = workload(config, stage, choose_precision(config.precision, device))
    now = Knobs(
        microbatch=of_stage(config.microbatch, stage) or work.batch // gpus,
        recompute=of_stage(config.recompute, stage) or "none",
        offload=bool(config.offload),
        gpus=gpus,
        parallel=parallel.choose_parallel(config.parallel, ranks_here()),
    )
    said = error.split(". ")[0].split("\n")[0].rstrip(".")
    lower = [f"{text} {_gib(work, knobs)}" for text, knobs in _lower(work, now)]
    remedy = (
        f"lower settings need less: {'; '.join(lower)}"
        if lower
        else ("nothing is left to lower; train fewer groups, or parallel=fsdp over more GPUs")
    )
    return (
        f"stage {stage} ran out of memory ({said}): estimated {_gib(work, now)} at "
        f"microbatch={now.microbatch} recompute={now.recompute} "
        f"offload={str(now.offload).lower()}; {remedy}"
    )


def _lower(work: Workload, now: Knobs) -> Iterator[tuple[str, Knobs]]:
    """Lower settings, one change at a time, then all of them."""
    share = work.batch // now.gpus
    smaller = next((s for s in range(now.microbatch // 2, 0, -1) if share % s == 0), None)
    full = now.recompute != "full" and work.objective == "diffusion"
    if smaller:
        yield f"microbatch={smaller}", replace(now, microbatch=smaller)
    if full:
        yield "recompute=full", replace(now, recompute="full")
    if not now.offload:
        yield "offload=true", replace(now, offload=True)
    least = Knobs(1, "full" if full else now.recompute, True, now.gpus, now.parallel)
    changed = (bool(smaller), full, not now.offload)
    if sum(changed) > 1:
        words = f"microbatch=1 recompute={least.recompute} offload=true"
        yield words, least


def _gib(work: Workload, knobs: Knobs) -> str:
    return f"{estimate(work, knobs).needed / GIB:.1f} GiB"


def _powers(first: int) -> Iterator[int]:
    while first <= MOST_GPUS:
        yield first
        first *= 2


def _without_largest(work: Workload) -> Iterator[tuple[list[str], tuple[str, ...]]]:
    """Trained groups without the largest one, the two largest ones, and so on."""
    sizes = weights(work.model, work.trainable, work.precision).parameters
    groups = sorted(work.trainable, key=lambda group: -sizes.get(group, 0))
    for count in range(1, len(groups)):
        frozen = groups[:count]
        yield frozen, tuple(group for group in work.trainable if group not in frozen)
