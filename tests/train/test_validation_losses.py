"""Fixed losses: functions of clip and seed alone, and conditions that are really dropped."""

import dataclasses

import numpy as np
import pytest
import torch

from dynamicrafter.animate import Sampling
from dynamicrafter.diffusion.objective import sample_losses, training_pair
from dynamicrafter.draws import BatchDraws
from dynamicrafter.errors import InputError
from dynamicrafter.model.gates import gated_attentions
from tests.train.validating import DIFFUSION, build, fixed_clips
from train.data import ClipWindows
from train.validation import STREAM, FixedClip, Validation, validation_losses
from train.validation.clips import joined, share_of
from train.validation.losses import stratum_bounds

pytestmark = pytest.mark.usefixtures("one_thread")

SETTINGS = Validation(clips=3, strata=2, batch=2, seed=7, samples=2)
ROWS = 3 * 2 * 4


@pytest.fixture(scope="module")
def model():
    return build()


@pytest.fixture(scope="module")
def fixed(shards):
    return fixed_clips(shards, SETTINGS)


@pytest.fixture(scope="module")
def rows(model, fixed):
    return validation_losses(model, DIFFUSION, fixed, SETTINGS)


def identity(row):
    return row["number"], row["stratum"], row["mode"]


def assert_equal_rows(found, expected):
    """The same clips, noise and timesteps; losses up to rounding."""
    found, expected = (sorted(rows, key=identity) for rows in (found, expected))
    assert [(identity(r), r["key"], r["timestep"]) for r in found] == [
        (identity(r), r["key"], r["timestep"]) for r in expected
    ]
    assert np.allclose([r["loss"] for r in found], [r["loss"] for r in expected], rtol=1e-5)
    for a, b in zip(found, expected, strict=True):
        assert a["attention"] == pytest.approx(b["attention"], rel=1e-4)


def test_there_is_a_row_for_every_clip_stratum_and_mode(rows, fixed):
    keys = {clip.batch.numbers[0]: clip.batch.keys[0] for clip in fixed}
    modes = ("full", "no_text", "no_image", "none")
    expected = {(n, k, mode) for n in range(3) for k in range(2) for mode in modes}
    assert len(rows) == ROWS
    assert {identity(row) for row in rows} == expected
    assert all(row["key"] == keys[row["number"]] for row in rows)


def test_timesteps_lie_in_their_strata_and_are_shared_by_the_modes(rows):
    for row in rows:
        low, high = stratum_bounds(row["stratum"], SETTINGS.strata)
        assert low <= row["timestep"] < high
    assert len({(r["number"], r["stratum"], r["timestep"]) for r in rows}) == 3 * 2
    assert len({row["timestep"] for row in rows}) == 3 * 2  # drawn, not one for all clips


@pytest.mark.parametrize("strata", [1, 3, 7, 1000])
def test_strata_tile_the_timesteps(strata):
    bounds = [stratum_bounds(k, strata) for k in range(strata)]
    assert [t for low, high in bounds for t in range(low, high)] == list(range(1000))


def test_a_row_agrees_with_the_loss_taken_step_by_step(model, fixed, rows):
    """Mode none of one clip: noised by hand, and predicted with the conditions of nothing."""
    row = next(r for r in rows if identity(r) == (2, 1, "none"))
    chance = BatchDraws(SETTINGS.seed, STREAM, [2])
    model.eval()
    with torch.no_grad():
        encoded = DIFFUSION.encode(model, fixed[2].batch, chance)
        t = torch.tensor([row["timestep"]])
        noise = chance.normal("noise-1", tuple(encoded.z.shape[1:]))
        noisy, target = training_pair(model.schedule, encoded.z, t, noise)
        blank = model.image_tokens(model.image_features(torch.zeros(1, 3, 16, 16)))
        context = torch.cat([model.encode_prompts([""]), blank], dim=1)
        x = torch.cat([noisy, encoded.condition], dim=1)
        prediction = model.unet(x, t, context, fixed[2].batch.frame_stride)
    assert row["loss"] == pytest.approx(float(sample_losses(prediction, target)), rel=1e-5)


@pytest.mark.parametrize("batch", [1, 3, 8])
def test_losses_do_not_depend_on_the_batch(model, fixed, rows, batch):
    settings = dataclasses.replace(SETTINGS, batch=batch)
    assert_equal_rows(validation_losses(model, DIFFUSION, fixed, settings), rows)


@pytest.mark.parametrize("ranks", [2, 5])
def test_losses_do_not_depend_on_the_ranks_which_make_equally_many_passes(
    model, fixed, rows, ranks
):
    found, passes = [], []
    hook = model.unet.register_forward_pre_hook(lambda *_: passes.append(rank))
    for rank in range(ranks):
        found += validation_losses(model, DIFFUSION, fixed, SETTINGS, (rank, ranks))
    hook.remove()
    assert_equal_rows(found, rows)
    assert len({passes.count(rank) for rank in range(ranks)}) == 1


def test_a_second_look_gives_the_same_rows_and_another_seed_others(model, fixed, rows):
    assert validation_losses(model, DIFFUSION, fixed, SETTINGS) == rows
    other = dataclasses.replace(SETTINGS, seed=8)
    changed = validation_losses(model, DIFFUSION, fixed[:2], other)  # the first batch
    assert all(a["loss"] != b["loss"] for a, b in zip(changed, rows[:16], strict=True))


