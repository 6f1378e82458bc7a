"""The Fréchet distance beside the textbook formula with a matrix square root."""

import numpy as np
import scipy.linalg

from eval.metrics.frechet import frechet_distance
from tests.bench.timing import Row, seconds_in_turn

SAMPLES, DIMENSIONS = 2048, 400  # of FVD


def rows() -> list[Row]:
    """Distances per second, both from the features on."""
    x, y = np.random.default_rng(0).standard_normal((2, SAMPLES, DIMENSIONS))
    ours, textbook = seconds_in_turn(
        lambda: frechet_distance(x, y), lambda: with_matrix_root(x, y), repeats=3
    )
    return [Row("Fréchet distance", 1 / ours, "distances", "SciPy sqrtm", 1 / textbook)]


def with_matrix_root(x: np.ndarray, y: np.ndarray) -> float:
    """|mu_x - mu_y|^2 + tr(S_x + S_y - 2 (S_x S_y)^(1/2)), term by term."""
    covariance_x, covariance_y = np.cov(x, rowvar=False), np.cov(y, rowvar=False)
    root = scipy.linalg.sqrtm(covariance_x @ covariance_y).real
    shift = x.mean(axis=0) - y.mean(axis=0)
    return float(shift @ shift + np.trace(covariance_x + covariance_y - 2 * root))
