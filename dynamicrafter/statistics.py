"""Intervals, agreement and calibration for the numbers of a report.

FVD is biased upwards at finite N. A bootstrap with replacement adds to that bias: its interval can
miss its own estimate by far. The delete-a-group jackknife leaves out without repeating, and removes
the bias of order 1/N on the way.
"""

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass

import numpy as np

from dynamicrafter.errors import InputError

BLOCK = 1000  # resamples of a bootstrap that are in memory at once


@dataclass(frozen=True)
class Interval:
    """An estimate with its two-sided interval: Student's, where its maker names no other."""

    value: float
    low: float
    high: float
    standard_error: float
    level: float


@dataclass(frozen=True)
class Extrapolation:
    """A line in 1/N: `value` at N = infinity, `slope` per 1/N."""

    value: float
    slope: float


@dataclass(frozen=True)
class Bin:
    """Cases whose stated probability lies within [low, high), the last bin with its high end.

    Attributes:
        low: border of the bin.
        high: border of the bin.
        n: number of cases, at least 1.
        stated: mean of what was stated of them.
        share: of them in which it came true, with Wilson's interval.
    """

    low: float
    high: float
    n: int
    stated: float
    share: Interval


@dataclass(frozen=True)
class Isotonic:
    """A rising map of stated to true probabilities, by its corners `[k]`, straight in between."""

    stated: tuple[float, ...]
    true: tuple[float, ...]

    def __call__(self, stated: Sequence[float] | np.ndarray) -> np.ndarray:
        """The true probabilities `[n]` of stated ones `[n]`; constant beyond the ends."""
        return np.asarray(np.interp(np.asarray(stated), self.stated, self.true))


def jackknife(
    statistic: Callable[[np.ndarray], float],
    n: int,
    groups: int,
    order: np.ndarray | None = None,
    level: float = 0.95,
) -> Interval:
    """Bias-corrected estimate and interval by the delete-a-group jackknife.

    Args:
        statistic: maps indices `[k]` of the samples to use to the number; called groups + 1 times.
        n: number of samples.
        groups: number of groups, 2 to n; n leaves out one sample at a time.
        order: permutation `[n]` of the samples by which groups are formed; by default as they lie.
        level: probability that the interval covers.

    Raises:
        InputError: groups outside 2 to n.

    Two samples of equal size (FVD) go in as one: the statistic applies the same indices to both.
    """
    if not 2 <= groups <= n:
        raise InputError(f"a jackknife of {n} samples takes 2 to {n} groups, not {groups}")
    order = np.arange(n) if order is None else order
    whole = statistic(order)
    kept = [np.concatenate(p) for p in _without_each(np.array_split(order, groups))]
    partial = np.array([statistic(indices) for indices in kept])
    value = groups * whole - (groups - 1) * float(partial.mean())
    variance = (groups - 1) / groups * float(((partial - partial.mean()) ** 2).sum())
    return student_interval(value, variance**0.5, groups - 1, level)


def mean_interval(values: Sequence[float] | np.ndarray, level: float = 0.95) -> Interval:
    """Mean and Student interval of independent values `[n]`, n at least 2 (one for each video)."""
    array = np.asarray(values, np.float64)
    if array.ndim != 1 or len(array) < 2:
        raise InputError(f"an interval of a mean needs a list of 2 values, not {array.shape}")
    error = float(array.std(ddof=1)) / len(array) ** 0.5
    return student_interval(float(array.mean()), error, len(array) - 1, level)


