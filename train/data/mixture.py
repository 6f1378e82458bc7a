"""Which of several members a position belongs to, so that each gets its share, exactly.

Positions come in blocks. How many of the first n positions a member gets is a rounding of n times
its weight, never off by more than about one, however long the run is; inside a block the members
are shuffled. So shares hold over any stretch, which independent draws would reach only slowly.
"""

from collections.abc import Sequence

import numpy as np

from dynamicrafter import draws

BLOCK = 256  # positions
KEPT = 8  # blocks


class Mixture:
    """Position → (member, position within the member)."""

    def __init__(self, weights: Sequence[float], seed: int, stream: str):
        """Mix members.

        Args:
            weights: positive, one a member; only their ratios count.
            seed: the run's seed.
            stream: prefix of the draws' names.
        """
        rest = np.cumsum(np.asarray(weights, np.float64)[::-1])[::-1]
        self._of_rest = (np.asarray(weights, np.float64) / rest).tolist()  # the last is 1
        self.seed, self.stream = seed, stream
        self._blocks: dict[int, tuple[np.ndarray, np.ndarray]] = {}

    def counts(self, positions: int) -> np.ndarray:
        """How many of the first `positions` each member gets: int64 `[m]`, their sum is exact.

        The first member gets its share, rounded; the next gets its share of what is left, rounded;
        and so on. Each count grows with `positions` by 0 or 1 at a time.
        """
        counts = []
        for share in self._of_rest[:-1]:
            counts.append(int(positions * share + 0.5))
            positions -= counts[-1]
        return np.array([*counts, positions], np.int64)

    def locate(self, position: int) -> tuple[int, int]:
        """The member at `position`, and how many of the positions before it are the member's."""
        if len(self._of_rest) == 1:
            return 0, position
        block, place = divmod(position, BLOCK)
        if block not in self._blocks:
            while len(self._blocks) >= KEPT:
                del self._blocks[next(iter(self._blocks))]
            self._blocks[block] = self._block(block)
        members, before = self._blocks[block]
        return int(members[place]), int(before[place])

    def _block(self, number: int) -> tuple[np.ndarray, np.ndarray]:
        """Member, and position within it, of each position of a block: int64 `[BLOCK]` each."""
        first, last = self.counts(number * BLOCK), self.counts((number + 1) * BLOCK)
        members = np.repeat(np.arange(len(first)), last - first)
        before = np.concatenate([np.arange(*span) for span in zip(first, last, strict=True)])
        chance = draws.generator(self.seed, number, f"{self.stream}/mixture")
        members = chance.permutation(members)
        # the clips of a member keep their order, wherever the shuffle has put them
        by_member = np.argsort(members, kind="stable")
        places = np.empty(BLOCK, np.int64)
        places[by_member] = before
        return members, places
