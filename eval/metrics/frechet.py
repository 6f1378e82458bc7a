"""Fréchet distance between Gaussians fitted to two sets of features (FVD on I3D logits).

|mu_x - mu_y|^2 + tr(S_x + S_y - 2 (S_x S_y)^(1/2)). No matrix square root is taken: with roots
S = R^T R, tr (S_x S_y)^(1/2) is the nuclear norm of R_x R_y^T. Centred rows are such a root, so
that is exact also with fewer samples than dimensions, where the usual square root of S_x S_y is
not. With more samples the covariances and their Cholesky factors are several times faster; they
serve where a bound on their rounding allows.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from scipy.linalg import blas, eigvalsh, lapack

from dynamicrafter.errors import InputError
from eval.metrics.blas import SMALL, side_by_side, threads_for

TOLERANCE = 1e-12  # of the traces: rounding that the fast way may add
UNIT = float(np.finfo(np.float64).eps)  # rounding of a covariance, of its norm


@dataclass(frozen=True)
class Frechet:
    """`value` is the distance; `count_x` and `count_y` rows of `dimensions` features went in."""

    value: float
    mean_term: float  # |mu_x - mu_y|^2
    traces: float  # tr S_x + tr S_y
    count_x: int
    count_y: int
    dimensions: int
    unbiased: bool


def frechet_distance(x: np.ndarray, y: np.ndarray, unbiased: bool = True) -> Frechet:
    """Fréchet distance of features `[n, d]` and `[m, d]`, n and m at least 2.

    Args:
        x: one set, finite.
        y: the other.
        unbiased: covariance over n - 1 (otherwise over n, as in StyleGAN-V and cd-fvd).

    Raises:
        InputError: shapes that do not fit, fewer than 2 rows, values that are not finite.
    """
    x, y = check_features(x, y)
    with threads_for(x.shape[1]):
        return _frechet(x, y, unbiased)


def frechet_of_heads(
    x: np.ndarray, y: np.ndarray, counts: Iterable[tuple[int, int]], unbiased: bool = True
) -> list[float]:
    """Distances of the first n rows of x and the first m of y, for each (n, m) of `counts`.

    What a head holds of the one before is not summed up again.

    Args:
        x: features `[n, d]`, finite.
        y: features `[m, d]`, finite.
        counts: at least 2 each, and not falling.
        unbiased: as in `frechet_distance`.

    Raises:
        InputError: shapes that do not fit, fewer than 2 rows, values that are not finite.
    """
    x, y = check_features(x, y)
    near_x, near_y, shift = centred(x, y)
    heads_x, heads_y = _Heads(near_x, unbiased), _Heads(near_y, unbiased)
    values = []
    for n, m in counts:
        with threads_for(x.shape[1]):
            found = None
            if min(n, m) > x.shape[1]:
                in_x, in_y = heads_x(n), heads_y(m)
                found = _of_moments(in_x, in_y, shift + in_x.mean - in_y.mean, n, m, unbiased)
            values.append((found or _of_rows(x[:n], y[:m], unbiased)).value)
    return values


def _frechet(x: np.ndarray, y: np.ndarray, unbiased: bool) -> Frechet:
    found = None
    if min(len(x), len(y)) > x.shape[1]:
        shift, in_x, in_y = _moments(x, y, len(x) - unbiased, len(y) - unbiased)
        found = _of_moments(in_x, in_y, shift, len(x), len(y), unbiased)
    return found or _of_rows(x, y, unbiased)


def _of_moments(
    in_x: "_Moment", in_y: "_Moment", shift: np.ndarray, n: int, m: int, unbiased: bool
) -> Frechet | None:
    """The distance from covariances, or None where their rounding might show in it."""
    traces = float(np.trace(in_x.covariance) + np.trace(in_y.covariance))
    cross = _cross_of_covariances(in_x, in_y, TOLERANCE * traces)
    return None if cross is None else _put_together(shift, traces, cross, n, m, unbiased)


def _of_rows(x: np.ndarray, y: np.ndarray, unbiased: bool) -> Frechet:
    over_x, over_y = len(x) - unbiased, len(y) - unbiased
    x, y, shift = centred(x, y)
    traces = float(np.vdot(x, x)) / over_x + float(np.vdot(y, y)) / over_y
    cross = _cross_of_rows(x, y) / (over_x * over_y) ** 0.5
    return _put_together(shift, traces, cross, len(x), len(y), unbiased)


def _put_together(
    shift: np.ndarray, traces: float, cross: float, n: int, m: int, unbiased: bool
) -> Frechet:
    mean_term = float(shift @ shift)
    value = max(mean_term + traces - 2 * cross, 0.0)  # below 0 by rounding alone
    return Frechet(value, mean_term, traces, n, m, len(shift), unbiased)


def _cross_of_rows(x: np.ndarray, y: np.ndarray) -> float:
    """Nuclear norm of X Y^T of centred rows `[n, d]` and `[m, d]`: nothing is squared."""
    return float(np.linalg.svd(_fewer_rows(x) @ _fewer_rows(y).T, compute_uv=False).sum())


def _fewer_rows(x: np.ndarray) -> np.ndarray:
    """R of at most d rows with R^T R = X^T X."""
    return np.asarray(np.linalg.qr(x, mode="r")) if len(x) > x.shape[1] else x


@dataclass(frozen=True)
class _Moment:
    """Mean and covariance, and the norm of what it was summed up from, which tells its rounding."""

    mean: np.ndarray
    rest: np.ndarray  # what rounding took from the mean, where that may show
    covariance: np.ndarray  # its lower triangle, in Fortran's order
    norm: float


def _cross_of_covariances(in_x: _Moment, in_y: _Moment, tolerance: float) -> float | None:
    """Trace of (S_x S_y)^(1/2), or None where the rounding of S_x and S_y might show in it.

    With M = R_x S_y R_x^T, whose eigenvalues are m, the trace is that of M^(1/2). A change E of S_y
    moves it by at most |E| |S_x| sum(m^(-1/2)) / 2; one of S_x, by symmetry, likewise. It is also
    at most |E| tr(A) / 2 with A the optimal map from x to y, and tr(A)^2 <= tr(S_y) tr(S_x^-1).
    """
    covariance_x, covariance_y = in_x.covariance, in_y.covariance
    factor_x, failed = lapack.dpotrf(covariance_x, lower=1)
    if failed:
        return None
    gram, _ = lapack.dsygst(covariance_y, factor_x, itype=2, lower=1)  # R_x S_y R_x^T
    squares = eigvalsh(gram, driver="evd", overwrite_a=True, check_finite=False)
    inverse_roots = float((1 / np.sqrt(squares)).sum()) if squares[0] > 0 else np.inf
    # The root of an eigenvalue magnifies its rounding where it is small.
    precise = UNIT * squares[-1] * inverse_roots <= tolerance
    # Of the two bounds the first is at hand, the second is closer where the spectra fall.
    moved = in_x.norm * _largest(covariance_y) + in_y.norm * _largest(covariance_x)
    if precise and UNIT * moved * inverse_roots / 2 <= tolerance:
        return float(np.sqrt(squares).sum())
    factor_y, failed = lapack.dpotrf(covariance_y, lower=1)
    if failed:
        return None
    trace_x, trace_y = float(np.trace(covariance_x)), float(np.trace(covariance_y))
    moved = in_x.norm * (trace_y * _inverse_trace(factor_x)) ** 0.5
    moved += in_y.norm * (trace_x * _inverse_trace(factor_y)) ** 0.5
    if not UNIT * moved / 2 <= tolerance:
        return None
    if precise:
        return float(np.sqrt(squares).sum())
    root = blas.dtrmm(1.0, factor_y, factor_x, lower=1, trans_a=1)
    return float(np.linalg.svd(root, compute_uv=False).sum())


def _largest(covariance: np.ndarray) -> float:
    """A bound on the largest eigenvalue, from the lower triangle: the largest sum of a row."""
    lower = np.abs(np.tril(covariance))
    sums = lower.sum(axis=0) + lower.sum(axis=1) - lower.diagonal()
    return min(float(sums.max()), float(np.trace(covariance)))


def _inverse_trace(factor: np.ndarray) -> float:
    """Trace of the inverse of L L^T; infinite where there is none."""
    inverse, failed = lapack.dtrtri(factor, lower=1)
    return np.inf if failed else float(np.vdot(inverse, inverse))


def _moments(
    x: np.ndarray, y: np.ndarray, over_x: int, over_y: int
) -> tuple[np.ndarray, _Moment, _Moment]:
    """Difference of the means and both covariances: small ones side by side, a core each."""
    both = ((x, over_x), (y, over_y))
    if x.shape[1] >= SMALL:
        in_x, in_y = (_moment(*one) for one in both)
    else:
        in_x, in_y = side_by_side(lambda one: _moment(*one), both)
    return (in_x.mean - in_y.mean) + (in_x.rest - in_y.rest), in_x, in_y


def _moment(rows: np.ndarray, over: int) -> _Moment:
    """A mean no larger than the spread is taken out of the products, which saves a copy."""
    mean = inside = _mean(rows)
    rest = np.zeros_like(mean)
    if 2 * len(rows) * float(mean @ mean) > float(np.vdot(rows, rows)):
        rows, rest = _less(rows, mean)
        inside = np.zeros_like(mean)
    return _less_mean(_products(rows) / over, mean, rest, inside, len(rows) / over)


def _less_mean(
    products: np.ndarray, mean: np.ndarray, rest: np.ndarray, inside: np.ndarray, share: float
) -> _Moment:
    """The moment whose products still hold `share` times those of the mean `inside`."""
    diagonal = np.diagonal(products)
    norm = float(2 * np.vdot(products, products) - diagonal @ diagonal) ** 0.5
    covariance = blas.dsyr(-share, inside, lower=1, a=products, overwrite_a=True)
    return _Moment(mean, rest, covariance, norm)


class _Heads:
    """Moments of the first rows of a centred set, for counts that do not fall."""

    def __init__(self, rows: np.ndarray, unbiased: bool):
        self._rows, self._less, self._done = rows, int(unbiased), 0
        self._sum = np.zeros(rows.shape[1])
        self._products = np.zeros((rows.shape[1],) * 2, order="F")

    def __call__(self, count: int) -> _Moment:
        new = self._rows[self._done : count]
        self._sum += new.sum(axis=0)
        self._products += _products(new)
        self._done = count
        mean, over = self._sum / count, count - self._less
        return _less_mean(self._products / over, mean, np.zeros_like(mean), mean, count / over)


def _products(rows: np.ndarray) -> np.ndarray:
    """Lower triangle of X^T X in Fortran's order; half of the products is computed.

    NumPy lets go of the interpreter for it, so that two sets can be summed at once. Large ones are
    left to all threads of SciPy's BLAS, since a second BLAS would compete with it.
    """
    if rows.shape[1] >= SMALL:
        return blas.dsyrk(1.0, rows.T, lower=1)
    return np.triu(rows.T @ rows).T


def centred(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rows `[n, d]` and `[m, d]` less their means, and the difference of the means `[d]`."""
    mean_x, mean_y = _mean(x), _mean(y)
    x, rest_x = _less(x, mean_x)
    y, rest_y = _less(y, mean_y)
    return x, y, (mean_x - mean_y) + (rest_x - rest_y)


def _less(rows: np.ndarray, mean: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rows less their mean, and the mean of what is left: what rounding took from the mean.

    It shows in a difference of means that are far larger than the spread. In the rows it is left,
    for a covariance holds only its square.
    """
    rows = rows - mean
    return rows, _mean(rows)


def _mean(x: np.ndarray) -> np.ndarray:
    """Mean of rows, by a product: several times faster than NumPy's mean along this axis."""
    return np.ones(len(x)) @ x / len(x)


def check_features(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Both sets as float64 `[n, d]` and `[m, d]`.

    Raises:
        InputError: shapes that do not fit, fewer than 2 rows, values that are not finite.
    """
    x, y = np.asarray(x, np.float64), np.asarray(y, np.float64)
    if x.ndim != 2 or y.ndim != 2 or x.shape[1] != y.shape[1] or x.shape[1] == 0:
        raise InputError(f"feature sets are [n, d] and [m, d], not {x.shape} and {y.shape}")
    if min(len(x), len(y)) < 2:
        raise InputError(f"a set of features needs 2 rows, these have {len(x)} and {len(y)}")
    if not (np.isfinite(x).all() and np.isfinite(y).all()):
        raise InputError("some features are not finite; look at the videos they come from")
    return x, y
