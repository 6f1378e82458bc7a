"""Which clip a sample number sees, and which window of it: pure functions of (seed, number).

The order of an epoch is a permutation drawn from (seed, epoch); stride and start are drawn from
(seed, number). So the data position of a run is one integer, and neither resuming nor the number of
loader workers changes what a step sees.
"""

import functools
import math
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from dynamicrafter import draws
from dynamicrafter.errors import InputError, MediaError, ToolkitError
from dynamicrafter.media.decode import read_frames
from dynamicrafter.media.sampling import center_crop, window_indices
from dynamicrafter.shards import Sample, ShardReader

SUBSTITUTES = 8  # other clips that are tried before a sample number is given up


@dataclass(frozen=True)
class Batch:
    """A batch of windows.

    Attributes:
        numbers: global sample numbers, `[b]`.
        keys: shard keys, in the same order.
        frames: uint8 `[b, t, h, w, 3]`.
        captions: motion captions.
        frame_stride: int64 `[b]`, source frames between two frames of the window.
        fps: float32 `[b]`, frames per second of the window.
        replaced: keys of unreadable clips that other clips stand in for.
    """

    numbers: list[int]
    keys: list[str]
    frames: torch.Tensor
    captions: list[str]
    frame_stride: torch.Tensor
    fps: torch.Tensor
    replaced: list[str]


@dataclass(frozen=True)
class Window:
    """How a stage looks at a clip: how many frames, and how far apart."""

    frames: int
    strides: tuple[int, int]  # smallest and largest, in source frames


class ClipFrames:
    """Frames of clips at the model's size, decoded when asked for."""

    def __init__(self, reader: ShardReader, size: tuple[int, int], keep: int = 0):
        """Read from `reader`.

        Args:
            reader: the shard folder.
            size: height and width in pixels.
            keep: how many whole clips to keep in memory, at `size`; worth it where all fit.
        """
        self.reader, self.size, self.keep = reader, size, keep
        self._kept: OrderedDict[int, np.ndarray] = OrderedDict()

    def read(self, index: int, sample: Sample, indices: np.ndarray) -> np.ndarray:
        """Frames `indices` of `sample`, which is clip `index`: uint8 `[t, *size, 3]`."""
        if not self.keep:
            return self._decode(sample, indices.tolist())
        if index not in self._kept:
            self._kept[index] = self._decode(sample, range(int(self.reader.frames[index])))
            while len(self._kept) > self.keep:
                self._kept.popitem(last=False)
        return self._kept[index][indices]

    def _decode(self, sample: Sample, indices: Sequence[int]) -> np.ndarray:
        shape = np.array([sample.info["height"], sample.info["width"]])
        short_side = math.ceil(min(shape) * max(self.size / shape))  # just covers `size`
        return center_crop(read_frames(sample.video, indices, short_side), self.size)


class ClipWindows(Dataset):
    """Sample number → window of a clip. Used by DataLoader workers, holds no open file."""

    def __init__(self, frames: ClipFrames, seed: int, stream: str, window: Window):
        """Look at clips through `window`.

        Args:
            frames: the clips.
            seed: the run's seed.
            stream: prefix of the draws' names.
            window: frame count and strides.

        Raises:
            InputError: no clip is long enough for the window.
        """
        self.frames, self.reader = frames, frames.reader
        self.seed, self.stream, self.window = seed, stream, window
        self.usable = np.flatnonzero(self.reader.frames >= window.frames)
        if not len(self.usable):
            raise InputError(f"{self.reader.folder}: no clip has {window.frames} frames or more")

    def clip_of(self, number: int) -> int:
        """Index in the reader of the clip that sample `number` sees."""
        epoch, position = divmod(number, len(self.usable))
        return int(self.usable[_order(self.seed, epoch, self.stream, len(self.usable))[position]])

    def __getitem__(self, number: int) -> dict | ToolkitError:
        """The window of sample `number`, or the error that stands in its way.

        An error is returned and raised by `batches`: a loader process would wrap it in its own
        traceback.
        """
        try:
            return self.sample(number)
        except ToolkitError as error:
            return error

    def sample(self, number: int) -> dict:
        """The window of sample `number`; an unreadable clip is replaced by a drawn other one.

        Raises:
            InputError: one clip after the other is unreadable.
        """
        index, replaced = self.clip_of(number), []
        for attempt in range(SUBSTITUTES):
            try:
                return {**self._window(index, number), "number": number, "replaced": replaced}
            except MediaError:
                replaced.append(self.reader.keys[index])
                chance = draws.generator(self.seed, number, f"{self.stream}/substitute-{attempt}")
                index = int(self.usable[chance.integers(len(self.usable))])
        raise InputError(
            f"{self.reader.folder}: unreadable clips {', '.join(replaced)}; pack again"
        )

    def _window(self, index: int, number: int) -> dict:
        chance = draws.generator(self.seed, number, f"{self.stream}/window")
        low, high = self.window.strides
        stride, position = int(chance.integers(low, high + 1)), float(chance.random())
        sample = self.reader[index]
        total = int(self.reader.frames[index])
        indices = window_indices(total, self.window.frames, stride, position)
        stride = int(indices[1] - indices[0]) if len(indices) > 1 else stride
        return {
            "key": sample.key,
            "frames": self.frames.read(index, sample, indices),
            "caption": sample.text,
            "frame_stride": stride,
            "fps": float(self.reader.fps[index]) / stride,
        }


@functools.lru_cache(maxsize=2)
def _order(seed: int, epoch: int, stream: str, count: int) -> np.ndarray:
    return draws.generator(seed, epoch, f"{stream}/order").permutation(count)


@dataclass(frozen=True)
class Positions:
    """The sample numbers of each step: step s sees s*batch … s*batch + batch - 1."""

    first_step: int
    steps: int
    batch: int

    def __iter__(self) -> Iterator[list[int]]:
        for step in range(self.first_step, self.steps):
            yield list(range(step * self.batch, (step + 1) * self.batch))


def batches(windows: ClipWindows, positions: Positions, workers: int) -> Iterator[Batch]:
    """The batches at `positions`, decoded by `workers` processes (0: by this one)."""
    loader = DataLoader(
        windows,
        batch_sampler=positions,
        collate_fn=_collate,
        num_workers=workers,
        multiprocessing_context="spawn" if workers else None,
    )
    for batch in loader:
        if isinstance(batch, ToolkitError):
            raise batch
        yield batch


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
    )
