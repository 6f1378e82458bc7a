"""Windows → batches: which sample numbers a rank sees in a step, decoded by worker processes."""

import contextlib
import multiprocessing
import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from multiprocessing.util import Finalize
from typing import TypeVar

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from dynamicrafter.errors import InputError, MachineError, ToolkitError
from train.data.encoded import Kept
from train.data.windows import ClipWindows
from train.stopping import kept_from_children

Value = TypeVar("Value")

PREFETCHED = 3  # batches that each worker holds ready


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
    return loaded(windows, positions, _collate, workers, PREFETCHED)


def loaded(
    dataset: Dataset,
    positions: Iterable[list[int]],
    collate: Callable[[list], Value | ToolkitError],
    workers: int,
    prefetched: int,
) -> Iterator[Value]:
    """What `workers` processes (0: this one) make of a data set, `prefetched` ready in each.

    Args:
        dataset: indexed by numbers; may give errors as items.
        positions: a list of numbers for each thing that is yielded.
        collate: makes a thing of items; may give an error, which is raised here.
        workers: processes.
        prefetched: things that each holds ready.

    Raises:
        ToolkitError: one that was given.
        MachineError: a loader process was killed.
    """
    loader = DataLoader(
        dataset,
        batch_sampler=positions,
        collate_fn=collate,
        num_workers=workers,
        multiprocessing_context="spawn" if workers else None,
        prefetch_factor=prefetched if workers else None,
        pin_memory=torch.cuda.is_available(),
    )
    others = multiprocessing.active_children()
    with _own_child_signal(), kept_from_children():
        ready = iter(loader)
    _end_with_this_process([one for one in multiprocessing.active_children() if one not in others])
    while (batch := _next(ready)) is not None:
        if isinstance(batch, ToolkitError):
            raise batch
        yield batch


def _next(ready: Iterator[Value | ToolkitError]) -> Value | ToolkitError | None:
    try:
        return next(ready, None)
    except (RuntimeError, ConnectionError, EOFError, FileNotFoundError) as error:
        # Of the latter three one comes where a worker dies while a batch is being taken from it.
        said = str(error)
        told = "DataLoader worker" in said and "exited unexpectedly" in said
        if isinstance(error, RuntimeError) and not told:
            raise
        raise MachineError(
            "a loader process was killed, likely for want of memory or of shared memory "
            "(/dev/shm); pass a lower loader_workers or keep_decoded"
        ) from None


@contextlib.contextmanager
def _own_child_signal() -> Iterator[None]:
    """Keep torch from raising the death of a worker wherever this process happens to be.

    Its handler of SIGCHLD would end a training step in the middle; without it, the death shows
    when the next batch is asked for.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.getsignal(signal.SIGCHLD)
    try:
        yield
    finally:
        signal.signal(signal.SIGCHLD, before)


def _end_with_this_process(workers: list) -> None:
    """Kill workers that still live when this process ends.

    Python would send them SIGTERM, which they never see, and wait for their end for ever.
    """
    if workers:
        Finalize(None, _kill, (workers,), exitpriority=0)


def _kill(workers: list) -> None:
    for worker in workers:
        worker.kill()


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
