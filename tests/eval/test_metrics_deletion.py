import numpy as np
import pytest

from eval.metrics.deletion import FrechetWithout, KernelWithout
from eval.metrics.frechet import frechet_distance
from eval.metrics.kernel import kernel_distance
from tests.eval.gaussians import gaussians

NOTHING = np.empty((3, 0), np.int64)
ONES = np.array([[0], [7], [29]])
TWOS = np.array([[3, 9], [0, 1], [28, 4]])
CHOICES = [(ONES, ONES), (ONES, NOTHING), (NOTHING, TWOS), (TWOS, TWOS), (TWOS, ONES)]


def refitted(distance, x, y, rows_x, rows_y):
    pairs = zip(rows_x, rows_y, strict=True)
    return [distance(np.delete(x, i, axis=0), np.delete(y, j, axis=0)) for i, j in pairs]


@pytest.mark.parametrize(("rows_x", "rows_y"), CHOICES)
@pytest.mark.parametrize("unbiased", [True, False])
@pytest.mark.parametrize(("n", "m", "d"), [(60, 60, 20), (60, 45, 20), (31, 90, 25)])
def test_deleting_is_refitting(n, m, d, unbiased, rows_x, rows_y):
    x, y = gaussians("scaled", d).draw(n, m, seed=0)

    def distance(x, y):
        return frechet_distance(x, y, unbiased).value

    found = FrechetWithout(x, y, unbiased)(rows_x, rows_y) - distance(x, y)
    expected = np.array(refitted(distance, x, y, rows_x, rows_y)) - distance(x, y)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


def test_features_of_lower_rank_and_constant_ones_do_not_disturb():
    x, y = gaussians("shifted", 8).draw(40, 40, seed=1)
    wide = [np.hstack([part, part[:, :3], np.full((40, 2), 5.0)]) for part in (x, y)]
    found = FrechetWithout(*wide)(TWOS, TWOS)
    expected = refitted(lambda x, y: frechet_distance(x, y).value, *wide, TWOS, TWOS)
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_more_choices_than_a_chunk(monkeypatch):
    x, y = gaussians("scaled", 6).draw(50, 50, seed=2)
    every = np.arange(50)[:, None]
    whole = FrechetWithout(x, y)(every, every)
    monkeypatch.setattr("eval.metrics.deletion.CHUNK", 7)
    np.testing.assert_allclose(FrechetWithout(x, y)(every, every), whole, rtol=1e-12)


@pytest.mark.parametrize(("rows_x", "rows_y"), CHOICES)
def test_the_kernel_distance_of_what_is_left(rows_x, rows_y):
    x, y = gaussians("shifted", 5).draw(40, 33, seed=3)
    found = KernelWithout(x, y)(rows_x, rows_y)
    expected = refitted(lambda x, y: kernel_distance(x, y).value, x, y, rows_x, rows_y)
    np.testing.assert_allclose(found, expected, rtol=1e-10)


def test_the_kernel_distance_of_all_rows():
    x, y = gaussians("shifted", 5).draw(40, 33, seed=3)
    assert KernelWithout(x, y).value == pytest.approx(kernel_distance(x, y).value, rel=1e-10)
