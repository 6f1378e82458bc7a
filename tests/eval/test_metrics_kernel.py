import tracemalloc

import numpy as np
import pytest

from dynamicrafter.errors import InputError
from eval.metrics import kernel
from eval.metrics.kernel import (
    draw_subsets,
    kernel_distance,
    kernel_subsets,
    sums_between,
    sums_within,
)


def plain_mmd2(x: np.ndarray, y: np.ndarray) -> float:
    """The definition, over all pairs, one at a time."""

    def k(a, b):
        return (a @ b / len(a) + 1) ** 3

    n, m = len(x), len(y)
    xx = sum(k(x[i], x[j]) for i in range(n) for j in range(n) if i != j) / (n * (n - 1))
    yy = sum(k(y[i], y[j]) for i in range(m) for j in range(m) if i != j) / (m * (m - 1))
    xy = sum(k(a, b) for a in x for b in y) / (n * m)
    return xx + yy - 2 * xy


@pytest.fixture
def sets():
    draws = np.random.default_rng(0)
    return draws.normal(size=(23, 6)), draws.normal(0.3, 1.2, size=(17, 6))


@pytest.mark.parametrize("block", [1, 5, 17, 1000])
def test_blocks_of_any_size_give_the_definition(sets, monkeypatch, block):
    monkeypatch.setattr(kernel, "BLOCK", block)
    found = kernel_distance(*sets)
    assert found.value == pytest.approx(plain_mmd2(*sets), rel=1e-11)
    assert (found.count_x, found.count_y) == (23, 17)


@pytest.mark.parametrize("block", [1, 5, 17, 1000])
def test_sums_of_rows_are_those_of_the_whole_kernel(sets, monkeypatch, block):
    monkeypatch.setattr(kernel, "BLOCK", block)
    x, y = sets
    within, between = ((x @ other.T / x.shape[1] + 1) ** 3 for other in (x, y))
    np.fill_diagonal(within, 0)
    np.testing.assert_allclose(sums_within(x), within.sum(axis=1), rtol=1e-11)
    of_x, of_y = sums_between(x, y)
    np.testing.assert_allclose(of_x, between.sum(axis=1), rtol=1e-11)
    np.testing.assert_allclose(of_y, between.sum(axis=0), rtol=1e-11)


def test_memory_does_not_hold_a_kernel_matrix():
    x, y = np.random.default_rng(0).normal(size=(2, 4000, 3))
    tracemalloc.start()
    kernel_distance(x, y)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 40e6  # one of the three matrices takes 128 MB


def test_equal_distributions_scatter_around_zero():
    draws = np.random.default_rng(1)
    values = [kernel_distance(*draws.normal(size=(2, 60, 5))).value for _ in range(200)]
    assert abs(np.mean(values)) < 3 * np.std(values) / 200**0.5
    assert 40 < sum(value < 0 for value in values) < 160


def test_subsets_are_measured_one_by_one(sets):
    x, y = sets
    ix = draw_subsets(len(x), 8, 5, seed=0, name="x")
    iy = draw_subsets(len(y), 8, 5, seed=0, name="y")
    found = kernel_subsets(x, y, ix, iy)
    expected = [plain_mmd2(x[i], y[j]) for i, j in zip(ix, iy, strict=True)]
    np.testing.assert_allclose(found.values, expected, rtol=1e-11)
    assert found.value == pytest.approx(np.mean(expected))
    assert found.size == 8


def test_subsets_do_not_repeat_rows_and_depend_on_the_seed_alone():
    drawn = draw_subsets(30, 10, 50, seed=4, name="x")
    assert drawn.shape == (50, 10)
    assert all(len(set(row)) == 10 for row in drawn.tolist())
    np.testing.assert_array_equal(drawn[:20], draw_subsets(30, 10, 20, seed=4, name="x"))
    assert (drawn != draw_subsets(30, 10, 50, seed=5, name="x")).any()
    with pytest.raises(InputError, match="subsets of 30 rows have 2 to 30 rows, not 31"):
        draw_subsets(30, 31, 1, seed=0, name="x")


def test_bad_features_are_refused():
    with pytest.raises(InputError, match="not finite"):
        kernel_distance(np.full((4, 2), np.inf), np.ones((4, 2)))
