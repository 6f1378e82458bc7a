"""The distances of what is left when a few samples are deleted, for thousands of choices at once.

Intervals need the distance without each sample. Refitting costs a decomposition each time. For the
Fréchet distance, tr (S_x S_y)^(1/2) = 1/pi int_0^inf log det(I + S_x S_y / s^2) ds, and deleting p
rows of x and q of y multiplies the determinant by one of (p + q) x (p + q). All choices share one
decomposition and one set of nodes s. The kernel distance follows from the sums of kernel rows.
"""

import math
from typing import Protocol

import numpy as np

from eval.metrics.blas import threads_for
from eval.metrics.frechet import centred, check_features
from eval.metrics.kernel import kernel_pairs, sums_between, sums_within

STEP = 0.5  # between nodes in log s; the trapezoid rule is then good to 1e-8
MARGIN = 7.0  # of log s beyond the spectrum; what lies outside follows a known power of s
RANK = 1e-13  # of the largest eigenvalue; below it a direction counts as empty
CHUNK = 1024  # choices at a time
NONE = np.empty((1, 0), np.int64)  # one choice: no row


class Without(Protocol):
    """A distance of x and y as a function of the rows that are left out."""

    def __call__(self, rows_x: np.ndarray, rows_y: np.ndarray) -> np.ndarray:
        """Distances `[k]` without rows `rows_x` `[k, p]` of x and `rows_y` `[k, q]` of y."""


class FrechetWithout:
    """`frechet_distance` of features `[n, d]` and `[m, d]` without a few rows of each.

    The differences of its values are good to about 1e-5 of their size.

    Args:
        x: one set, finite.
        y: the other.
        unbiased: covariance over n - 1, otherwise over n.

    Raises:
        InputError: shapes that do not fit, fewer than 2 rows, values that are not finite.
    """

    def __init__(self, x: np.ndarray, y: np.ndarray, unbiased: bool = True):
        x, y = check_features(x, y)
        self._x, self._y, self._shift = centred(x, y)
        self._less = int(unbiased)
        with threads_for(x.shape[1]):
            self._decompose(unbiased)

    def _decompose(self, unbiased: bool) -> None:
        x, y = self._x, self._y
        covariance_x = self._x.T @ self._x / (len(x) - unbiased)
        covariance_y = self._y.T @ self._y / (len(y) - unbiased)
        self._scatter_x = float(np.trace(covariance_x)) * (len(x) - unbiased)
        self._scatter_y = float(np.trace(covariance_y)) * (len(y) - unbiased)

        # S_x = B^T B. In the eigenbasis of B S_y B^T, whose eigenvalues are those of S_x S_y, every
        # resolvent that is needed is diagonal.
        scale, basis = np.linalg.eigh(covariance_x)
        kept = scale > RANK * max(scale[-1], np.finfo(float).tiny)
        root = np.sqrt(scale[kept])
        basis = basis[:, kept]
        spectrum, rotation = np.linalg.eigh(root[:, None] * (basis.T @ covariance_y @ basis) * root)
        top = max(float(spectrum[-1]), 0.0) if len(spectrum) else 0.0
        spectrum = np.maximum(spectrum, max(RANK * top, np.finfo(float).tiny))
        self._zx = self._x @ (basis / root @ rotation)  # [n, r]
        self._zy = self._y @ (basis * root @ rotation)  # [m, r]
        self._nuclear = float(np.sqrt(spectrum).sum())

        nodes, self._weights = _nodes(spectrum)
        self._over_xy = 1 / (nodes**2 + spectrum[:, None])  # [r, nodes]
        self._over_xx = spectrum[:, None] * self._over_xy
        self._nodes = nodes

    def __call__(self, rows_x: np.ndarray, rows_y: np.ndarray) -> np.ndarray:
        """Distances `[k]` without rows `rows_x` `[k, p]` of x and `rows_y` `[k, q]` of y.

        p and q are 0, 1 or 2 and the rows of a choice differ.
        """
        parts = range(0, len(rows_x), CHUNK)
        return np.concatenate(
            [self._some(rows_x[i : i + CHUNK], rows_y[i : i + CHUNK]) for i in parts]
        )

    def _some(self, rows_x: np.ndarray, rows_y: np.ndarray) -> np.ndarray:
        n, m = len(self._x), len(self._y)
        left_x, left_y = n - rows_x.shape[1], m - rows_y.shape[1]
        gone_x, gone_y = self._x[rows_x], self._y[rows_y]  # [k, p, d], [k, q, d]
        sum_x, sum_y = gone_x.sum(axis=1), gone_y.sum(axis=1)
        mean_term = ((self._shift - sum_x / left_x + sum_y / left_y) ** 2).sum(axis=1)
        scatter_x = self._scatter_x - (gone_x**2).sum(axis=(1, 2)) - (sum_x**2).sum(axis=1) / left_x
        scatter_y = self._scatter_y - (gone_y**2).sum(axis=(1, 2)) - (sum_y**2).sum(axis=1) / left_y
        over_x, over_y = left_x - self._less, left_y - self._less
        scale = math.sqrt((n - self._less) / over_x * (m - self._less) / over_y)
        nuclear = scale * (self._nuclear + self._log_ratio(rows_x, rows_y) @ self._weights)
        return mean_term + scatter_x / over_x + scatter_y / over_y - 2 * nuclear

    def _log_ratio(self, rows_x: np.ndarray, rows_y: np.ndarray) -> np.ndarray:
        """Log of the factor of det(s^2 + S_x S_y) at every node, `[k, nodes]`."""
        p, q = rows_x.shape[1], rows_y.shape[1]
        zx = [self._zx[rows_x[:, i]] for i in range(p)]
        zy = [self._zy[rows_y[:, i]] for i in range(q)]
        forms = np.empty((len(rows_x), len(self._nodes), p + q, p + q))
        for i in range(p):
            for j in range(i, p):
                forms[:, :, i, j] = forms[:, :, j, i] = (zx[i] * zx[j]) @ self._over_xx
            for j in range(q):
                between = (zx[i] * zy[j]) @ self._over_xy * self._nodes
                forms[:, :, i, p + j] = -between
                forms[:, :, p + j, i] = between
        for i in range(q):
            for j in range(i, q):
                forms[:, :, p + i, p + j] = (zy[i] * zy[j]) @ self._over_xy
                forms[:, :, p + j, p + i] = forms[:, :, p + i, p + j]
        # Rows p of a centred set take with them sum x x^T + (sum x)(sum x)^T / (n - p).
        taken = np.zeros((p + q, p + q))
        taken[:p, :p] = _taken(p, len(self._x), self._less)
        taken[p:, p:] = _taken(q, len(self._y), self._less)
        factor = np.linalg.det(np.eye(p + q) - taken @ forms)
        return np.log(np.maximum(factor, np.finfo(float).tiny))