def differing_modes(model, rows, fixed, objective=DIFFUSION):
    found = validation_losses(model, objective, fixed, SETTINGS)
    pairs = zip(found, rows, strict=True)
    return {a["mode"] for a, b in pairs if not np.isclose(a["loss"], b["loss"], rtol=1e-6)}


def test_the_caption_reaches_the_modes_that_keep_it_and_no_other(model, fixed, rows):
    renamed = [
        FixedClip(dataclasses.replace(clip.batch, captions=["a very different thing"]), False)
        for clip in fixed
    ]
    assert differing_modes(model, rows, renamed) == {"full", "no_image"}


@dataclasses.dataclass(frozen=True)
class OtherImage(type(DIFFUSION)):
    """The CLIP image is another one; the condition latents stay."""

    def encode(self, model, batch, chance):
        encoded = super().encode(model, batch, chance)
        return dataclasses.replace(encoded, features=-encoded.features)


def test_the_image_reaches_the_modes_that_keep_it_and_no_other(model, fixed, rows):
    objective = OtherImage("random", 0.05, "stride")
    assert differing_modes(model, rows, fixed, objective) == {"full", "no_text"}


def test_a_model_without_image_stream_has_no_image_modes(fixed):
    model = build(image_context="none")
    rows = validation_losses(model, DIFFUSION, fixed, SETTINGS)
    assert {row["mode"] for row in rows} == {"full", "no_text"}
    assert all(row["attention"] == {} for row in rows)


def test_an_image_model_is_measured_too(shards):
    model = build(frames=1, temporal=False, in_channels=4)
    rows = validation_losses(model, DIFFUSION, fixed_clips(shards, SETTINGS, frames=1), SETTINGS)
    assert len(rows) == ROWS


def test_attention_is_recorded_with_both_conditions_alone(model, rows):
    layers = set(gated_attentions(model.unet))
    for row in rows:
        assert set(row["attention"]) == (layers if row["mode"] == "full" else set())
        assert all(0 < ratio < 100 for ratio in row["attention"].values())


def test_nothing_is_left_changed(model, fixed, rows):
    model.train()
    model.cond_stage_model.eval()
    modes = {name: module.training for name, module in model.named_modules()}
    torch.manual_seed(3)
    np.random.seed(3)
    states = torch.get_rng_state(), np.random.get_state()[1].copy()
    found = validation_losses(model, DIFFUSION, fixed[:2], SETTINGS)
    assert found == rows[:16]  # dropout was off
    assert torch.equal(torch.get_rng_state(), states[0])
    assert np.array_equal(np.random.get_state()[1], states[1])
    assert {name: module.training for name, module in model.named_modules()} == modes
    assert {a.gate_factor for a in gated_attentions(model.unet).values()} == {1.0}
    assert all(p.grad is None for p in model.parameters())


def test_an_error_puts_the_modes_back(model, fixed):
    model.train()
    with pytest.raises(AttributeError):
        validation_losses(model, None, fixed, SETTINGS)
    assert model.training
    assert model.unet.training


def test_autocast_of_the_caller_is_used(model, fixed, rows):
    with torch.autocast("cpu", torch.bfloat16):
        lowered = validation_losses(model, DIFFUSION, fixed[:1], SETTINGS)
    first, second = (np.array([row["loss"] for row in found if row["number"] == 0])
                     for found in (lowered, rows))  # fmt: skip
    assert not np.array_equal(first, second)
    assert np.allclose(first, second, rtol=0.05)


def test_fixed_clips_are_the_first_of_their_stream(fixed):
    assert [clip.batch.numbers for clip in fixed] == [[n] for n in range(3)]
    assert len({clip.batch.keys[0] for clip in fixed}) == 3
    together = joined(fixed[1:])
    assert together.numbers == [1, 2]
    assert together.frames.shape == (2, 4, 16, 16, 3)
    assert torch.equal(together.fps, torch.cat([clip.batch.fps for clip in fixed[1:]]))
    assert together.captions == [clip.batch.captions[0] for clip in fixed[1:]]


def test_one_clip_alone_is_refused(shards, monkeypatch):
    real = ClipWindows.__getitem__
    monkeypatch.setattr(ClipWindows, "__getitem__", lambda self, n: {**real(self, 0), "number": n})
    with pytest.raises(InputError, match=r"all 3 windows are of the clip clip-\d\d; "):
        fixed_clips(shards, SETTINGS)


@pytest.mark.parametrize(
    ("count", "ranks", "expected"),
    [
        (5, 2, [[(0, True), (2, True), (4, True)], [(1, True), (3, True), (0, False)]]),
        (1, 3, [[(0, True)], [(0, False)], [(0, False)]]),
        (0, 2, [[], []]),
    ],
)
def test_shares(count, ranks, expected):
    assert [share_of(count, (rank, ranks)) for rank in range(ranks)] == expected


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"clips": 1}, "validate.clips is 1; choose at least 2"),
        ({"strata": 0}, "validate.strata is 0; choose 1 to 1000"),
        ({"samples": 4}, "validate.samples is 4; choose 0 to 3"),
        ({"every": -1}, "validate.every is -1; choose at least 0"),
        (
            {"sampling": Sampling(fs=0)},
            "validate.sampling.fs is 0; choose at least 1, or null",
        ),
    ],
)
def test_settings_without_meaning_are_refused(changes, said):
    with pytest.raises(InputError) as caught:
        dataclasses.replace(SETTINGS, **changes)
    assert str(caught.value) == said
