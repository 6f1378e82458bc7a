"""Dropout by key: the share, what a mask depends on and what not, independence, gradients."""

import itertools
import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.checkpoint import checkpoint

from dynamicrafter import draws
from dynamicrafter.model.animation import AnimationConfig
from dynamicrafter.model.dropout import Dropout, keyed_dropout
from tests.model.tiny import build, tree

pytestmark = pytest.mark.usefixtures("one_thread")

SIGMAS = 4.5  # two-sided 7e-6: the draws are fixed, so a test that passes always does
WORD = 2**32 - 1


class Pair(nn.Module):
    """Two layers of dropout and a parameter, as every model has one."""

    def __init__(self, p):
        super().__init__()
        self.first, self.second = Dropout(p), Dropout(p)
        self.weight = nn.Parameter(torch.ones(()))


def kept(numbers, shape=(10_000,), p=0.25, layer="first", seed=3, name="stage/dropout"):
    """Which elements of each sample stay: bool `[b, *shape]`."""
    pair = Pair(p)
    with keyed_dropout(pair, seed, name, numbers):
        return getattr(pair, layer)(torch.ones(len(numbers), *shape)) != 0


def correlation(a, b, p):
    """Of two masks whose share of zeros is p, in standard deviations of independent ones."""
    a, b = (mask.double().flatten() - (1 - p) for mask in (a, b))
    return ((a * b).mean() / (p * (1 - p)) * math.sqrt(a.numel())).item()


@pytest.mark.parametrize("p", [0.05, 0.1, 0.5, 0.9])
def test_the_share_is_right_and_the_rest_is_scaled_up(p):
    pair = Pair(p)
    with keyed_dropout(pair, 0, "x", range(8)):
        found = pair.first(torch.ones(8, 25_000))
    zeros = (found == 0).double().mean(dim=1)  # of each sample
    assert (zeros - p).abs().max() < SIGMAS * math.sqrt(p * (1 - p) / 25_000)
    assert torch.equal(found[found != 0].unique(), torch.tensor([1 / (1 - p)]))


