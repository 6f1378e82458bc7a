"""The Fréchet distance over the number of samples, and its line in 1/N to infinitely many.

The distance of N samples is about a + b / N once N is several times the number of dimensions. With
fewer the law fails, and with it what the line says at 1/N = 0.
"""

from dataclasses import dataclass

import numpy as np

from dynamicrafter.draws import generator
from dynamicrafter.statistics import extrapolate
from eval.metrics.blas import side_by_side
from eval.metrics.frechet import frechet_distance, frechet_of_heads

LEAST = 4.0  # samples per dimension for the line; the smallest subsets have half of them
FRACTIONS = (0.5, 0.625, 0.75, 0.875)  # of the samples
DRAWS = 4  # subsets of each fraction


@dataclass(frozen=True)
class Curve:
    """Distances of subsets that were drawn without replacement.

    Attributes:
        n: samples of a subset (of the smaller set), `[k]`; the last are all.
        values: mean distance, `[k]`.
        line: least squares of `values` on 1/n, at `n`; empty where the law fails.
        residuals: values minus line, `[k]` or empty.
        infinite: the line at 1/n = 0; None where the law fails.
        error: standard error of `infinite` from the drawing alone.
        reason: why there is no line, or None.
    """

    n: np.ndarray
    values: np.ndarray
    line: np.ndarray
    residuals: np.ndarray
    infinite: float | None
    error: float
    reason: str | None


def fvd_curve(x: np.ndarray, y: np.ndarray, unbiased: bool = True, seed: int = 0) -> Curve:
    """The curve of features `[n, d]` and `[m, d]`; with n = m, rows i of both are drawn together.

    Args:
        x: one set, 4 rows or more.
        y: the other, 4 rows or more.
        unbiased: covariance over n - 1, otherwise over n.
        seed: of the subsets.

    Raises:
        InputError: shapes that do not fit, fewer than 2 rows in a subset, values not finite.
    """
    fewest, dimensions = min(len(x), len(y)), x.shape[1]
    counts, means, errors = [], [], []
    draws = side_by_side(lambda k: _subset_distances(x, y, k, unbiased, seed), range(DRAWS))
    for fraction, drawn in zip(FRACTIONS, np.transpose(draws), strict=True):
        counts.append(round(fraction * fewest))
        means.append(float(np.mean(drawn)))
        errors.append(float(np.std(drawn, ddof=1)) / DRAWS**0.5)
    n = np.array([*counts, fewest])
    values = np.array([*means, frechet_distance(x, y, unbiased).value])
    if fewest < LEAST * dimensions:
        reason = (
            f"{fewest} samples of {dimensions} features: the distance is in line with 1/N only "
            f"from about {LEAST:.0f} samples a feature ({LEAST * dimensions:.0f}) on"
        )
        return Curve(n, values, np.empty(0), np.empty(0), None, 0.0, reason)
    found = extrapolate(n, values)
    line = found.value + found.slope / n
    error = _error_at_infinity(n, np.array([*errors, 0.0]))
    return Curve(n, values, line, values - line, found.value, error, None)


def no_curve(reason: str) -> Curve:
    """What stands where there is no curve."""
    return Curve(np.empty(0), np.empty(0), np.empty(0), np.empty(0), None, 0.0, reason)


def _subset_distances(
    x: np.ndarray, y: np.ndarray, k: int, unbiased: bool, seed: int
) -> list[float]:
    """Distances of the k-th subsets, one a fraction, each of which holds the smaller ones.

    Those of odd k begin with the rows that the one before took last.
    """
    order_x = generator(seed, k // 2, "curve").permutation(len(x))
    order_y = generator(seed, k // 2, "curve").permutation(len(y))  # the same where n = m
    side = 1 if k % 2 == 0 else -1
    counts = [(round(one * len(x)), round(one * len(y))) for one in FRACTIONS]
    return frechet_of_heads(x[order_x[::side]], y[order_y[::side]], counts, unbiased)


def _error_at_infinity(n: np.ndarray, errors: np.ndarray) -> float:
    """Standard error of a line's value at 1/N = 0 from those of its points."""
    units = np.eye(len(n))
    weights = np.array([extrapolate(n, unit).value for unit in units])
    return float(np.sqrt(((weights * errors) ** 2).sum()))
