"""What a row is, and how the two figures in it are timed.

A part and its reference take turns, so that a machine that slows down slows both.
"""

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

REPEATS = 5


@dataclass(frozen=True)
class Row:
    """One line of the table.

    Attributes:
        part: what was timed.
        rate: units per second.
        unit: what is counted.
        reference: what the part is held against; empty for a ceiling itself.
        reference_rate: the same units per second.
    """

    part: str
    rate: float
    unit: str
    reference: str = ""
    reference_rate: float | None = None

    @property
    def ratio(self) -> float | None:
        """Rate over reference rate."""
        return self.rate / self.reference_rate if self.reference_rate else None


def seconds_in_turn(*works: Callable[[], object], repeats: int = REPEATS) -> list[float]:
    """Median seconds of each of `works`, which take turns; the first round is not counted.

    A work that computes on a GPU waits for it before it returns.
    """
    rounds = [[_seconds(work) for work in works] for _ in range(repeats + 1)]
    return [statistics.median(column) for column in zip(*rounds[1:], strict=True)]


def _seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started
