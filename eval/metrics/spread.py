"""The spread of a distance about its expectation, from deleting samples one by one and in pairs.

Let V_k be the part of the variance that k samples make only together. Deleting one sample at a time
estimates J = sum k V_k (Efron and Stein 1981): too much, and twice the variance where pairs make it
all, as they do for equal distributions. Deleting pairs estimates Q = sum k (k - 1) / 2 V_k. If the
parts fall off geometrically, the variance is J^2 / (J + Q).

Two sets of equal count are taken as pairs: row i of both is deleted together. That is right for
pairs (generated from the real video's own first frame) and for sets that are independent.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from dynamicrafter.draws import generator
from eval.metrics.deletion import Without

PAIRS = 1024  # deleted pairs, at least


@dataclass(frozen=True)
class Spread:
    """How far a distance of finitely many samples lies from its expectation, and that from 0.

    Attributes:
        error: standard error of the distance.
        cautious: standard error of the distance less `bias`, or somewhat more than it.
        bias: of order 1/N.
    """

    error: float
    cautious: float
    bias: float


def spread(without: Without, n: int, m: int, seed: int) -> Spread:
    """Standard error and bias from deleting samples one by one and in pairs.

    Args:
        without: the distance as a function of the rows left out.
        n: rows of x.
        m: rows of y; if n = m, row i of both is deleted together.
        seed: of the pairs.
    """
    whole = float(without(_nothing(1), _nothing(1))[0])
    if n == m:
        singles, squares, bias = _of_one(lambda rows: without(rows, rows), n, whole, seed)
    else:
        part_x = _of_one(lambda rows: without(rows, _nothing(len(rows))), n, whole, seed)
        part_y = _of_one(lambda rows: without(_nothing(len(rows)), rows), m, whole, seed)
        singles, squares, bias = (sum(pair) for pair in zip(part_x, part_y, strict=True))
        squares += _across(without, n, m, whole, seed)
    variance = singles**2 / (singles + squares) if singles > 0 else 0.0
    return Spread(variance**0.5, singles**0.5, bias)


def _of_one(
    without: Callable[[np.ndarray], np.ndarray], n: int, whole: float, seed: int
) -> tuple[float, float, float]:
    """J, Q and the bias of deleting from one population of n."""
    singles = without(np.arange(n)[:, None])
    pairs = _pairs(n, seed)
    second = whole - singles[pairs[:, 0]] - singles[pairs[:, 1]] + without(pairs)
    deviation = singles - singles.mean()
    return (
        (n - 1) / n * float(deviation @ deviation),
        n * (n - 1) / 2 * float(second.var()),
        (n - 1) * (float(singles.mean()) - whole),
    )


def _across(without: Without, n: int, m: int, whole: float, seed: int) -> float:
    """Q of pairs of one sample of x and one of y."""
    count = max(PAIRS, min(n, m))
    rows_x = generator(seed, 0, "deleted x").integers(n, size=(count, 1))
    rows_y = generator(seed, 0, "deleted y").integers(m, size=(count, 1))
    nothing = _nothing(count)
    both = without(rows_x, rows_y)
    second = whole - without(rows_x, nothing) - without(nothing, rows_y) + both
    return n * m * float(second.var())


def _pairs(n: int, seed: int) -> np.ndarray:
    """Pairs of different rows `[k, 2]`, every row equally often."""
    order = generator(seed, 0, "deleted pairs").permutation(n)
    shifts = range(1, min(-(-PAIRS // n), n - 1) + 1)
    return np.concatenate([np.stack([order, np.roll(order, shift)], axis=1) for shift in shifts])


def _nothing(count: int) -> np.ndarray:
    return np.empty((count, 0), np.int64)
