import itertools

import numpy as np
import pytest

from train.data.mixture import BLOCK, Mixture


def members(mixture, start, stop):
    return [mixture.locate(position) for position in range(start, stop)]


@pytest.mark.parametrize("start", [0, 12_345, 7_654_321])
@pytest.mark.parametrize(
    "weights", [(0.7, 0.3), (1.0, 1.0, 1.0), (5, 1, 2, 0.5, 0.1), (0.9, 0.09, 0.01)]
)
def test_shares_hold_within_one_per_cent_over_100_000_positions(weights, start):
    found = [m for m, _ in members(Mixture(weights, 3, "s"), start, start + 100_000)]
    shares = np.bincount(found, minlength=len(weights)) / 100_000
    wanted = np.array(weights) / sum(weights)
    assert np.abs(shares / wanted - 1).max() < 0.01


def test_each_member_is_walked_through_without_a_gap():
    mixture = Mixture((3, 2, 0.01, 1), 3, "s")
    places = members(mixture, 0, 20_000)
    for member in range(4):
        own = [place for m, place in places if m == member]
        assert sorted(own) == list(range(len(own)))
        assert mixture.counts(20_000 // BLOCK * BLOCK)[member] <= len(own)
        for start in range(0, 20_000 - BLOCK, BLOCK):
            inside = [p for m, p in places[start : start + BLOCK] if m == member]
            assert inside == sorted(inside)  # the member's own order is kept


def test_counts_are_exact_sums_near_the_share_and_never_shrink():
    weights = np.random.default_rng(0).gamma(0.3, size=200) + 1e-6
    mixture = Mixture(weights, 0, "s")
    before = np.zeros(200, np.int64)
    for n in range(3000):
        counts = mixture.counts(n)
        assert counts.sum() == n
        assert set(np.unique(counts - before)) <= {0, 1}
        assert np.abs(counts - n * weights / weights.sum()).max() < 3
        before = counts


def test_it_is_a_function_of_seed_stream_and_position_alone():
    whole = members(Mixture((2, 1), 3, "s"), 0, 3000)
    again = Mixture((20, 10), 3, "s")
    for position in np.random.default_rng(0).permutation(3000).tolist():
        assert again.locate(position) == whole[position]
    assert members(Mixture((2, 1), 4, "s"), 0, 3000) != whole
    assert members(Mixture((2, 1), 3, "t"), 0, 3000) != whole


def test_members_are_mixed_inside_a_block():
    found = [m for m, _ in members(Mixture((1, 1), 3, "s"), 0, 100 * BLOCK)]
    changes = sum(a != b for a, b in itertools.pairwise(found))
    # fair mixing changes at every other place; 5 standard errors
    assert abs(changes / len(found) - 0.5) < 5 * 0.5 / np.sqrt(len(found))


def test_one_member_is_everything():
    assert members(Mixture((0.3,), 3, "s"), 500, 503) == [(0, 500), (0, 501), (0, 502)]
