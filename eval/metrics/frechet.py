"""Fréchet distance between Gaussians fitted to two sets of features (FVD on I3D logits).

|mu_x - mu_y|^2 + tr(S_x + S_y - 2 (S_x S_y)^(1/2)). No matrix square root is taken: with centred
rows X and Y, tr (S_x S_y)^(1/2) is the nuclear norm of X Y^T up to the sample counts. That is exact
also with fewer samples than dimensions, where the usual square root of S_x S_y is not.
"""

from dataclasses import dataclass

import numpy as np

from dynamicrafter.errors import InputError


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
    mean_x, mean_y = x.mean(axis=0), y.mean(axis=0)
    root_x = _root(x - mean_x, unbiased)
    root_y = _root(y - mean_y, unbiased)
    mean_term = float(((mean_x - mean_y) ** 2).sum())
    traces = float((root_x**2).sum() + (root_y**2).sum())
    cross = float(np.linalg.svd(root_x @ root_y.T, compute_uv=False).sum())
    value = max(mean_term + traces - 2 * cross, 0.0)  # below 0 by rounding alone
    return Frechet(value, mean_term, traces, len(x), len(y), x.shape[1], unbiased)


def _root(centred: np.ndarray, unbiased: bool) -> np.ndarray:
    """R with R^T R = covariance, of at most d rows."""
    count, dimensions = centred.shape
    if count > dimensions:
        centred = np.asarray(np.linalg.qr(centred, mode="r"))  # [d, d]
    return centred / (count - unbiased) ** 0.5


def check_features(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Both sets as float64 `[n, d]` and `[m, d]`.

    Raises:
        InputError: shapes that do not fit, fewer than 2 rows, values that are not finite.
    """
    x, y = np.asarray(x, np.float64), np.asarray(y, np.float64)
    if x.ndim != 2 or y.ndim != 2 or x.shape[1] != y.shape[1]:
        raise InputError(f"feature sets are [n, d] and [m, d], not {x.shape} and {y.shape}")
    if min(len(x), len(y)) < 2:
        raise InputError(f"a set of features needs 2 rows, these have {len(x)} and {len(y)}")
    if not (np.isfinite(x).all() and np.isfinite(y).all()):
        raise InputError("some features are not finite; look at the videos they come from")
    return x, y
