"""Intervals of the distances, what they would be at infinitely many samples, and differences.

The FVD of N samples scatters about its own expectation, E[FVD_N], which lies above the distance of
the distributions. `value` is the plain FVD with an interval for E[FVD_N]; `corrected` and
`infinite` are two ways towards the distance itself. A bootstrap with replacement is not valid
here: repeated samples raise the FVD by more than its interval is wide. eval/metrics/spread.py says
what is done instead.
"""

from dataclasses import dataclass

import numpy as np

from dynamicrafter.draws import generator
from dynamicrafter.errors import InputError
from dynamicrafter.statistics import Interval, student_interval
from eval.metrics.curve import fvd_curve, no_curve
from eval.metrics.deletion import FrechetWithout, KernelWithout
from eval.metrics.frechet import check_features, frechet_distance
from eval.metrics.spread import spread

LEVEL = 0.95
FEWEST = 20  # samples for an interval
CORRECTED = 1.2  # samples per dimension for the bias-corrected value
BIAS_SHARE = 0.2  # of the value; above it there is a warning
SAME = 1e-9  # of the traces: two sets that are one and the same
SIGNS = 16  # differences up to which every assignment of signs is counted
PERMUTATIONS = 20_000  # assignments otherwise


@dataclass(frozen=True)
class KvdEstimate:
    """The kernel distance with its interval.

    Attributes:
        value: unbiased MMD^2 of all rows.
        low: end of the 95 % interval; None with the reason in `warning`.
        high: the other end.
        standard_error: of `value`.
        warning: why the number means little, or None.
        count_x: rows of x.
        count_y: rows of y.
        dimensions: of a row.
    """

    value: float
    low: float | None
    high: float | None
    standard_error: float | None
    warning: str | None
    count_x: int
    count_y: int
    dimensions: int


@dataclass(frozen=True)
class MethodInterval(Interval):
    """An interval and how it was found."""

    method: str


@dataclass(frozen=True)
class FvdEstimate:
    """The Fréchet distance of the samples with its interval, and without the bias of their number.

    Attributes:
        value: the plain distance.
        low: end of the 95 % interval for the expectation at these counts; it holds `value`. None
            below `FEWEST` samples.
        high: the other end.
        standard_error: of `value`.
        corrected: less the bias of order 1/N, which deleting one sample at a time shows; None below
            `CORRECTED` samples per dimension.
        infinite: where the line of the curve meets 1/N = 0; None with the reason in `curve_reason`.
        curve_n: samples of the subsets, drawn without replacement, `[k]`; of the smaller set.
        curve_values: mean distance of each, `[k]`.
        curve_line: the line at `curve_n`, `[k]`; empty without `infinite`.
        curve_residuals: values minus line, `[k]`; empty without `infinite`.
        curve_reason: why there is no line, or None.
        warning: why the number means little, or None.
        count_x: rows of x.
        count_y: rows of y.
        dimensions: of a row.
    """

    value: float
    low: float | None
    high: float | None
    standard_error: float | None
    corrected: MethodInterval | None
    infinite: MethodInterval | None
    curve_n: np.ndarray
    curve_values: np.ndarray
    curve_line: np.ndarray
    curve_residuals: np.ndarray
    curve_reason: str | None
    warning: str | None
    count_x: int
    count_y: int
    dimensions: int


@dataclass(frozen=True)
class PairedDifference:
    """Mean difference of paired values.

    Attributes:
        value: mean of a - b.
        low: end of the 95 % Student interval.
        high: the other end.
        p_value: share of the assignments of signs to the differences whose mean is at least as far
            from 0: exact up to `SIGNS` differences, of random assignments above.
        count: pairs.
    """

    value: float
    low: float
    high: float
    p_value: float
    count: int


def fvd_with_interval(
    x: np.ndarray, y: np.ndarray, unbiased: bool = True, seed: int = 0, curve: bool = True
) -> FvdEstimate:
    """Fréchet distance of features `[n, d]` and `[m, d]` with all that is to be said of it.

    Args:
        x: one set; with n = m, row i of x and of y may belong together.
        y: the other.
        unbiased: covariance over n - 1, otherwise over n.
        seed: of the deleted pairs and of the subsets of the curve.
        curve: also the curve and `infinite`, which take most of the time.

    Raises:
        InputError: shapes that do not fit, fewer than 2 rows, values that are not finite.
    """
    x, y = check_features(x, y)
    distance = frechet_distance(x, y, unbiased)
    value, same = distance.value, distance.value <= SAME * distance.traces
    fewest, dimensions = min(len(x), len(y)), x.shape[1]
    interval = corrected = infinite = None
    drawn = no_curve("the curve was not asked for" if fewest >= FEWEST else _too_few(fewest))
    if fewest >= FEWEST:
        found = spread(FrechetWithout(x, y, unbiased), len(x), len(y), seed)
        interval = student_interval(value, found.error, fewest - 1, LEVEL)
        if fewest >= CORRECTED * dimensions:
            less = value - found.bias
            corrected = _by_method(less, found.cautious, fewest, "delete-one jackknife")
        if curve:
            drawn = fvd_curve(x, y, unbiased, seed)
        if drawn.infinite is not None:
            error = float(np.hypot(found.cautious, drawn.error))
            infinite = _by_method(drawn.infinite, error, fewest, "least squares on 1/N")
    return FvdEstimate(
        value,
        interval.low if interval else None,
        interval.high if interval else None,
        interval.standard_error if interval else None,
        corrected,
        infinite,
        drawn.n,
        drawn.values,
        drawn.line,
        drawn.residuals,
        drawn.reason,
        None if same else sample_warning(value, corrected, fewest, dimensions),
        len(x),
        len(y),
        dimensions,
    )


