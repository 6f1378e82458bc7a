"""Intervals for the numbers of a report.

FVD is biased upwards at finite N. A bootstrap with replacement adds to that bias: its interval can
miss its own estimate by far. The delete-a-group jackknife leaves out without repeating, and removes
the bias of order 1/N on the way.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from dynamicrafter.errors import InputError


@dataclass(frozen=True)
class Interval:
    """An estimate with its two-sided Student interval."""

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


def _without_each(parts: list[np.ndarray]) -> list[list[np.ndarray]]:
    return [parts[:i] + parts[i + 1 :] for i in range(len(parts))]


def student_interval(value: float, error: float, degrees: int, level: float = 0.95) -> Interval:
    """The interval about `value` of a standard error that has `degrees` of freedom."""
    from scipy.special import stdtrit

    reach = float(stdtrit(degrees, (1 + level) / 2)) * error
    return Interval(value, value - reach, value + reach, error, level)
