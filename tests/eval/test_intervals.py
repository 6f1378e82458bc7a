"""Intervals of the distances on Gaussians of known distance.

A share of runs is tested against the binomial bounds that a true coverage of 90 to 99 % leaves
with a probability below 1 in 1000.
"""

import itertools

import numpy as np
import pytest
from scipy import stats

from dynamicrafter.errors import InputError
from eval.metrics import intervals
from eval.metrics.frechet import frechet_distance
from eval.metrics.intervals import (
    fvd_difference,
    fvd_with_interval,
    kvd_with_interval,
    paired_difference,
    sample_warning,
)
from tests.eval.gaussians import gaussians


def assert_covers(covered: int, runs: int):
    low = stats.binom.ppf(1e-3, runs, 0.90)
    high = stats.binom.isf(1e-3, runs, 0.99)
    assert low <= covered <= high, f"{covered} of {runs}"


def estimates(kind: str, n: int, m: int, d: int, runs: int):
    pair = gaussians(kind, d)
    return [fvd_with_interval(*pair.draw(n, m, seed), curve=False) for seed in range(runs)]


@pytest.mark.parametrize(
    ("kind", "n", "m"),
    [
        ("shifted", 40, 40),
        ("scaled", 40, 40),
        ("power law", 120, 120),
        ("paired", 40, 40),
        ("scaled", 50, 40),
    ],
)
def test_the_interval_holds_the_expectation(kind, n, m):
    found = estimates(kind, n, m, d=30, runs=50)
    expectation = np.mean([one.value for one in found])
    assert_covers(sum(one.low <= expectation <= one.high for one in found), 50)
    assert all(one.low <= one.value <= one.high for one in found)


@pytest.mark.parametrize("kind", ["equal", "shifted", "scaled", "paired"])
def test_the_corrected_value_holds_the_distance(kind):
    found = estimates(kind, 40, 40, d=30, runs=60)
    distance = gaussians(kind, 30).distance
    covered = sum(one.corrected.low <= distance <= one.corrected.high for one in found)
    assert covered >= stats.binom.ppf(1e-3, 60, 0.90)
    bias = np.mean([one.value for one in found]) - distance
    rest = np.mean([one.corrected.value for one in found]) - distance
    assert abs(rest) < 0.05 * bias


@pytest.mark.parametrize("kind", ["equal", "shifted", "paired"])
def test_the_line_to_infinity_holds_the_distance(kind):
    pair = gaussians(kind, 20)
    found = [fvd_with_interval(*pair.draw(120, 120, seed)).infinite for seed in range(40)]
    covered = sum(one.low <= pair.distance <= one.high for one in found)
    assert covered >= stats.binom.ppf(1e-3, 40, 0.90)


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize(
    ("kind", "n", "m"),
    [
        ("shifted", 512, 512),
        ("scaled", 512, 512),
        ("power law", 512, 512),
        ("paired", 512, 512),
        ("shifted", 2048, 2048),
    ],
)
def test_the_interval_at_the_size_of_an_fvd(kind, n, m):
    found = estimates(kind, n, m, d=400, runs=200)
    expectation = np.mean([one.value for one in found])
    covered = sum(one.low <= expectation <= one.high for one in found)
    assert 180 <= covered <= 198
    assert all(one.low <= one.value <= one.high for one in found)


def test_the_interval_of_the_kernel_distance():
    pair = gaussians("shifted", 10)
    found = [kvd_with_interval(*pair.draw(80, 80, seed)) for seed in range(100)]
    expectation = np.mean([one.value for one in found])
    assert_covers(sum(one.low <= expectation <= one.high for one in found), 100)
    assert all(one.low <= one.value <= one.high for one in found)


def test_the_kernel_distance_of_paired_sets():
    pair = gaussians("paired", 10)
    found = [kvd_with_interval(*pair.draw(80, 80, seed)) for seed in range(100)]
    expectation = np.mean([one.value for one in found])
    assert_covers(sum(one.low <= expectation <= one.high for one in found), 100)


def test_the_value_is_the_plain_distance():
    x, y = gaussians("scaled", 10).draw(60, 40, seed=0)
    for unbiased in (True, False):
        found = fvd_with_interval(x, y, unbiased)
        assert found.value == frechet_distance(x, y, unbiased).value
    assert (found.count_x, found.count_y, found.dimensions) == (60, 40, 10)
    assert found.high - found.value == pytest.approx(found.value - found.low)


def test_equal_calls_give_equal_results():
    x, y = gaussians("shifted", 5).draw(40, 40, seed=0)
    first, second = (fvd_with_interval(x, y, seed=3) for _ in range(2))
    assert first.low == second.low
    assert first.curve_values.tolist() == second.curve_values.tolist()
    assert fvd_with_interval(x, y, seed=4).curve_values[0] != first.curve_values[0]


def test_identical_sets_have_no_distance_and_no_spread():
    x, _ = gaussians("power law", 5).draw(40, 40, seed=0)
    found = fvd_with_interval(x, x)
    assert (found.low, found.value, found.high) == pytest.approx((0, 0, 0), abs=1e-6)
    assert found.warning is None


