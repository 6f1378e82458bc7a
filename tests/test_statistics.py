import numpy as np
import pytest
from scipy import stats

from dynamicrafter.errors import InputError
from dynamicrafter.statistics import extrapolate, jackknife, mean_interval, wilson_interval
from eval.metrics.frechet import frechet_distance


@pytest.fixture
def values():
    return np.random.default_rng(3).normal(5, 2, 40)


def test_the_jackknife_of_a_mean_is_the_classical_interval(values):
    found = jackknife(lambda rows: values[rows].mean(), len(values), len(values))
    low, high = stats.t.interval(0.95, 39, values.mean(), stats.sem(values))
    assert found.value == pytest.approx(values.mean(), rel=1e-12)
    assert (found.low, found.high) == pytest.approx((low, high), rel=1e-10)
    assert found.standard_error == pytest.approx(stats.sem(values), rel=1e-10)


def test_the_jackknife_takes_the_bias_out_of_a_variance(values):
    found = jackknife(lambda rows: values[rows].var(), len(values), len(values))
    assert found.value == pytest.approx(values.var(ddof=1), rel=1e-10)


def test_groups_of_several_remove_a_bias_of_one_over_n_too():
    found = jackknife(lambda rows: 7 + 100 / len(rows), 60, 12)
    assert found.value == pytest.approx(7, rel=1e-12)
    assert found.standard_error == pytest.approx(0, abs=1e-12)


def test_groups_follow_the_given_order(values):
    order = np.random.default_rng(0).permutation(40)
    direct = jackknife(lambda rows: np.median(values[order][rows]), 40, 5)
    ordered = jackknife(lambda rows: np.median(values[rows]), 40, 5, order)
    assert ordered == direct


def test_the_interval_of_a_frechet_distance_covers_the_truth():
    """Shifted standard Gaussians: the distance is |shift|^2 = 4; the plain value is biased."""
    covered, corrected, plain = 0, [], []
    for seed in range(40):
        draws = np.random.default_rng(seed)
        x, y = draws.normal(size=(200, 8)), draws.normal(size=(200, 8))
        y[:, 0] += 2
        found = jackknife(lambda rows, x=x, y=y: frechet_distance(x[rows], y[rows]).value, 200, 20)
        covered += found.low <= 4 <= found.high
        corrected.append(found.value)
        plain.append(frechet_distance(x, y).value)
    assert covered >= 34  # 38 of 40 are expected; 33 or fewer have a chance of 0.3 %
    assert abs(np.mean(corrected) - 4) < 0.1 < np.mean(plain) - 4


@pytest.mark.parametrize("groups", [1, 41])
def test_impossible_groups_are_refused(values, groups):
    with pytest.raises(InputError, match=f"takes 2 to 40 groups, not {groups}"):
        jackknife(lambda rows: 0.0, 40, groups)


def test_a_mean_and_its_interval(values):
    found = mean_interval(values, level=0.9)
    assert (found.low, found.high) == pytest.approx(
        stats.t.interval(0.9, 39, values.mean(), stats.sem(values))
    )
    with pytest.raises(InputError, match="2 values"):
        mean_interval([1.0])


def test_a_line_in_one_over_n_is_found_exactly():
    n = [256, 512, 1024, 2048]
    line = extrapolate(n, [300 + 5000 / k for k in n])
    assert (line.value, line.slope) == pytest.approx((300, 5000))
    with pytest.raises(InputError, match="two different sample counts"):
        extrapolate([512, 512], [1.0, 2.0])


@pytest.mark.parametrize(("successes", "n", "level"), [(0, 10, 0.9), (7, 64, 0.9), (64, 64, 0.95)])
def test_wilsons_interval_is_that_of_scipy(successes, n, level):
    found = wilson_interval(successes, n, level)
    theirs = stats.binomtest(successes, n).proportion_ci(level, method="wilson")
    assert (found.low, found.high) == pytest.approx((theirs.low, theirs.high), abs=1e-12)
    assert found.value == successes / n


@pytest.mark.parametrize(("successes", "n"), [(0, 0), (3, 2), (-1, 5)])
def test_a_share_needs_trials(successes, n):
    with pytest.raises(InputError, match="is no share"):
        wilson_interval(successes, n)