def bootstrap_means(
    values: Sequence[float] | np.ndarray, seed: int, name: str, resamples: int = 10_000
) -> np.ndarray:
    """Means of `values` resampled with replacement along every axis at once, `[resamples]`.

    Args:
        values: `[n]`, or `[m, n]` where every one of m things (seeds) met every one of n (clips):
            rows and columns are drawn independently of each other, so that the means scatter by the
            luck of both. A single row is not resampled: nothing is known of how rows scatter.
        seed: of the draws, which are a function of it and `name` alone.
        name: two sets of values that are drawn under one name are drawn alike.
        resamples: how many means.

    Raises:
        InputError: no value, or more axes than two.

    Source: A. B. Owen, The pigeonhole bootstrap, 2007.
    """
    from dynamicrafter.draws import generator

    table = np.atleast_2d(np.asarray(values, np.float64))
    if table.ndim != 2 or table.size == 0:
        raise InputError(f"a bootstrap needs values [n] or [m, n], not {np.shape(values)}")
    draws = [generator(seed, axis, name) for axis in (0, 1)]
    means = []
    for start in range(0, resamples, BLOCK):
        size = min(BLOCK, resamples - start)
        rows, columns = (
            draw.integers(n, size=(size, n)) for draw, n in zip(draws, table.shape, strict=True)
        )
        means.append(np.take_along_axis(table[rows].mean(axis=1), columns, axis=1).mean(axis=1))
    return np.concatenate(means)


def bootstrap_interval(value: float, means: np.ndarray, level: float = 0.95) -> Interval:
    """The percentile interval of resampled means `[resamples]` about `value`."""
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return Interval(value, float(low), float(high), float(means.std(ddof=1)), level)


def wilson_interval(successes: int, n: int, level: float = 0.95) -> Interval:
    """A share of `n` independent trials and Wilson's score interval, which stays within 0 to 1.

    Raises:
        InputError: there is no trial, or there are more successes than trials.
    """
    from scipy.special import ndtri

    if not 0 <= successes <= n or n < 1:
        raise InputError(f"{successes} of {n} trials is no share")
    share, z = successes / n, float(ndtri((1 + level) / 2))
    middle = (share + z**2 / (2 * n)) / (1 + z**2 / n)
    reach = z / (1 + z**2 / n) * (share * (1 - share) / n + z**2 / (4 * n**2)) ** 0.5
    error = (share * (1 - share) / n) ** 0.5
    return Interval(share, max(middle - reach, 0.0), min(middle + reach, 1.0), error, level)


def extrapolate(
    n: Sequence[int] | np.ndarray, values: Sequence[float] | np.ndarray
) -> Extrapolation:
    """The value at infinitely many samples: least squares of `values` `[k]` on 1/`n` `[k]`."""
    inverse = 1 / np.asarray(n, np.float64)
    if len(np.unique(inverse)) < 2:
        raise InputError("an extrapolation needs values at two different sample counts")
    observed = np.asarray(values, np.float64)
    centred = inverse - inverse.mean()
    slope = float(centred @ (observed - observed.mean()) / (centred @ centred))
    return Extrapolation(float(observed.mean()) - slope * float(inverse.mean()), slope)


def cohen_kappa(
    first: Sequence[Hashable], second: Sequence[Hashable], level: float = 0.95
) -> Interval | None:
    """Cohen's kappa of two raters who gave names to the same `n` things, n at least 1.

    Returns:
        1 where they always agree, 0 where they agree as often as by chance; the interval is cut at
        -1 and 1. None where both give one and the same name to everything.

    Raises:
        InputError: the lists are empty or of unlike length.

    Source: J. L. Fleiss, J. Cohen, B. S. Everitt, Large sample standard errors of kappa, 1969.
    """
    from scipy.special import ndtri

    n = len(first)
    if n != len(second) or n < 1:
        raise InputError(f"kappa compares equally many names, not {n} and {len(second)}")
    places = {name: place for place, name in enumerate(dict.fromkeys([*first, *second]))}
    table = np.zeros((len(places), len(places)))
    for one, other in zip(first, second, strict=True):
        table[places[one], places[other]] += 1 / n
    rows, columns = table.sum(1), table.sum(0)
    observed, expected = float(np.trace(table)), float(rows @ columns)
    if len(places) == 1:
        return None
    kappa = (observed - expected) / (1 - expected)
    agreed = np.diag(table) @ (1 - (rows + columns) * (1 - kappa)) ** 2
    apart = table * (columns[:, None] + rows[None, :]) ** 2
    differed = (1 - kappa) ** 2 * (apart.sum() - np.trace(apart))
    spread = agreed + differed - (kappa - expected * (1 - kappa)) ** 2
    error = max(float(spread), 0.0) ** 0.5 / ((1 - expected) * n**0.5)
    reach = float(ndtri((1 + level) / 2)) * error
    return Interval(kappa, max(kappa - reach, -1.0), min(kappa + reach, 1.0), error, level)


