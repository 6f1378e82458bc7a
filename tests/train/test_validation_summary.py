"""Rows to scalars and to paired differences: known values."""

import math

import numpy as np
import pytest

from dynamicrafter.errors import InputError
from tests.train.validating import build
from train.validation import (
    LossRow,
    VideoSample,
    gate_scalars,
    loss_intervals,
    motion_scalars,
    paired_difference,
    summarise,
)

T_TWO_DEGREES = 4.302652729911275  # 97.5 % point of Student's distribution, 2 degrees of freedom
BASE = [1.0, 2.0, 6.0]  # loss of each clip


def rows_of(base, shift=lambda clip, stratum, mode: 0.0):
    """Clips 0, 1, …, two strata (+0.1 for the second), modes full and none (+1)."""
    return [
        LossRow(
            key=f"clip-{clip}",
            number=clip,
            stratum=stratum,
            timestep=500 * stratum + clip,
            mode=mode,
            loss=loss + 0.1 * stratum + (mode == "none") + shift(clip, stratum, mode),
            attention={"middle_block": loss} if mode == "full" else {},
        )
        for clip, loss in enumerate(base)
        for stratum in (0, 1)
        for mode in ("full", "none")
    ]


def video(motion, real):
    return VideoSample("a", "a.mp4", "a boat", motion, real, may_be_passed_on=False)


def test_scalars_are_means_over_clips_with_students_interval():
    scalars = summarise(rows_of(BASE))
    reach = T_TWO_DEGREES * math.sqrt(7.0 / 3)  # the variance of 1, 2, 6 is 7
    expected = {
        "validation/loss": 3.55,
        "validation/low": 3.55 - reach,
        "validation/high": 3.55 + reach,
        "validation/loss/full": 3.05,
        "validation/low/full": 3.05 - reach,
        "validation/high/full": 3.05 + reach,
        "validation/loss/none": 4.05,
        "validation/low/none": 4.05 - reach,
        "validation/high/none": 4.05 + reach,
        "validation/stratum-0/full": 3.0,
        "validation/stratum-1/full": 3.1,
        "validation/stratum-0/none": 4.0,
        "validation/stratum-1/none": 4.1,
        "attention/middle_block/image_to_text": 3.0,
    }
    assert scalars == pytest.approx(expected)


def test_scalars_do_not_depend_on_the_order_of_the_rows():
    rows = rows_of(BASE)
    shuffled = [rows[i] for i in np.random.default_rng(0).permutation(len(rows))]
    assert summarise(shuffled) == pytest.approx(summarise(rows))


def test_two_windows_of_a_clip_are_one_value():
    rows = [{**row, "key": "clip-0"} if row["number"] == 1 else row for row in rows_of(BASE)]
    interval = loss_intervals(rows)["full"]
    assert interval.value == pytest.approx((1.5 + 6.0) / 2 + 0.05)
    with pytest.raises(InputError, match="needs a list of 2 values"):
        loss_intervals(rows_of(BASE[:1]))


def test_a_paired_difference_of_known_value():
    """Differences 1, 2, 3 of the clips: mean 2, standard error 1/sqrt(3)."""
    after = rows_of(BASE, lambda clip, stratum, mode: clip + 1 + (0.5 if stratum else -0.5))
    interval = paired_difference(rows_of(BASE), after[::-1])
    assert interval.value == pytest.approx(2.0)
    assert interval.standard_error == pytest.approx(1 / math.sqrt(3))
    assert interval.high - interval.value == pytest.approx(T_TWO_DEGREES / math.sqrt(3))
    assert interval.value - interval.low == pytest.approx(T_TWO_DEGREES / math.sqrt(3))


def test_a_small_gain_on_every_clip_shows_in_the_pairs_alone():
    after = rows_of(BASE, lambda clip, stratum, mode: -0.01 - 0.001 * clip)
    paired = paired_difference(rows_of(BASE), after)
    assert paired.high < 0
    before, alone = (loss_intervals(rows)["all"] for rows in (rows_of(BASE), after))
    assert alone.high > before.low


@pytest.mark.parametrize("change", [{"timestep": 9}, {"key": "x"}, {"mode": "no_text"}])
def test_rows_that_are_no_pairs_are_refused(change):
    before, after = rows_of(BASE), rows_of(BASE)
    after[5] = {**after[5], **change}
    with pytest.raises(InputError, match=r"2 validation rows have no partner, such as clip "):
        paired_difference(before, after)
    with pytest.raises(InputError, match=r"1 validation rows have no partner, such as clip clip-2"):
        paired_difference(before, before[:-1])


def test_gates_of_a_new_model_are_one():
    model = build()
    layers = ["input_blocks.3", "middle_block", "output_blocks.0", "output_blocks.1"]
    assert list(gate_scalars(model.unet)) == [f"gates/{layer}" for layer in layers]
    alpha = model.unet.middle_block["1"].transformer_blocks[0].attn2.alpha
    alpha.data.fill_(0.5)
    assert gate_scalars(model.unet)["gates/middle_block"] == pytest.approx(1 + math.tanh(0.5))
    assert gate_scalars(build(image_context="none").unet) == {}


def test_motion_is_compared_with_that_of_the_real_windows():
    scalars = motion_scalars([video(0.01, 0.2), video(0.03, 0.6)])
    expected = {
        "validation/motion": 0.02,
        "validation/motion_real": 0.4,
        "validation/motion_ratio": 0.05,
        "validation/still": 1.0,
    }
    assert scalars == pytest.approx(expected)
    assert motion_scalars([video(0.05, 0.4)])["validation/still"] == 0.0


def test_without_videos_or_real_motion_there_is_no_ratio():
    assert motion_scalars([]) == {}
    assert set(motion_scalars([video(0.1, 0.0)])) == {"validation/motion", "validation/motion_real"}