class KernelWithout:
    """`kernel_distance` of features `[n, d]` and `[m, d]` without a few rows of each.

    Raises:
        InputError: shapes that do not fit, fewer than 2 rows, values that are not finite.
    """

    def __init__(self, x: np.ndarray, y: np.ndarray):
        self._x, self._y = check_features(x, y)
        self._within_x, self._within_y = sums_within(self._x), sums_within(self._y)
        self._between_x, self._between_y = sums_between(self._x, self._y)
        self.value = float(self(NONE, NONE)[0])  # with all rows

    def __call__(self, rows_x: np.ndarray, rows_y: np.ndarray) -> np.ndarray:
        """Distances `[k]` without rows `rows_x` `[k, p]` of x and `rows_y` `[k, q]` of y."""
        left_x, left_y = len(self._x) - rows_x.shape[1], len(self._y) - rows_y.shape[1]
        within_x = _sum_left(self._x, self._within_x, rows_x)
        within_y = _sum_left(self._y, self._within_y, rows_y)
        between = self._between_x.sum() - self._between_x[rows_x].sum(axis=1)
        between = between - self._between_y[rows_y].sum(axis=1)
        for i in range(rows_x.shape[1]):
            for j in range(rows_y.shape[1]):  # taken away twice
                between = between + kernel_pairs(self._x[rows_x[:, i]], self._y[rows_y[:, j]])
        within = within_x / (left_x * (left_x - 1)) + within_y / (left_y * (left_y - 1))
        return within - 2 * between / (left_x * left_y)


def _sum_left(x: np.ndarray, row_sums: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Sum of k(x_i, x_j) over i != j that are both left."""
    total = row_sums.sum() - 2 * row_sums[rows].sum(axis=1)
    for i in range(rows.shape[1]):
        for j in range(i):
            total = total + 2 * kernel_pairs(x[rows[:, i]], x[rows[:, j]])
    return total


def _taken(p: int, n: int, less: int) -> np.ndarray:
    """What deleting p of n rows takes from a covariance, in terms of those rows: `[p, p]`."""
    return (np.eye(p) + 1 / (n - p)) / (n - less) if p else np.zeros((0, 0))


def _nodes(spectrum: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Nodes s and weights of 1/pi int_0^inf . ds, by the trapezoid rule in log s.

    Below the nodes the integrand is constant, above them it falls with 1 / s^2: both tails of the
    sum are geometric, and are added to the outermost weights.
    """
    middle = np.log(spectrum) / 2
    low, high = (float(middle.min()), float(middle.max())) if len(middle) else (0.0, 0.0)
    nodes = np.exp(np.arange(low - MARGIN, high + MARGIN + STEP, STEP))
    weights = STEP * nodes / math.pi
    tail = 1 / math.expm1(STEP)
    weights[0] *= 1 + tail
    weights[-1] *= 1 + tail
    return nodes, weights
