"""Kernel distance between two sets of features: squared maximum mean discrepancy (KVD).

The kernel is the cubic polynomial (x.y / d + 1)^3. The estimate is unbiased, so that of two equal
distributions scatters around 0 and is negative half the time.
"""

from dataclasses import dataclass

import numpy as np

from dynamicrafter.draws import generator
from dynamicrafter.errors import InputError
from eval.metrics.blas import side_by_side
from eval.metrics.frechet import check_features

BLOCK = 512  # rows of the kernel matrix at a time: 2 MiB in float64, which stay cached


@dataclass(frozen=True)
class KernelDistance:
    """`value` is the unbiased MMD^2 of all of `count_x` and `count_y` rows."""

    value: float
    count_x: int
    count_y: int


@dataclass(frozen=True)
class KernelSubsets:
    """Mean and spread (ddof 0) of MMD^2 over subsets of `size` rows."""

    value: float
    deviation: float
    values: np.ndarray  # [k]
    size: int


def kernel_distance(x: np.ndarray, y: np.ndarray) -> KernelDistance:
    """Unbiased MMD^2 of features `[n, d]` and `[m, d]`; memory does not grow with n m.

    Raises:
        InputError: shapes that do not fit, fewer than 2 rows, values that are not finite.
    """
    x, y = check_features(x, y)
    return KernelDistance(_mmd2(x, y), len(x), len(y))


def kernel_subsets(x: np.ndarray, y: np.ndarray, ix: np.ndarray, iy: np.ndarray) -> KernelSubsets:
    """Unbiased MMD^2 of the subsets of rows `ix[k]` of x and `iy[k]` of y.

    Args:
        x: features `[n, d]`.
        y: features `[m, d]`.
        ix: integer `[k, size]`, no repetition within a row (`draw_subsets`).
        iy: the same for y.

    Raises:
        InputError: shapes that do not fit, fewer than 2 rows, values that are not finite.
    """
    x, y = check_features(x, y)
    values = np.array([_mmd2(x[rows], y[columns]) for rows, columns in zip(ix, iy, strict=True)])
    return KernelSubsets(float(values.mean()), float(values.std()), values, ix.shape[1])


def draw_subsets(n: int, size: int, count: int, seed: int, name: str) -> np.ndarray:
    """`count` subsets of `size` of n rows without replacement, `[count, size]`; pure in the seed.

    Raises:
        InputError: size outside 2 to n.
    """
    if not 2 <= size <= n:
        raise InputError(f"subsets of {n} rows have 2 to {n} rows, not {size}")
    draws = [generator(seed, k, name).choice(n, size, replace=False) for k in range(count)]
    return np.stack(draws)


def sums_within(x: np.ndarray) -> np.ndarray:
    """Sums of k(x_i, x_j) over j != i, `[n]`, of features `[n, d]` in float64."""
    blocks = _blocks(_lifted(x))

    def above(i: int) -> list[np.ndarray]:
        """What the blocks from the diagonal on add to the blocks of rows i, i + 1, ..."""
        sums = [_sums(blocks[i], block) for block in blocks[i:]]
        own = np.sum([over_columns for over_columns, _ in sums], axis=0)
        return [own, *(over_rows for _, over_rows in sums[1:])]

    total = [np.zeros(len(block)) for block in blocks]
    for i, sums in enumerate(side_by_side(above, range(len(blocks)))):
        for j, part in enumerate(sums, start=i):
            total[j] += part
    return np.concatenate(total) - kernel_pairs(x, x)


def sums_between(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Sums of k(x_i, y_j) over j, `[n]`, and over i, `[m]`, of features `[n, d]` and `[m, d]`."""
    columns = _blocks(_lifted(y))

    def sums(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        over_columns, over_rows = zip(*(_sums(rows, block) for block in columns), strict=True)
        return np.sum(over_columns, axis=0), np.concatenate(over_rows)

    of_x, of_y = zip(*side_by_side(sums, _blocks(_lifted(x))), strict=True)
    return np.concatenate(of_x), np.sum(of_y, axis=0)


def kernel_pairs(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """k(x_i, y_i), `[n]`, of features `[n, d]` each."""
    return (np.einsum("nd,nd->n", x, y) / x.shape[1] + 1) ** 3


def _mmd2(x: np.ndarray, y: np.ndarray) -> float:
    n, m = len(x), len(y)
    within = _sum_off_diagonal(x) / (n * (n - 1)) + _sum_off_diagonal(y) / (m * (m - 1))
    columns = _blocks(_lifted(y))

    def between(rows: np.ndarray) -> float:
        return sum(_kernel_sum(rows, block) for block in columns)

    return within - 2 * sum(side_by_side(between, _blocks(_lifted(x)))) / (n * m)


def _sum_off_diagonal(x: np.ndarray) -> float:
    """Sum of k(x_i, x_j) over i != j, from the blocks on and above the diagonal."""
    blocks = _blocks(_lifted(x))

    def above(i: int) -> float:
        more = 2 * sum(_kernel_sum(blocks[i], columns) for columns in blocks[i + 1 :])
        return _kernel_sum(blocks[i], blocks[i]) + more

    return sum(side_by_side(above, range(len(blocks)))) - float(kernel_pairs(x, x).sum())


def _kernel_sum(x: np.ndarray, y: np.ndarray) -> float:
    """Sum of k over all pairs of lifted rows."""
    base = x @ y.T
    return float(np.vdot(base * base, base))


def _sums(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Sums of k of lifted rows over y, `[n]`, and over x, `[m]`."""
    base = x @ y.T
    kernel = base * base
    kernel *= base
    return kernel @ np.ones(len(y)), np.ones(len(x)) @ kernel


def _lifted(x: np.ndarray) -> np.ndarray:
    """Rows `[n, d + 1]` whose products are x.y / d + 1: the kernel's base in one product."""
    return np.hstack([x / x.shape[1] ** 0.5, np.ones((len(x), 1))])


def _blocks(x: np.ndarray) -> list[np.ndarray]:
    return [x[start : start + BLOCK] for start in range(0, len(x), BLOCK)]
