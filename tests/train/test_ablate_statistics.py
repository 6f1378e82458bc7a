"""The bootstrap against closed forms, and losses of arms made of known effects."""

import numpy as np
import pytest

from dynamicrafter.errors import InputError
from dynamicrafter.statistics import bootstrap_interval, bootstrap_means
from train.ablation.paired import losses_of

CLIPS = [f"clip-{i:02d}" for i in range(12)]
STRATA = 2


def test_the_means_of_a_sample_scatter_as_its_own_variance_says():
    values = np.random.default_rng(0).normal(5, 2, 40)
    means = bootstrap_means(values, 0, "x", 40_000)
    assert means.mean() == pytest.approx(values.mean(), abs=0.01)
    assert means.std() == pytest.approx(values.std() / 40**0.5, rel=0.02)


def test_rows_and_columns_add_their_variances():
    """Of a row effect plus a column effect the variance is known: that of each over its count."""
    chance = np.random.default_rng(1)
    rows, columns = chance.normal(size=5), chance.normal(size=30)
    means = bootstrap_means(rows[:, None] + columns, 0, "x", 40_000)
    assert means.std() ** 2 == pytest.approx(rows.var() / 5 + columns.var() / 30, rel=0.03)


def test_a_single_row_is_a_plain_sample_and_a_single_value_does_not_scatter():
    values = np.arange(6.0)
    assert np.array_equal(bootstrap_means(values, 0, "x"), bootstrap_means(values[None], 0, "x"))
    assert np.ptp(bootstrap_means([3.0], 0, "x")) == 0


def test_the_interval_of_a_large_sample_is_that_of_the_normal_law():
    values = np.random.default_rng(2).normal(size=400)
    found = bootstrap_interval(float(values.mean()), bootstrap_means(values, 3, "x", 40_000))
    reach = 1.959964 * values.std() / 400**0.5
    assert found.low == pytest.approx(values.mean() - reach, abs=0.003)
    assert found.high == pytest.approx(values.mean() + reach, abs=0.003)
    assert found.standard_error == pytest.approx(values.std() / 400**0.5, rel=0.02)


def test_draws_are_a_function_of_seed_and_name():
    values = np.arange(20.0)
    one = bootstrap_means(values, 0, "x")
    assert np.array_equal(one, bootstrap_means(values, 0, "x"))
    for other in (bootstrap_means(values, 1, "x"), bootstrap_means(values, 0, "y")):
        assert abs(np.corrcoef(one, other)[0, 1]) < 0.05


@pytest.mark.parametrize("values", [[], np.zeros((2, 0)), np.zeros((2, 2, 2))])
def test_what_has_no_mean_is_refused(values):
    with pytest.raises(InputError, match=r"a bootstrap needs values"):
        bootstrap_means(values, 0, "x")


def rows(arm, seeds, modes=("full", "no_text", "no_image"), slope=0.0, noise=0.0):
    """Rows whose loss is a clip's effect, a seed's, the arm's, and a slope over the timesteps."""
    chance = np.random.default_rng(7)
    clip_effects = chance.normal(size=len(CLIPS))
    luck = np.random.default_rng([8, abs(round(1000 * arm))])
    return {
        seed: [
            {
                "key": key,
                "number": i,
                "stratum": stratum,
                "timestep": 10 + stratum,
                "mode": mode,
                "loss": 3 + clip_effects[i] + 0.5 * seed + arm + slope * stratum
                + noise * luck.normal(),
                "attention": {},
            }
            for i, key in enumerate(CLIPS)
            for stratum in range(STRATA)
            for mode in modes
        ]
        for seed in seeds
    }  # fmt: skip


def test_the_effects_of_clips_and_seeds_cancel_in_pairs_and_in_nothing_else():
    found = losses_of("x", rows(-0.1, [0, 1]), rows(0.0, [0, 1]), seed=0)
    assert [loss.mode for loss in found] == ["full", "no_text", "no_image"]
    gap = found[0].difference
    assert (gap.value, gap.low, gap.high) == pytest.approx((-0.1, -0.1, -0.1))
    assert gap.unpaired_low < -0.5
    assert gap.unpaired_high > 0.3
    assert (gap.clips, gap.seeds) == (12, [0, 1])
    assert found[0].by_seed == pytest.approx([-0.1, -0.1])


def test_the_unpaired_interval_has_the_variances_of_both():
    """Both samples are equal but for a constant: twice the variance of one mean."""
    own = rows(0.0, [0])
    gap = losses_of("x", rows(0.2, [0]), own, seed=0)[0].difference
    clips = np.array([row["loss"] for row in own[0] if row["mode"] == "full"])[::STRATA]
    reach = 1.96 * (2 * clips.var() / len(clips)) ** 0.5
    assert (gap.unpaired_high - gap.unpaired_low) / 2 == pytest.approx(reach, rel=0.03)


def test_noise_of_an_arm_widens_the_paired_interval_too_but_less():
    gap = losses_of("x", rows(0.1, [0, 1], noise=0.2), rows(0.0, [0, 1], noise=0.2), 0)[0]
    paired = gap.difference.high - gap.difference.low
    assert 0 < paired < (gap.difference.unpaired_high - gap.difference.unpaired_low) / 2


def test_slices_of_the_timesteps_tell_where_the_difference_lies():
    found = losses_of("x", rows(0.0, [0], slope=0.4), rows(0.0, [0]), seed=0)[0]
    assert [(one.first, one.end) for one in found.slices] == [(0, 500), (500, 1000)]
    assert [one.difference.value for one in found.slices] == pytest.approx([0.0, 0.4], abs=1e-12)
    assert found.difference.value == pytest.approx(0.2)


def test_the_baseline_has_no_difference():
    found = losses_of("full", rows(0.0, [0]), None, seed=0)
    assert {loss.difference for loss in found} == {None}
    expected = np.mean([row["loss"] for row in rows(0.0, [0])[0]])
    assert found[0].loss.value == pytest.approx(expected)


def test_modes_that_an_arm_lacks_are_left_out():
    found = losses_of("wo_ctx", rows(0.3, [0], modes=("full", "no_text")), rows(0.0, [0]), 0)
    assert [loss.mode for loss in found] == ["full", "no_text"]
    assert found[0].difference.value == pytest.approx(0.3)


def test_seeds_are_paired_where_both_have_them():
    found = losses_of("x", rows(0.1, [0, 2]), rows(0.0, [2, 3]), seed=0)[0]
    assert found.difference.seeds == [2]
    assert found.difference.value == pytest.approx(0.1)


def test_what_cannot_be_paired_is_refused():
    with pytest.raises(InputError, match=r"x and the baseline have no seed in common"):
        losses_of("x", rows(0.0, [1]), rows(0.0, [0]), 0)
    other = rows(0.0, [0])
    other[0] = [{**row, "timestep": row["timestep"] + 1} for row in other[0]]
    with pytest.raises(InputError, match=r"have no partner"):
        losses_of("x", other, rows(0.0, [0]), 0)
