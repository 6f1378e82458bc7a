"""An endless order over the clips of shards: a windowed block shuffle of every epoch.

The shards are permuted, cut into windows of a few, and the clips of a window are permuted. So clips
that are read one after the other lie in a few shards, which a cache can hold, and still no two
epochs are alike. A position is found without listing the positions before it: an epoch costs one
permutation of the shards, a window one permutation of its clips.
"""

from dataclasses import dataclass

import numpy as np

from dynamicrafter import draws

KEPT = 4  # epochs, and windows, that are kept: loader processes are never far apart


@dataclass(frozen=True, eq=False)
class _Epoch:
    shards: np.ndarray  # int64 [s], in the order of the epoch
    ends: np.ndarray  # int64 [s], position after the last clip of each


class Order:
    """Position → clip, over epochs: each holds every clip once."""

    def __init__(self, counts: np.ndarray, seed: int, stream: str, window_shards: int):
        """Order the clips of shards.

        Args:
            counts: int64 `[s]`, clips of each shard, all positive.
            seed: the run's seed.
            stream: prefix of the draws' names.
            window_shards: shards whose clips are shuffled together.
        """
        self.counts, self.seed, self.stream = counts, seed, stream
        self.window_shards = window_shards
        self.clips = int(counts.sum())
        self._epochs: dict[int, _Epoch] = {}
        self._windows: dict[tuple[int, int], np.ndarray] = {}

    def locate(self, position: int) -> tuple[int, int]:
        """The clip at `position` as (shard, number within the shard)."""
        number, position = divmod(position, self.clips)
        epoch = self._epoch(number)
        window = int(np.searchsorted(epoch.ends, position, side="right")) // self.window_shards
        first = window * self.window_shards
        start = int(epoch.ends[first - 1]) if first else 0
        ends = epoch.ends[first : first + self.window_shards] - start
        place = int(self._window(number, window, int(ends[-1]))[position - start])
        slot = int(np.searchsorted(ends, place, side="right"))
        shard = int(epoch.shards[first + slot])
        return shard, place - int(ends[slot] - self.counts[shard])

    def _epoch(self, number: int) -> _Epoch:
        if number not in self._epochs:
            chance = draws.generator(self.seed, number, f"{self.stream}/shards")
            shards = chance.permutation(len(self.counts))
            _keep(self._epochs, number, _Epoch(shards, np.cumsum(self.counts[shards])))
        return self._epochs[number]

    def _window(self, epoch: int, window: int, clips: int) -> np.ndarray:
        if (epoch, window) not in self._windows:
            chance = draws.generator(self.seed, epoch, f"{self.stream}/clips-{window}")
            drawn = chance.permutation(clips).astype(np.int32)
            _keep(self._windows, (epoch, window), drawn)
        return self._windows[epoch, window]


def _keep(kept: dict, key: object, value: object) -> None:
    while len(kept) >= KEPT:
        del kept[next(iter(kept))]
    kept[key] = value
