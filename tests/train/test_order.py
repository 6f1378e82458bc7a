import itertools

import numpy as np
import pytest

from train.data import order as module
from train.data.order import Order

COUNTS = np.array([3, 1, 7, 2, 5, 4, 6, 1, 2])


def clips(order, positions):
    return [order.locate(position) for position in positions]


@pytest.mark.parametrize("window", [1, 2, 4, 9, 100])
def test_every_epoch_holds_every_clip_once(window):
    order = Order(COUNTS, 3, "joint", window)
    everything = sorted((shard, i) for shard, count in enumerate(COUNTS) for i in range(count))
    epochs = [clips(order, range(31 * e, 31 * (e + 1))) for e in range(4)]
    assert all(sorted(epoch) == everything for epoch in epochs)
    assert all(a != b for a, b in itertools.combinations(epochs, 2))


def test_it_is_a_function_of_seed_stream_and_position_alone():
    whole = clips(Order(COUNTS, 3, "joint", 2), range(200))
    again = Order(COUNTS, 3, "joint", 2)
    for position in np.random.default_rng(0).permutation(200).tolist():
        assert again.locate(position) == whole[position]
    assert clips(Order(COUNTS, 4, "joint", 2), range(31)) != whole[:31]
    assert clips(Order(COUNTS, 3, "adapt", 2), range(31)) != whole[:31]


def test_a_window_stays_within_its_shards():
    counts = np.full(40, 25)
    order = Order(counts, 0, "s", 4)
    windows = [clips(order, range(start, start + 100)) for start in range(0, 1000, 100)]
    shards = [{shard for shard, _ in window} for window in windows]
    assert all(len(own) == 4 for own in shards)
    assert sorted(itertools.chain(*shards)) == list(range(40))
    # within a window it is no walk through one shard after the other
    changes = [sum(a[0] != b[0] for a, b in itertools.pairwise(window)) for window in windows]
    assert np.mean(changes) == pytest.approx(99 * 3 / 4, abs=6)


def test_every_clip_comes_equally_early_on_average():
    order = Order(COUNTS, 7, "s", 3)
    places = np.zeros((31, 31))
    starts = np.concatenate([[0], np.cumsum(COUNTS)[:-1]])
    for position in range(31 * 2000):
        shard, i = order.locate(position)
        places[starts[shard] + i, position % 31] += 1
    mean = places @ np.arange(31) / 2000
    # a permutation's place has mean 15 and variance (31² - 1) / 12; 5 standard errors
    assert np.abs(mean - 15).max() < 5 * np.sqrt((31**2 - 1) / 12 / 2000)


def test_few_epochs_and_windows_are_kept():
    order = Order(COUNTS, 3, "joint", 2)
    clips(order, range(31 * 20))
    assert len(order._epochs) == len(order._windows) == module.KEPT


def test_ten_million_clips_are_a_matter_of_one_window():
    order = Order(np.full(20_000, 500), 1, "s", 16)
    positions = [0, 9_999_999, 123_456_789]
    found = clips(order, positions)
    assert all(0 <= shard < 20_000 and 0 <= i < 500 for shard, i in found)
    assert sum(window.nbytes for window in order._windows.values()) <= 3 * 16 * 500 * 4
