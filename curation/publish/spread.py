"""Figures of streams that are too long to be held: quantiles, and counts of names."""

from collections import Counter
from collections.abc import Iterable, Sequence

import numpy as np

LIMIT = 2**17
MOST_NAMES = 2000
OTHER = "other names"


class Spread:
    """Quantiles of a stream of numbers: of all of them, or of a sample that is spread evenly.

    The sample depends on nothing but the numbers and their order, so equal streams, equal figures.
    """

    def __init__(self, limit: int = LIMIT):
        """`limit`: numbers that are held at most."""
        self.count = 0  # numbers that were added
        self._limit = limit
        self._values = np.empty(0)
        self._ranks = np.empty(0, np.uint64)
        self._below = np.uint64(2**64 - 1)

    def add(self, values: np.ndarray) -> None:
        """Add numbers; those that are not finite are unknown and left out."""
        values = np.asarray(values, float)
        values = values[np.isfinite(values)]
        index = np.arange(self.count + 1, self.count + 1 + len(values), dtype=np.uint64)
        self.count += len(values)
        ranks = index * np.uint64(0x9E3779B97F4A7C15)  # wraps around: a sequence without periods
        chosen = ranks <= self._below
        self._values = np.concatenate([self._values, values[chosen]])
        self._ranks = np.concatenate([self._ranks, ranks[chosen]])
        while len(self._values) > self._limit:
            self._below = self._below // np.uint64(2)
            chosen = self._ranks <= self._below
            self._values, self._ranks = self._values[chosen], self._ranks[chosen]

    def quantiles(self, shares: Sequence[float]) -> list[float] | None:
        """The values below which these shares of the numbers lie; None without any number."""
        return np.quantile(self._values, shares).tolist() if len(self._values) else None


class Names:
    """How often names occur; of very many names those that came first have counts of their own."""

    def __init__(self, most: int = MOST_NAMES):
        """`most`: names that are told apart."""
        self.counts: Counter[str] = Counter()
        self._most = most

    def add(self, names: Iterable[str | None]) -> None:
        """Add names; None is no name."""
        for name in names:
            if name is None:
                continue
            known = name in self.counts or len(self.counts) < self._most
            self.counts[name if known else OTHER] += 1

    def most_common(self, count: int) -> list[tuple[str, int]]:
        """The most common names with their counts, equal ones by name."""
        return sorted(self.counts.items(), key=lambda item: (-item[1], item[0]))[:count]
