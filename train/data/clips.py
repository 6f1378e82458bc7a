"""The data sets that a run trains on, and frames of their clips at the model's size."""

import math
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from dynamicrafter.errors import MediaError
from dynamicrafter.media.decode import read_frames
from dynamicrafter.media.sampling import center_crop
from dynamicrafter.shards import Sample, ShardReader


class ClipFrames:
    """Frames of the clips of a data set at the model's size, decoded when asked for."""

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
        """Frames `indices` of `sample`, which is clip `index`: uint8 `[t, *size, 3]`.

        Raises:
            MediaError: the clip cannot be decoded, or does not say how large it is.
        """
        if not self.keep:
            return self.decode(sample, indices.tolist())
        if index not in self._kept:
            self._kept[index] = self.decode(sample, range(self.reader.entry(index).frames))
            while len(self._kept) > self.keep:
                self._kept.popitem(last=False)
        return self._kept[index][indices]

    def decode(self, sample: Sample, indices: Sequence[int]) -> np.ndarray:
        """Frames `indices` of `sample`, as `read`, and nothing is kept of them."""
        sides = [sample.info.get(name) for name in ("height", "width")]
        if not all(isinstance(side, int) and side > 0 for side in sides):
            raise MediaError("no_size", f"clip {sample.key} states no height and width")
        shape = np.array(sides)
        short_side = math.ceil(min(shape) * max(self.size / shape))  # just covers `size`
        return center_crop(read_frames(sample.video, indices, short_side), self.size)


@dataclass(frozen=True, eq=False)
class DataSet:
    """One shard folder among those that a run trains on.

    Attributes:
        name: `data`, or `data/<path>` where there are several.
        frames: its clips.
        weight: its share in the mix is its weight over the sum of all; None for its number of
            clips, so that several sets are one large one.
    """

    name: str
    frames: ClipFrames
    weight: float | None = None


@dataclass(frozen=True, eq=False)
class Clips:
    """All that a run trains on.

    Attributes:
        sets: the data sets, at least one.
        window_shards: shards whose clips are shuffled together.
        balance: a category's share in its data set is its number of clips to this power: 1 leaves
            them as they are, 0 makes all equal; None looks at no categories.
    """

    sets: tuple[DataSet, ...]
    window_shards: int = 16
    balance: float | None = None

    @property
    def digests(self) -> dict[str, str]:
        """Name → root digest of each data set."""
        return {one.name: one.frames.reader.digest for one in self.sets}


def one_set(frames: ClipFrames) -> Clips:
    """The clips of one data set, as they are."""
    return Clips((DataSet("data", frames),))
