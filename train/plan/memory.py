"""GPU memory of a training step: what is always there, and what its fullest moment adds.

    always     trained weights in fp32, the two moments of AdamW, an average if there is one; frozen
               weights as `train.precision` keeps them; the encoders unless they are offloaded
    encode     autoencoder, then CLIP towers, without gradient
    train      image projection and U-Net, forward and backward, for one micro-batch
    optimize   the gradients alone: AdamW is fused and makes no copies

The peak is that of the fullest phase, in bytes that are allocated. What a process takes of the card
beyond it (CUDA's context, gaps between blocks) is an allowance, see `Estimate.needed`.
"""

from dataclasses import dataclass, replace
from typing import Any

from dynamicrafter.model.animation import frames_at_once
from train.plan.passes import Pass, diffusion_pass, encoder_passes, reconstruction_pass, weights

GIB = 2**30
CONTEXT = int(0.6 * GIB)  # CUDA's context and the libraries' own memory
GAPS = 0.05  # of the peak: memory that the allocator holds but has no use for
WEIGHT, MOMENTS, AVERAGE, GRADIENT = 4, 8, 4, 4  # bytes a trained parameter
ENCODERS = ("autoencoder", "image_encoder", "text_encoder")


@dataclass(frozen=True)
class Workload:
    """A stage as far as memory and FLOP are concerned.

    Attributes:
        model: the plain config of its model.
        trainable: parameter groups that are trained.
        objective: "diffusion" or "reconstruction".
        batch: clips of an optimizer step, over all GPUs.
        precision: "bf16" or "fp32".
        averaged: whether an exponential average of the weights is kept.
    """

    model: dict[str, Any]
    trainable: tuple[str, ...]
    objective: str
    batch: int
    precision: str = "bf16"
    averaged: bool = False


@dataclass(frozen=True)
class Knobs:
    """What may be changed to make a stage fit; what is computed stays the same.

    Attributes:
        microbatch: clips at once on one GPU.
        recompute: none, selective or full.
        offload: encoders are on the GPU only while they encode.
        gpus: that work together.
        parallel: "ddp" or "fsdp"; says nothing with one GPU.
    """

    microbatch: int
    recompute: str = "none"
    offload: bool = False
    gpus: int = 1
    parallel: str = "ddp"

    @property
    def shards(self) -> int:
        """GPUs among which weights, gradients and moments are divided."""
        return self.gpus if self.parallel == "fsdp" else 1


@dataclass(frozen=True)
class Estimate:
    """Bytes that are allocated at the fullest moment of every phase; see the head of this file."""

    phases: dict[str, int]

    @property
    def peak(self) -> int:
        """Bytes that are allocated at the fullest moment."""
        return max(self.phases.values())

    @property
    def needed(self) -> int:
        """Bytes that a card has to have free for it."""
        return int(self.peak * (1 + GAPS)) + CONTEXT


def estimate(work: Workload, knobs: Knobs) -> Estimate:
    """The memory of one GPU that trains `work` with `knobs`."""
    is_sharded = knobs.shards > 1
    # Sharded layers are gathered in one type, so nothing is kept in bf16 (`train.step`).
    kept = weights(work.model, work.trainable, "fp32" if is_sharded else work.precision)
    encoders = sum(kept.frozen.get(name, 0) for name in ENCODERS)
    divided = sum(size for name, size in kept.frozen.items() if name not in ENCODERS)
    divided += (WEIGHT + MOMENTS + AVERAGE * work.averaged) * kept.trained
    always = divided // knobs.shards
    if is_sharded:  # two layers are whole at a time: the one at work, and the next
        always += 2 * kept.largest * (2 if work.precision == "bf16" else WEIGHT)
    gradients = GRADIENT * kept.trained // knobs.shards

    # With several GPUs gradients lie in buckets that are never freed; with several micro-batches
    # those of the first are there while the next one is worked on.
    accumulates = knobs.gpus > 1 or knobs.microbatch < work.batch
    resting = gradients if accumulates else 0
    phases = {"optimize": always + gradients + (0 if knobs.offload else encoders)}
    if work.objective == "diffusion":
        for name, one in encoder_passes(work.model, work.precision).items():
            added = _encoding(work, name, one, knobs.microbatch)
            phases[f"encode: {name}"] = always + resting + encoders + added
    passed = training_pass(work, knobs.recompute).peak(
        knobs.microbatch, gradients if accumulates else None, copies=not is_sharded
    )
    phases["train"] = always + (0 if knobs.offload else encoders) + passed
    return Estimate(phases)


def training_pass(work: Workload, recompute: str) -> Pass:
    """The forward and backward pass of a stage's objective, for one clip."""
    if work.objective == "reconstruction":
        return reconstruction_pass(work.model, work.trainable, work.precision)
    return diffusion_pass(work.model, work.trainable, recompute, work.precision)


def largest_microbatch(work: Workload, knobs: Knobs, limit: int) -> int:
    """The largest micro-batch that divides a GPU's share and needs at most `limit` bytes; 0: none.

    `knobs` says the rest; its own micro-batch is not looked at.
    """
    share = work.batch // knobs.gpus
    sizes = [size for size in range(share, 0, -1) if share % size == 0]
    fits = (s for s in sizes if estimate(work, replace(knobs, microbatch=s)).needed <= limit)
    return next(fits, 0)


def _encoding(work: Workload, name: str, one: Pass, clips: int) -> int:
    """Bytes while `clips` clips are encoded: the frames in fp32, and the encoder at work."""
    height, width = work.model["resolution"]
    frames = clips * work.model["frames"]
    pixels = frames * 3 * height * width * 4
    together = min(frames, frames_at_once(height * width))
    return pixels + one.peak(together if name == "autoencoder" else clips)