def kvd_with_interval(x: np.ndarray, y: np.ndarray, seed: int = 0) -> KvdEstimate:
    """Kernel distance of features `[n, d]` and `[m, d]` with its interval.

    Args:
        x: one set; with n = m, row i of x and of y may belong together.
        y: the other.
        seed: of the deleted pairs.

    Raises:
        InputError: shapes that do not fit, fewer than 2 rows, values that are not finite.
    """
    x, y = check_features(x, y)
    without = KernelWithout(x, y)
    value = without.value
    fewest = min(len(x), len(y))
    counts = (len(x), len(y), x.shape[1])
    if fewest < FEWEST:
        return KvdEstimate(value, None, None, None, _too_few(fewest), *counts)
    found = spread(without, len(x), len(y), seed)
    interval = student_interval(value, found.error, fewest - 1, LEVEL)
    return KvdEstimate(value, interval.low, interval.high, interval.standard_error, None, *counts)


def fvd_difference(
    real: np.ndarray, a: np.ndarray, b: np.ndarray, unbiased: bool = True, seed: int = 0
) -> Interval:
    """FVD of a minus FVD of b against the same real set, with an interval.

    Args:
        real: features `[n, d]`.
        a: features of one method `[m, d]`; row i of a and of b are of the same input, and of
            `real` too where n = m.
        b: features of the other `[m, d]`.
        unbiased: covariance over n - 1, otherwise over n.
        seed: of the deleted pairs.

    Raises:
        InputError: a and b differ in count, shapes that do not fit, fewer than `FEWEST` rows,
            values that are not finite.
    """
    if len(a) != len(b):
        raise InputError(f"two methods on the same inputs: {len(a)} and {len(b)} videos")
    if min(len(real), len(a)) < FEWEST:
        raise InputError(_too_few(min(len(real), len(a))))
    from_a, from_b = FrechetWithout(real, a, unbiased), FrechetWithout(real, b, unbiased)

    def without(rows_x: np.ndarray, rows_y: np.ndarray) -> np.ndarray:
        return from_a(rows_x, rows_y) - from_b(rows_x, rows_y)

    value = frechet_distance(real, a, unbiased).value - frechet_distance(real, b, unbiased).value
    found = spread(without, len(real), len(a), seed)
    return student_interval(value, found.error, min(len(real), len(a)) - 1, LEVEL)


def paired_difference(a: np.ndarray, b: np.ndarray, seed: int = 0) -> PairedDifference:
    """Mean of a - b over values `[n]` of the same inputs (PIC, CLIP-SIM), n at least 2.

    Args:
        a: values of one method.
        b: values of the other, in the same order.
        seed: of the random signs.

    Raises:
        InputError: shapes that do not fit, fewer than 2 pairs, values that are not finite.
    """
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    if a.ndim != 1 or a.shape != b.shape or len(a) < 2:
        raise InputError(f"paired values are two lists of 2 or more, not {a.shape} and {b.shape}")
    difference = a - b
    if not np.isfinite(difference).all():
        raise InputError("some paired values are not finite; look at the videos they come from")
    mean, count = float(difference.mean()), len(difference)
    error = float(difference.std(ddof=1)) / count**0.5
    found = student_interval(mean, error, count - 1, LEVEL)
    return PairedDifference(mean, found.low, found.high, _sign_flip(difference, seed), count)


def sample_warning(
    value: float, corrected: Interval | None, count: int, dimensions: int
) -> str | None:
    """Why the number of samples makes a Fréchet distance mean little, or None.

    Args:
        value: the plain distance.
        corrected: the same without its bias, where it can be had.
        count: samples of the smaller set.
        dimensions: of the features.
    """
    if count <= dimensions:
        return (
            f"{count} samples of {dimensions} features: the covariance is singular and the value "
            "follows the number of samples; compare it with nothing of another number"
        )
    if corrected is None:
        return f"{count} samples of {dimensions} features: most of the value is bias"
    bias = value - corrected.value
    if bias > BIAS_SHARE * value:
        return f"of the value of {value:.4g}, about {bias:.4g} is bias of {count} samples"
    return None


def _by_method(value: float, error: float, count: int, method: str) -> MethodInterval:
    found = student_interval(value, error, count - 1, LEVEL)
    return MethodInterval(
        found.value, found.low, found.high, found.standard_error, found.level, method
    )


def _too_few(count: int) -> str:
    return f"{count} samples are too few for an interval, which takes {FEWEST}"


def _sign_flip(difference: np.ndarray, seed: int) -> float:
    """Share of the assignments of signs whose sum is at least as far from 0 as that observed."""
    n = len(difference)
    observed = abs(float(difference.sum())) * (1 - 1e-12)  # ties count in spite of rounding
    if n <= SIGNS:
        bits = (np.arange(2**n)[:, None] >> np.arange(n)) & 1
        return float((np.abs((2 * bits - 1) @ difference) >= observed).mean())
    draws, reached, left = generator(seed, 0, "sign flips"), 0, PERMUTATIONS
    while left:
        size = min(left, 1000)
        signs = 2 * draws.integers(2, size=(size, n), dtype=np.int8) - 1
        reached += int((np.abs(signs @ difference) >= observed).sum())
        left -= size
    return (reached + 1) / (PERMUTATIONS + 1)
