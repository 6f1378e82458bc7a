import numpy as np
import pytest
from scipy import stats

from dynamicrafter.errors import InputError
from dynamicrafter.statistics import (
    calibration_error,
    cohen_kappa,
    extrapolate,
    isotonic,
    jackknife,
    mean_interval,
    reliability,
    spearman,
    wilson_interval,
)
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


def kappa_of(table):
    """Kappa of a table of shares, written anew."""
    expected = table.sum(0) @ table.sum(1)
    return (np.trace(table) - expected) / (1 - expected)


def test_kappa_and_its_interval_agree_with_the_delta_method():
    """The error of a function of multinomial shares, by its numeric gradient."""
    counts = np.array([[41, 5, 2], [11, 24, 4], [1, 6, 9]])
    first = np.repeat(np.arange(3), counts.sum(1)).tolist()
    second = np.concatenate([np.repeat(np.arange(3), row) for row in counts]).tolist()
    n = counts.sum()
    shares = counts / n
    gradient = np.zeros((3, 3))
    for place in np.ndindex(3, 3):
        step = np.zeros((3, 3))
        step[place] = 1e-6
        gradient[place] = (kappa_of(shares + step) - kappa_of(shares - step)) / 2e-6
    variance = ((shares * gradient**2).sum() - (shares * gradient).sum() ** 2) / n
    found = cohen_kappa(["abc"[i] for i in first], ["abc"[i] for i in second])
    assert found.value == pytest.approx(kappa_of(shares), rel=1e-12)
    assert found.standard_error == pytest.approx(variance**0.5, rel=1e-5)
    assert found.high - found.value == pytest.approx(stats.norm.ppf(0.975) * variance**0.5)


def test_kappa_at_its_ends():
    assert cohen_kappa("aabb", "aabb").value == pytest.approx(1)
    assert cohen_kappa("aabb", "abab").value == pytest.approx(0)
    assert cohen_kappa("ab", "ba").value == pytest.approx(-1)
    assert cohen_kappa("aaa", "aaa") is None
    with pytest.raises(InputError, match="not 2 and 1"):
        cohen_kappa("ab", "a")


def test_spearman_is_scipys_and_covers_the_truth():
    """The population value of a normal pair is 6/pi * asin(rho/2)."""
    rho, covered = 0.6, 0
    truth = 6 / np.pi * np.arcsin(rho / 2)
    for seed in range(200):
        x, e = np.random.default_rng(seed).normal(size=(2, 60))
        y = rho * x + (1 - rho**2) ** 0.5 * e
        found = spearman(x, y)
        covered += found.low <= truth <= found.high
        if seed == 0:
            ties = np.round(x)
            assert spearman(ties, y).value == pytest.approx(stats.spearmanr(ties, y).statistic)
    assert 180 <= covered <= 199


def test_spearman_of_what_has_no_order_is_absent():
    assert spearman([1, 1, 1, 1], [1, 2, 3, 4]) is None
    assert spearman([1, 2, 3], [1, 2, 3]) is None
    assert spearman([1, 2, 3, 4, 5], [2, 3, 4, 5, 6]).high == pytest.approx(1)


def test_a_reliability_diagram_counts_by_hand():
    stated = [0.0, 0.05, 0.1, 0.55, 0.95, 1.0]
    bins = reliability(stated, [0, 1, 0, 1, 1, 1])
    assert [(one.low, one.n) for one in bins] == [(0.0, 2), (0.1, 1), (0.5, 1), (0.9, 2)]
    assert [one.share.value for one in bins] == [0.5, 0, 1, 1]
    assert bins[0].share == wilson_interval(1, 2)
    assert bins[3].stated == pytest.approx(0.975)
    expected = (2 * 0.475 + 0.1 + 0.45 + 2 * 0.025) / 6
    assert calibration_error(bins) == pytest.approx(expected)


@pytest.mark.parametrize("bins", [10, 20, 25, 100])
def test_a_value_on_a_border_belongs_to_the_bin_above(bins):
    borders = np.arange(bins) * (100 // bins) / 100
    found = reliability(borders, [True] * bins, bins)
    assert [one.n for one in found] == [1] * bins


def test_the_isotonic_map_pools_what_falls():
    """Shares 0, 1, 0.5, 1 at four stated values: the middle two are pooled by their counts."""
    stated = [0.1] * 2 + [0.3] * 2 + [0.6] * 4 + [0.9]
    came_true = [0, 0, 1, 1, 1, 1, 0, 0, 1]
    found = isotonic(stated, came_true)
    assert found.stated == (0.1, 0.3, 0.6, 0.9)
    assert found.true == pytest.approx((0, 4 / 6, 4 / 6, 1))
    assert found([0.0, 0.2, 1.0]) == pytest.approx([0, 1 / 3, 1])