def spearman(
    x: Sequence[float] | np.ndarray, y: Sequence[float] | np.ndarray, level: float = 0.95
) -> Interval | None:
    """Spearman's rank correlation of `[n]` and `[n]` with an interval.

    Returns:
        None for fewer than four pairs, or where either side is constant.

    Source of the interval: D. G. Bonett, T. A. Wright, Sample size requirements for estimating
    Pearson, Kendall and Spearman correlations, 2000.
    """
    from scipy.special import ndtri
    from scipy.stats import rankdata

    n = len(x)
    if n < 4 or np.ptp(x) == 0 or np.ptp(y) == 0:
        return None
    value = float(np.corrcoef(rankdata(x), rankdata(y))[0, 1])
    error = ((1 + value**2 / 2) / (n - 3)) ** 0.5  # of Fisher's z
    middle = np.arctanh(np.clip(value, -1 + 1e-12, 1 - 1e-12))
    low, high = np.tanh(middle + float(ndtri((1 + level) / 2)) * error * np.array([-1, 1]))
    return Interval(value, float(low), float(high), error * (1 - value**2), level)


def reliability(
    stated: Sequence[float] | np.ndarray,
    came_true: Sequence[bool] | np.ndarray,
    bins: int = 10,
    level: float = 0.95,
) -> list[Bin]:
    """A reliability diagram: stated probabilities `[n]`, 0 to 1, beside what came true `[n]`.

    Returns:
        The bins of equal width that hold a case.
    """
    stated, came_true = np.asarray(stated, np.float64), np.asarray(came_true, bool)
    places = np.minimum((stated * bins + 1e-9).astype(np.int64), bins - 1)  # 0.29 * 100 < 29
    found = []
    for place in np.unique(places):
        own = places == place
        share = wilson_interval(int(came_true[own].sum()), int(own.sum()), level)
        low, high = place / bins, (place + 1) / bins
        found.append(Bin(low, high, int(own.sum()), float(stated[own].mean()), share))
    return found


def calibration_error(bins: Sequence[Bin]) -> float:
    """Expected calibration error: mean distance of stated and true share, weighed by the cases.

    Source: M. P. Naeini, G. F. Cooper, M. Hauskrecht, Obtaining well calibrated probabilities using
    Bayesian binning, 2015.
    """
    total = sum(one.n for one in bins)
    return sum(one.n * abs(one.share.value - one.stated) for one in bins) / total


def isotonic(
    stated: Sequence[float] | np.ndarray, came_true: Sequence[bool] | np.ndarray
) -> Isotonic:
    """The rising map of stated to true probabilities with the least squared error; n at least 1."""
    from scipy.optimize import isotonic_regression

    values, places, counts = np.unique(stated, return_inverse=True, return_counts=True)
    shares = np.bincount(places, np.asarray(came_true, np.float64)) / counts
    fitted = isotonic_regression(shares, weights=counts).x
    return Isotonic(tuple(values.tolist()), tuple(fitted.tolist()))


def _without_each(parts: list[np.ndarray]) -> list[list[np.ndarray]]:
    return [parts[:i] + parts[i + 1 :] for i in range(len(parts))]


def student_interval(value: float, error: float, degrees: int, level: float = 0.95) -> Interval:
    """The interval about `value` of a standard error that has `degrees` of freedom."""
    from scipy.special import stdtrit

    reach = float(stdtrit(degrees, (1 + level) / 2)) * error
    return Interval(value, value - reach, value + reach, error, level)
