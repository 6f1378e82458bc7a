import numpy as np
import torch

from dynamicrafter import draws


def test_a_draw_depends_on_seed_number_and_name_only():
    first = draws.generator(1, 2, "noise").random(4)
    np.random.seed(0)
    torch.manual_seed(0)
    assert np.array_equal(first, draws.generator(1, 2, "noise").random(4))
    others = [(2, 2, "noise"), (1, 3, "noise"), (1, 2, "timestep"), (12, 0, "noise")]
    assert all(not np.array_equal(first, draws.generator(*other).random(4)) for other in others)


def test_global_generators_are_left_alone():
    torch.manual_seed(5)
    before = torch.get_rng_state()
    draws.normal(1, 2, "noise", (3,))
    draws.BatchDraws(1, "joint", [1, 2]).uniform("drop")
    assert torch.equal(before, torch.get_rng_state())


def test_the_key_is_the_documented_hash():
    # blake2b-128 of "7/3/noise", little endian; independent of platform and version
    import hashlib

    expected = int.from_bytes(hashlib.blake2b(b"7/3/noise", digest_size=16).digest(), "little")
    assert draws.key(7, 3, "noise") == expected


def test_a_row_of_a_batch_does_not_depend_on_its_neighbours():
    alone = draws.BatchDraws(1, "joint", [41])
    together = draws.BatchDraws(1, "joint", [40, 41, 42])
    assert torch.equal(alone.normal("noise", (2, 3))[0], together.normal("noise", (2, 3))[1])
    assert alone.uniform("drop")[0] == together.uniform("drop")[1]
    assert alone.integers("t", 0, 1000)[0] == together.integers("t", 0, 1000)[1]


def test_draws_have_the_right_distribution():
    many = draws.BatchDraws(0, "x", range(4000))
    noise = many.normal("noise", (4,))
    assert abs(noise.mean()) < 0.03
    assert abs(noise.std() - 1) < 0.03
    t = many.integers("t", 0, 1000).float()
    assert abs(t.mean() - 499.5) < 15
    assert 0 <= t.min() < 5
    assert 994 < t.max() < 1000
    # neighbouring sample numbers are uncorrelated
    a = many.uniform("drop")
    assert abs(torch.corrcoef(torch.stack([a[:-1], a[1:]]))[0, 1]) < 0.05
