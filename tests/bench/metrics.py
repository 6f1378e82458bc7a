"""The distances at other sizes beside the usual ways, all from the features on in float64."""

from collections.abc import Callable

import numpy as np

from eval.metrics.frechet import frechet_distance
from eval.metrics.intervals import fvd_with_interval
from eval.metrics.kernel import kernel_distance
from tests.bench.frechet import with_matrix_root
from tests.bench.timing import Row, seconds_in_turn

FRECHET = [(256, 400), (4096, 400), (4096, 2048)]  # samples and dimensions
KERNEL = (10_000, 400)
INTERVAL = (2048, 400)


def rows() -> list[Row]:
    """Distances per second."""
    found = [frechet_row(*size) for size in FRECHET]
    return [*found, kernel_row(*KERNEL), interval_row(*INTERVAL)]


def frechet_row(samples: int, dimensions: int) -> Row:
    """Beside covariances and the square root of their product."""
    part, reference = f"Fréchet distance, {samples} x {dimensions}", "SciPy sqrtm"
    return _row(part, samples, dimensions, frechet_distance, reference, with_matrix_root)


def kernel_row(samples: int, dimensions: int) -> Row:
    """Beside the three whole kernel matrices."""
    part, reference = f"kernel distance, {samples} x {dimensions}", "whole matrices"
    return _row(part, samples, dimensions, kernel_distance, reference, with_whole_matrices)


def interval_row(samples: int, dimensions: int) -> Row:
    """Distance, interval, corrected value and curve beside the distance alone."""
    part, reference = f"FVD with interval, {samples} x {dimensions}", "FVD alone"
    return _row(part, samples, dimensions, fvd_with_interval, reference, frechet_distance)


def with_whole_matrices(x: np.ndarray, y: np.ndarray) -> float:
    """Unbiased MMD^2 of the cubic kernel, as it is written down."""
    n, m, d = len(x), len(y), x.shape[1]
    xx, yy, xy = ((a @ b.T / d + 1) ** 3 for a, b in ((x, x), (y, y), (x, y)))
    within = (xx.sum() - np.trace(xx)) / (n * (n - 1)) + (yy.sum() - np.trace(yy)) / (m * (m - 1))
    return float(within - 2 * xy.mean())


def _row(
    part: str,
    samples: int,
    dimensions: int,
    ours: Callable[[np.ndarray, np.ndarray], object],
    reference: str,
    theirs: Callable[[np.ndarray, np.ndarray], object],
) -> Row:
    x, y = np.random.default_rng(0).standard_normal((2, samples, dimensions))
    seconds, usual = seconds_in_turn(lambda: ours(x, y), lambda: theirs(x, y), repeats=3)
    return Row(part, 1 / seconds, "distances", reference, 1 / usual)