def test_a_mask_is_the_hash_of_the_samples_key_and_the_elements_place():
    """Against the same hash in whole numbers without sign: of the sample's key and the layer's."""

    def lowbias32(x):
        x = (x ^ x >> 16) * 0x7FEB352D & WORD
        x = (x ^ x >> 15) * 0x846CA68B & WORD
        return x ^ x >> 16

    for number in (0, 5, 10**9):
        key = draws.key(3, number, "stage/dropout") ^ draws.key(0, 0, "first")
        low, high = key & WORD, key >> 32 & WORD
        bits = [lowbias32(lowbias32(i ^ low) ^ high) for i in range(300)]
        expected = [(word & 2**31 - 1) >= 2**31 // 4 for word in bits]
        assert kept([number], (300,))[0].tolist() == expected


def test_the_batch_around_a_sample_changes_nothing():
    masks = kept([5, 9, 2, 7])
    for others in ([7, 2, 9, 5], [5, 9], [2, 7], [9], [100, 9, 101]):
        found = kept(others)
        for row, number in enumerate(others):
            if number in (5, 9, 2, 7):
                assert torch.equal(found[row], masks[[5, 9, 2, 7].index(number)])


def test_the_rows_of_a_sample_lie_together():
    """A layer on `[(b t), c, h]` has one key a clip."""
    pair = Pair(0.25)
    with keyed_dropout(pair, 3, "stage/dropout", [5, 9]):
        found = pair.first(torch.ones(2 * 4, 10, 5)) != 0
    assert torch.equal(found.reshape(2, 200), kept([5, 9], (200,)))


@pytest.mark.parametrize(
    "other",
    [{"layer": "second"}, {"numbers": [6]}, {"name": "other/dropout"}, {"seed": 4}],
    ids=lambda other: next(iter(other)),
)
def test_masks_of_other_layers_samples_names_and_seeds_are_independent(other):
    first = kept([5], (100_000,))
    second = kept(**{"numbers": [5], "shape": (100_000,), **other})
    assert abs(correlation(first, second, 0.25)) < SIGMAS


def test_a_mask_tells_nothing_of_its_neighbours():
    masks = kept(range(24), (20_000,))
    for a, b in itertools.combinations(masks, 2):
        assert abs(correlation(a, b, 0.25)) < SIGMAS
    for lag in (1, 2, 3, 4, 7, 8, 16, 64, 256, 1024, 4096):
        assert abs(correlation(masks[:, lag:], masks[:, :-lag], 0.25)) < SIGMAS
    shifted = correlation(masks[1:, 1:], masks[:-1, :-1], 0.25)  # the next place of the next one
    assert abs(shifted) < SIGMAS


def test_patterns_of_eight_neighbours_are_uniform_over_samples():
    """Chi-square of 256 patterns at p = 1/2: mean 255, standard deviation sqrt(2 * 255)."""
    bits = kept(range(5000), (8,), p=0.5).long()
    counts = (bits * 2 ** torch.arange(8)).sum(dim=1).bincount(minlength=256).double()
    chi_square = ((counts - 5000 / 256).square() / (5000 / 256)).sum().item()
    assert abs(chi_square - 255) < SIGMAS * math.sqrt(510)


def test_in_bf16_the_mask_is_the_same():
    pair = Pair(0.25)
    x = torch.randn(2, 10_000, dtype=torch.bfloat16) + 10
    with keyed_dropout(pair, 3, "stage/dropout", [5, 9]):
        found = pair.first(x)
    assert found.dtype == torch.bfloat16
    assert torch.equal(found != 0, kept([5, 9]))


def test_a_second_place_in_another_module_is_another_layer():
    pair = Pair(0.25)
    outer = nn.Sequential(pair)
    with keyed_dropout(pair, 3, "stage/dropout", [5]):
        inside = pair.first(torch.ones(1, 10_000)) != 0
    with keyed_dropout(outer, 3, "stage/dropout", [5]):
        assert abs(correlation(inside, pair.first(torch.ones(1, 10_000)) != 0, 0.25)) < SIGMAS
    assert torch.equal(inside, kept([5]))


def test_outside_it_is_pytorchs_own():
    pair, x = Pair(0.25), torch.randn(4, 100)
    with torch.random.fork_rng():
        with pytest.raises(ZeroDivisionError), keyed_dropout(pair, 0, "x", range(4)):
            raise ZeroDivisionError  # the keys are gone however the block ends
        torch.manual_seed(1)
        found = pair.first(x)
        torch.manual_seed(1)
        assert torch.equal(found, F.dropout(x, 0.25))


def test_evaluation_and_a_share_of_zero_are_the_identity():
    x = torch.randn(2, 100)
    for pair in (Pair(0.25).eval(), Pair(0.0)):
        assert pair.first(x) is x
        with keyed_dropout(pair, 0, "x", range(2)):
            assert pair.first(x) is x


def test_the_gradient_is_the_mask_recomputed_or_not():
    pair = Pair(0.25)
    weight = torch.randn(2, 10_000)
    gradients = []
    for recomputed in (False, True):
        x = torch.randn(2, 10_000, requires_grad=True)
        with keyed_dropout(pair, 3, "stage/dropout", [5, 9]):
            if recomputed:
                y = checkpoint(pair.first, x, use_reentrant=False, preserve_rng_state=False)
            else:
                y = pair.first(x)
            (y * weight).sum().backward()
        gradients.append(x.grad)
    assert torch.equal(gradients[0], kept([5, 9]) / torch.tensor(0.75) * weight)
    assert torch.equal(*gradients)


def unet_inputs(count):
    with torch.random.fork_rng():
        torch.manual_seed(1)
        x, context = torch.randn(count, 8, 2, 8, 8), torch.randn(count, 77 + 32, 32)
    return x, torch.arange(count) * 100, context, torch.arange(count) + 1


def test_a_unet_in_training_sees_the_sample_alone_and_no_global_randomness():
    config = AnimationConfig.from_dict(tree())
    assert config.unet.dropout == 0.1
    unet = build(tree()).unet.train()
    inputs = unet_inputs(3)
    state = torch.get_rng_state()
    with keyed_dropout(unet, 0, "x", [4, 5, 6]):
        together = unet(*inputs)
        together.square().mean().backward()
    assert torch.equal(torch.get_rng_state(), state)
    with torch.no_grad():
        with keyed_dropout(unet, 0, "x", [5]):
            alone = unet(*(value[1:2] for value in inputs))
        with keyed_dropout(unet, 0, "x", [7]):
            other = unet(*(value[1:2] for value in inputs))
    size = alone.abs().max()
    assert (together[1:2] - alone).abs().max() < 1e-5 * size
    assert (other - alone).abs().max() > 1e-2 * size