def test_the_curve_is_that_of_subsets_and_its_line_is_least_squares():
    x, y = gaussians("shifted", 5).draw(80, 160, seed=0)
    found = fvd_with_interval(x, y)
    assert found.curve_n.tolist() == [40, 50, 60, 70, 80]
    assert found.curve_values[-1] == found.value
    line = stats.linregress(1 / found.curve_n, found.curve_values)
    assert found.infinite.value == pytest.approx(line.intercept)
    expected = line.intercept + line.slope / found.curve_n
    np.testing.assert_allclose(found.curve_line, expected)
    np.testing.assert_allclose(found.curve_residuals, found.curve_values - expected, atol=1e-12)
    assert found.infinite.method == "least squares on 1/N"


def test_what_few_samples_do_not_allow_is_left_out_with_the_reason():
    pair = gaussians("shifted", 30)
    few = fvd_with_interval(*pair.draw(19, 25, seed=0))
    assert (few.low, few.corrected, few.infinite) == (None, None, None)
    assert "19 samples of 30 features: the covariance is singular" in few.warning
    assert "19 samples are too few" in few.curve_reason
    near = fvd_with_interval(*pair.draw(33, 33, seed=0))
    assert near.corrected is None
    assert "most of the value is bias" in near.warning
    more = fvd_with_interval(*pair.draw(100, 100, seed=0))
    assert more.corrected.method == "delete-one jackknife"
    assert more.infinite is None
    assert "(120)" in more.curve_reason
    assert len(more.curve_values) == 5
    assert len(more.curve_line) == 0
    assert kvd_with_interval(*pair.draw(19, 25, seed=0)).low is None


def test_a_warning_names_the_bias():
    at = intervals.MethodInterval(382.0, 370, 394, 6, 0.95, "")
    assert sample_warning(812.0, at, 512, 400) == (
        "of the value of 812, about 430 is bias of 512 samples"
    )
    assert sample_warning(400.0, at, 4096, 400) is None


def test_the_difference_of_two_methods_is_surer_than_its_parts():
    """Both stand in the same relation to the real set, so most of the scatter is common."""
    n, d, runs = 50, 12, 40
    pair, gaps = gaussians("shifted", d), []
    for seed in range(runs):
        real, a = pair.draw(n, n, seed)
        b = a + 0.1 * np.random.default_rng(1000 + seed).standard_normal((n, d))
        gaps.append(fvd_difference(real, a, b))
    expectation = np.mean([gap.value for gap in gaps])
    covered = sum(gap.low <= expectation <= gap.high for gap in gaps)
    assert_covers(covered, runs)
    alone = fvd_with_interval(real, a, curve=False)
    assert gaps[-1].standard_error < alone.standard_error / 2
    assert gaps[-1].value == pytest.approx(
        alone.value - fvd_with_interval(real, b, curve=False).value
    )


def test_a_method_does_not_differ_from_itself():
    real, a = gaussians("scaled", 6).draw(50, 40, seed=0)
    found = fvd_difference(real, a, a.copy())
    assert (found.low, found.value, found.high) == pytest.approx((0, 0, 0), abs=1e-9)


def test_methods_need_the_same_inputs():
    x = np.ones((30, 3))
    with pytest.raises(InputError, match="30 and 29 videos"):
        fvd_difference(x, x, x[:-1])
    with pytest.raises(InputError, match="19 samples are too few"):
        fvd_difference(x[:19], x, x)


def test_a_paired_difference_is_students():
    draws = np.random.default_rng(0)
    a, b = draws.normal(1, 1, 30), draws.normal(0.4, 1, 30)
    found = paired_difference(a, b)
    theirs = stats.ttest_rel(a, b)
    low, high = theirs.confidence_interval()
    assert (found.value, found.low, found.high) == pytest.approx((np.mean(a - b), low, high))
    assert found.count == 30


def test_few_pairs_are_permuted_exhaustively():
    difference = np.array([0.9, -0.2, 0.4, 0.7, 0.1, 0.3])
    signs = itertools.product([-1, 1], repeat=6)
    reached = [abs(np.dot(s, difference)) >= difference.sum() - 1e-12 for s in signs]
    assert paired_difference(difference, np.zeros(6)).p_value == np.mean(reached)


def test_many_pairs_are_permuted_at_random():
    a, b = np.random.default_rng(0).normal(0.25, 1, (2, 40)) * [[1], [0]]
    found = paired_difference(a, b)
    assert found.p_value == pytest.approx(stats.ttest_rel(a, b).pvalue, abs=0.02)
    assert found == paired_difference(a, b)
    assert found.p_value != paired_difference(a, b, seed=1).p_value


def test_equal_values_show_no_difference():
    assert paired_difference(np.ones(40), np.ones(40)).p_value == 1


@pytest.mark.parametrize(
    ("a", "b", "complaint"),
    [
        (np.ones(3), np.ones(4), "two lists"),
        (np.ones(1), np.ones(1), "2 or more"),
        (np.array([1, np.nan]), np.ones(2), "not finite"),
    ],
)
def test_values_that_are_no_pairs_are_refused(a, b, complaint):
    with pytest.raises(InputError, match=complaint):
        paired_difference(a, b)
