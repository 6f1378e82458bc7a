"""Windows → batches: which sample numbers a rank sees in a step, decoded by worker processes."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch

from dynamicrafter.errors import InputError, ToolkitError
from dynamicrafter.loaders import loaded
from train.data.encoded import Kept
from train.data.windows import ClipWindows

PREFETCHED = 3  # batches that each worker holds ready
TOO_MUCH = "pass a lower loader_workers or keep_decoded"  # where memory does not suffice


@dataclass(frozen=True)
class Batch:
    """A batch of windows.

    Attributes:
        numbers: global sample numbers, `[b]`.
        keys: shard keys, in the same order.
        frames: uint8 `[b, t, h, w, 3]`; with `kept`, t is 1 and this is the condition frame.
        captions: motion captions.
        frame_stride: int64 `[b]`, source frames between two frames of the window.
        fps: float32 `[b]`, frames per second of the window.
        replaced: keys of unreadable clips that other clips stand in for.
        kept: what the frozen encoders made of the batch earlier; None where it is still to be made.
    """

    numbers: list[int]
    keys: list[str]
    frames: torch.Tensor
    captions: list[str]
    frame_stride: torch.Tensor
    fps: torch.Tensor
    replaced: list[str]
    kept: Kept | None = None

    def pin_memory(self) -> "Batch":
        """The batch with what is large in pinned memory; DataLoader calls this by its name."""
        kept = self.kept
        if kept is not None:
            kept = replace(kept, moments=kept.moments.pin_memory(), text=kept.text.pin_memory())
        return replace(self, frames=self.frames.pin_memory(), kept=kept)


@dataclass(frozen=True)
class Positions:
    """The sample numbers of a rank, a list for each of its microbatches, step after step.

    Step s holds the numbers from s*batch to s*batch + batch - 1. Each rank takes its share of them,
    one after the other, and cuts it into microbatches. So the numbers of a step do not depend on
    how many ranks there are.

    Attributes:
        first_step: the step to begin with, from 0.
        steps: the step to end before.
        batch: samples of a step, over all ranks.
        rank: of this process.
        ranks: how many there are.
        microbatch: samples of a rank that are computed at once; None for its whole share.

    Raises:
        InputError: the batch cannot be divided so.
    """

    first_step: int
    steps: int
    batch: int
    rank: int = 0
    ranks: int = 1
    microbatch: int | None = None

    def __post_init__(self) -> None:
        if self.batch < 1 or self.batch % self.ranks:
            raise InputError(
                f"a batch of {self.batch} cannot be divided among {self.ranks} processes; "
                f"choose a multiple of {self.ranks} as batch, or another number of processes"
            )
        if self.microbatch is not None and (self.microbatch < 1 or self.share % self.microbatch):
            raise InputError(
                f"a share of {self.share} samples (batch {self.batch}, {self.ranks} processes) "
                f"cannot be cut into microbatches of {self.microbatch}; choose a divisor of "
                f"{self.share} as microbatch"
            )

    @property
    def share(self) -> int:
        """Samples of a rank in a step."""
        return self.batch // self.ranks

    def __len__(self) -> int:
        steps = max(self.steps - self.first_step, 0)
        return steps * (self.share // (self.microbatch or self.share))

    def __iter__(self) -> Iterator[list[int]]:
        size = self.microbatch or self.share
        for step in range(self.first_step, self.steps):
            first = step * self.batch + self.rank * self.share
            for start in range(first, first + self.share, size):
                yield list(range(start, start + size))


def check_batch(windows: ClipWindows, batch: int) -> None:
    """Make sure that there are as many clips as a batch has samples.

    Raises:
        InputError: there are fewer, so that clips would repeat within a step.
    """
    if (clips := windows.selection.clips) < batch:
        raise InputError(
            f"stage {windows.stream}: {clips} clips of {windows.window.frames} frames or more are "
            f"fewer than a batch of {batch}; lower the batch or add data"
        )


def batches(windows: ClipWindows, positions: Positions, workers: int) -> Iterator[Batch]:
    """The batches at `positions`, decoded by `workers` processes (0: by this one).

    Raises:
        InputError: fewer clips than a batch; while iterating, data that cannot be used.
        MachineError: while iterating, a loader process was killed.
    """
    check_batch(windows, positions.batch)
    return loaded(
        windows, positions, _collate, workers, TOO_MUCH, torch.cuda.is_available(), PREFETCHED
    )


def _collate(rows: list[dict | ToolkitError]) -> Batch | ToolkitError:
    if errors := [row for row in rows if isinstance(row, ToolkitError)]:
        return errors[0]
    return Batch(
        numbers=[row["number"] for row in rows],
        keys=[row["key"] for row in rows],
        frames=torch.from_numpy(np.stack([row["frames"] for row in rows])),
        captions=[row["caption"] for row in rows],
        frame_stride=torch.tensor([row["frame_stride"] for row in rows]),
        fps=torch.tensor([row["fps"] for row in rows], dtype=torch.float32),
        replaced=[key for row in rows for key in row["replaced"]],
        kept=_collate_kept([row["kept"] for row in rows]) if "kept" in rows[0] else None,
    )


def _collate_kept(rows: list[tuple[torch.Tensor, ...]]) -> Kept:
    moments, texts, no_texts = zip(*rows, strict=True)
    return Kept(torch.stack(moments), torch.stack(texts), no_texts[0][None])
