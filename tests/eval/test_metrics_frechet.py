import numpy as np
import pytest
from scipy.linalg import sqrtm

from dynamicrafter.errors import InputError
from eval.metrics import frechet
from eval.metrics.frechet import frechet_distance, frechet_of_heads


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


def spread_out(n: int, d: int, slope: float, seed: int) -> np.ndarray:
    """Rows whose standard deviations fall off as k^-slope, in a rotated basis."""
    draws = np.random.default_rng(seed)
    rotation = np.linalg.qr(np.random.default_rng(0).normal(size=(d, d))).Q
    return draws.normal(size=(n, d)) * np.arange(1, d + 1.0) ** -slope @ rotation


def traces_of(*sets: np.ndarray) -> float:
    return sum(part.var(axis=0, ddof=1).sum() for part in sets)


@pytest.mark.parametrize("slope", [0, 0.5, 1, 2, 4])
@pytest.mark.parametrize("n", [61, 80, 600])
def test_the_fast_way_is_as_good_as_the_one_that_squares_nothing(n, slope, monkeypatch):
    x, y = spread_out(n, 60, slope, 1), 1.3 * spread_out(n, 60, slope, 2) + 0.1  # means small
    if slope == 1:
        x += 3  # and large
    found = frechet_distance(x, y)
    monkeypatch.setattr(frechet, "TOLERANCE", -1)
    assert abs(found.value - frechet_distance(x, y).value) <= 1e-12 * found.traces


def test_the_fast_way_gives_up_where_it_cannot_promise_that():
    x, y = spread_out(300, 60, 5, 1), spread_out(300, 60, 5, 2)
    _, *moments = frechet._moments(x, y, 299, 299)
    assert frechet._cross_of_covariances(*moments, frechet.TOLERANCE * traces_of(x, y)) is None


@pytest.mark.parametrize("scale", [1e-6, 1, 1e6])
def test_scale_enters_squared(scale):
    x, y = samples(80, 12, 0), samples(70, 12, 1)
    found = frechet_distance(scale * x, scale * y).value
    assert found == pytest.approx(scale**2 * frechet_distance(x, y).value, rel=1e-11)


def test_a_mean_far_larger_than_the_spread_costs_no_digits():
    """Multiples of 2^-10 stay exact beside 2^20."""
    x, y = (np.round(samples(80, 12, seed) * 1024) / 1024 for seed in (0, 1))
    expected = frechet_distance(x, y)
    found = frechet_distance(x + 2**20, y + 2**20)
    assert abs(found.value - expected.value) <= 1e-11 * expected.traces


def test_one_dimension_is_the_distance_of_two_numbers_each():
    x, y = samples(50, 1, 0), samples(40, 1, 1)
    expected = (x.mean() - y.mean()) ** 2 + (x.std(ddof=1) - y.std(ddof=1)) ** 2
    assert frechet_distance(x, y).value == pytest.approx(expected)


@pytest.mark.parametrize("n", [2, 10, 40])
def test_identical_sets_have_no_distance(n):
    x = samples(n, 12, 0)
    assert frechet_distance(x, x).value <= 1e-12 * traces_of(x, x)


def test_repeated_rows_count_as_often_as_they_are_there():
    x, y = samples(30, 12, 0), samples(40, 12, 1)
    twice = frechet_distance(np.repeat(x, 2, axis=0), y, unbiased=False)
    assert twice.value == pytest.approx(frechet_distance(x, y, unbiased=False).value, rel=1e-11)


@pytest.mark.parametrize("unbiased", [True, False])
def test_heads_are_what_they_would_be_alone(unbiased):
    x, y = samples(90, 12, 0) + 50, samples(70, 12, 1) - 50
    counts = [(5, 4), (20, 12), (20, 30), (61, 30), (90, 70)]  # the first have too few for S_x
    alone = [frechet_distance(x[:n], y[:m], unbiased).value for n, m in counts]
    np.testing.assert_allclose(frechet_of_heads(x, y, counts, unbiased), alone, rtol=1e-11)
    assert len(set(alone)) == len(counts)


def test_heads_of_lower_rank_are_summed_up_row_by_row():
    x, y = (np.hstack([part, part[:, :3]]) for part in (samples(60, 8, 0), samples(60, 8, 1)))
    alone = [frechet_distance(x[:n], y[:n]).value for n in (30, 60)]
    np.testing.assert_allclose(frechet_of_heads(x, y, [(30, 30), (60, 60)]), alone, rtol=1e-11)
