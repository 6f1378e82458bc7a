import numpy as np
import pytest
from scipy.linalg import sqrtm

from dynamicrafter.errors import InputError
from eval.metrics.frechet import frechet_distance


def samples(n: int, d: int, seed: int) -> np.ndarray:
    draws = np.random.default_rng(seed)
    return draws.normal(size=(n, d)) @ draws.normal(size=(d, d)) + draws.normal(size=d)


def test_it_is_the_textbook_formula():
    x, y = samples(300, 12, 0), samples(200, 12, 1)
    sx, sy = np.cov(x.T), np.cov(y.T)
    shift = x.mean(0) - y.mean(0)
    expected = shift @ shift + np.trace(sx + sy - 2 * sqrtm(sx @ sy).real)
    found = frechet_distance(x, y)
    assert found.value == pytest.approx(expected, rel=1e-9)
    assert found.mean_term == pytest.approx(shift @ shift)
    assert found.traces == pytest.approx(np.trace(sx + sy))
    assert (found.count_x, found.count_y, found.dimensions) == (300, 200, 12)


@pytest.mark.parametrize("n", [5, 12, 13, 40])
def test_it_is_symmetric_and_ignores_rotation_and_order(n):
    x, y = samples(n, 12, 0), samples(30, 12, 1)
    rotation = np.linalg.qr(samples(12, 12, 2)).Q
    value = frechet_distance(x, y).value
    assert frechet_distance(y, x).value == pytest.approx(value, rel=1e-12)
    assert frechet_distance(x @ rotation, y @ rotation).value == pytest.approx(value, rel=1e-11)
    assert frechet_distance(x[::-1], y).value == pytest.approx(value, rel=1e-12)


def test_extra_features_that_are_constant_change_nothing():
    x, y = samples(20, 8, 0), samples(30, 8, 1)
    wide = [np.hstack([part, np.full((len(part), 40), 3.0)]) for part in (x, y)]
    assert frechet_distance(*wide).value == pytest.approx(frechet_distance(x, y).value, rel=1e-12)


def test_inputs_are_left_as_they_are():
    x, y = samples(20, 4, 0), samples(20, 4, 1)
    kept = x.copy(), y.copy()
    first, second = frechet_distance(x, y), frechet_distance(x, y)
    assert first == second
    np.testing.assert_array_equal((x, y), kept)


@pytest.mark.parametrize(
    ("x", "y", "complaint"),
    [
        (np.ones((5, 3)), np.ones((5, 4)), r"\(5, 3\) and \(5, 4\)"),
        (np.ones(5), np.ones(5), r"\[n, d\]"),
        (np.ones((1, 3)), np.ones((5, 3)), "needs 2 rows, these have 1 and 5"),
        (np.full((5, 3), np.nan), np.ones((5, 3)), "not finite"),
    ],
)
def test_bad_features_are_named(x, y, complaint):
    with pytest.raises(InputError, match=complaint):
        frechet_distance(x, y)
