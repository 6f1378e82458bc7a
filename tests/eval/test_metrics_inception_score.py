import numpy as np
import pytest
from scipy.special import rel_entr

from dynamicrafter.errors import InputError
from eval.metrics.inception_score import inception_score


def test_certain_and_even_classes_score_their_number():
    assert inception_score(np.tile(np.eye(4), (5, 1)), splits=1).value == pytest.approx(4)


def test_equal_rows_score_one():
    found = inception_score(np.tile([0.5, 0.3, 0.2, 0.0], (9, 1)), splits=3)
    assert found.per_split.tolist() == pytest.approx([1, 1, 1])
    assert found.deviation == pytest.approx(0)


def test_splits_are_runs_of_rows_and_the_divergence_is_that_of_scipy():
    probs = np.random.default_rng(0).dirichlet(np.full(6, 0.3), 17)
    found = inception_score(probs, splits=3)
    expected = [
        np.exp(rel_entr(part, part.mean(axis=0)).sum(axis=1).mean())
        for part in (probs[:5], probs[5:11], probs[11:])  # 17 / 3 = 5.67, 2 * 17 / 3 = 11.33
    ]
    assert found.per_split.tolist() == pytest.approx(expected)
    assert found.mean == pytest.approx(np.mean(expected))
    assert found.deviation == pytest.approx(np.std(expected))
    assert found.count == 17


@pytest.mark.parametrize(
    ("probs", "splits", "complaint"),
    [
        (np.ones(5), 1, r"\[n, classes\]"),
        (np.full((3, 2), 0.5), 4, "1 to 3 splits, not 4"),
        (np.full((3, 2), 0.5), 0, "splits, not 0"),
        (np.array([[1.5, -0.5]]), 1, "negative"),
        (np.full((3, 2), np.nan), 1, "not finite"),
        (np.full((3, 2), 4.0), 1, "sums to 8"),
    ],
)
def test_bad_probabilities_are_named(probs, splits, complaint):
    with pytest.raises(InputError, match=complaint):
        inception_score(probs, splits)
