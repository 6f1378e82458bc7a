"""Which clip a sample number sees: data sets mixed, categories balanced, too short clips left out.

What the manifests say is enough to know how many clips of each category a shard holds, if its
shortest clip is long enough; only the indexes of other shards are read for that.
"""

from collections import defaultdict
from dataclasses import dataclass

import numpy as np

from dynamicrafter.errors import InputError
from dynamicrafter.shards import ShardReader
from train.data.clips import Clips, DataSet
from train.data.mixture import Mixture
from train.data.order import Order


@dataclass(frozen=True, eq=False)
class Pool:
    """Clips of one data set in an endless order: all that are long enough, or a category of them.

    Attributes:
        data: the set.
        category: of the clips; None where categories do not matter.
        frames: how many a clip has at least.
        shards: int64 `[s]`, shards that hold some of them.
        order: over those.
    """

    data: DataSet
    category: str | None
    frames: int
    shards: np.ndarray
    order: Order

    def clip(self, position: int) -> int:
        """Number in the data set of the clip at `position`."""
        slot, rank = self.order.locate(position)
        shard = int(self.shards[slot])
        reader = self.data.frames.reader
        entry = reader.manifest["shards"][shard]
        if self.order.counts[slot] == entry["samples"]:  # all of it, so its index is not needed
            return reader.start_of(shard) + rank
        rows = reader.index(shard).rows(self.frames, self.category)
        return reader.start_of(shard) + int(rows[rank])


class Selection:
    """Sample number → clip."""

    def __init__(self, clips: Clips, seed: int, stream: str, frames: int):
        """Select among the clips of at least `frames` frames.

        Args:
            clips: the data sets.
            seed: the run's seed.
            stream: prefix of the draws' names.
            frames: how many a clip needs.

        Raises:
            InputError: no clip of a data set is long enough.
        """
        self._pools, self._categories, sizes = [], [], []
        for number, data in enumerate(clips.sets):
            own = f"{stream}/{number}"
            reader = data.frames.reader
            counts = usable_counts(reader, frames, by_category=clips.balance is not None)
            if not counts:
                raise InputError(f"{reader.folder}: no clip has {frames} frames or more")
            pools = []
            for category, (shards, per_shard) in counts.items():
                name = own if category is None else f"{own}/{category}"
                order = Order(per_shard, seed, name, clips.window_shards)
                pools.append(Pool(data, category, frames, shards, order))
            shares = [float(pool.order.clips) ** (clips.balance or 0.0) for pool in pools]
            self._pools.append(pools)
            self._categories.append(Mixture(shares, seed, own))
            sizes.append(sum(pool.order.clips for pool in pools))
        self.clips = sum(sizes)
        weights = [one.weight or size for one, size in zip(clips.sets, sizes, strict=True)]
        self._sets = Mixture(weights, seed, stream)

    def locate(self, number: int) -> tuple[Pool, int]:
        """The pool that sample `number` is taken from, and its position there."""
        data, position = self._sets.locate(number)
        category, position = self._categories[data].locate(position)
        return self._pools[data][category], position


def usable_counts(
    reader: ShardReader, frames: int, by_category: bool
) -> dict[str | None, tuple[np.ndarray, np.ndarray]]:
    """How many clips of at least `frames` frames each shard holds.

    Returns:
        category (None for all together) → shards that hold some, and how many: int64 `[s]` each.
        Categories are sorted; there is none without a clip.
    """
    found: dict[str | None, list[tuple[int, int]]] = defaultdict(list)
    for shard, entry in enumerate(reader.manifest["shards"]):
        if entry["shortest"] >= frames:
            counts = entry["categories"]
        else:
            index = reader.index(shard)
            counts = index.categories(index.rows(frames))
        if not by_category:
            counts = {None: sum(counts.values())} if counts else {}
        for category, count in counts.items():
            found[category].append((shard, count))
    columns = {name: np.array(rows, np.int64) for name, rows in found.items()}
    return {name: (columns[name][:, 0], columns[name][:, 1]) for name in sorted(columns, key=str)}
