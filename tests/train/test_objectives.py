"""The objectives: which conditions a sample gets, what is drawn for it, what its loss is."""

import dataclasses
import math

import pytest
import torch

from dynamicrafter.diffusion.objective import keep_ends, repeat_frame
from dynamicrafter.draws import BatchDraws
from dynamicrafter.errors import InputError
from tests.train.noise_clips import FRAMES, batch_of, objective
from tests.train.validating import build
from train.objectives import KL_WEIGHT, Reconstruction, predict, to_video

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def model():
    return build().eval()


@pytest.fixture(scope="module")
def image_model():
    return build(frames=1, temporal=False, in_channels=4).eval()


def draws_of(batch, seed=0, stream="joint"):
    return BatchDraws(seed, stream, batch.numbers)


def encode(model, goal, batch):
    return goal.encode(model, batch, draws_of(batch))


def drawn_for(model, goal, count):
    """The draws of the first numbers, without encoding: they need the latents' shape alone."""
    z = torch.zeros(count, 1, 1, 1, 1)
    encoded = dataclasses.replace(encode(model, goal, batch_of(0)), z=z)
    return goal.draw(model, encoded, BatchDraws(0, "joint", range(count)))


def test_frames_become_values_between_minus_one_and_one():
    frames = torch.zeros(2, 3, 4, 5, 3, dtype=torch.uint8)
    frames[0, 1, 2, 3, 0] = 255
    video = to_video(frames, torch.device("cpu"))
    assert video.shape == (2, 3, 3, 4, 5)
    assert video[0, 0, 1, 2, 3] == 1
    assert video.sum() == 1 - (video.numel() - 1)


def test_the_condition_frame_is_drawn_for_each_sample(model):
    batch = batch_of(*range(8))
    encoded = encode(model, objective(), batch)
    index = draws_of(batch).integers("condition_frame", 0, FRAMES)
    assert len(set(index.tolist())) > 1
    assert torch.equal(encoded.condition, repeat_frame(encoded.z, index))
    video = to_video(batch.frames, torch.device("cpu"))
    images = torch.stack([video[row, :, i] for row, i in enumerate(index)])
    assert torch.equal(encoded.features, model.image_features(images))


def test_condition_frames_are_uniform():
    index = BatchDraws(0, "joint", range(4000)).integers("condition_frame", 0, FRAMES)
    counts = index.bincount(minlength=FRAMES)
    assert (counts - 1000).abs().max() < 4.5 * math.sqrt(4000 * 0.25 * 0.75)


def test_first_is_always_frame_zero(model):
    batch = batch_of(*range(4))
    encoded = encode(model, objective(condition_frame="first"), batch)
    assert torch.equal(encoded.condition, encoded.z[:, :, :1].expand_as(encoded.z))
    video = to_video(batch.frames, torch.device("cpu"))
    assert torch.equal(encoded.features, model.image_features(video[:, :, 0]))


@pytest.mark.parametrize("condition_frame", ["random", "first"])
def test_interpolation_knows_the_ends_and_sees_the_first_frame(model, condition_frame):
    batch = batch_of(*range(4))
    goal = objective(interpolation=True, condition_frame=condition_frame)
    encoded = encode(model, goal, batch)
    assert torch.equal(encoded.condition, keep_ends(encoded.z))
    assert torch.equal(encoded.condition[:, :, 0], encoded.z[:, :, 0])
    assert torch.equal(encoded.condition[:, :, -1], encoded.z[:, :, -1])
    assert encoded.condition[:, :, 1:-1].abs().sum() == 0
    video = to_video(batch.frames, torch.device("cpu"))
    assert torch.equal(encoded.features, model.image_features(video[:, :, 0]))


def test_no_image_is_the_grey_one_and_no_text_the_empty_prompt(model):
    encoded = encode(model, objective(), batch_of(0, 1))
    assert torch.equal(encoded.no_features, model.image_features(torch.zeros(1, 3, 16, 16)))
    assert torch.equal(encoded.no_text, model.encode_prompts([""]))
    texts = [model.encode_prompts([f"square {n} moves"]) for n in (0, 1)]
    assert torch.equal(encoded.text, torch.cat(texts))


def test_fs_is_the_stride_or_the_frames_per_second(model):
    batch = batch_of(0, 1, 2, 3)
    assert encode(model, objective(fs="stride"), batch).speed.tolist() == [1, 2, 3, 4]
    assert encode(model, objective(fs="fps"), batch).speed.tolist() == [24, 12, 8, 6]


def test_an_image_model_has_neither_fs_nor_condition_latents(image_model):
    encoded = encode(image_model, objective(), batch_of(0, 1, frames=1))
    assert encoded.speed is None
    assert encoded.condition is None
    assert encoded.features is not None


def test_a_model_without_image_stream_has_no_features():
    model = build(image_context="none").eval()
    encoded = encode(model, objective(), batch_of(0))
    assert encoded.features is encoded.no_features is None
    assert encoded.condition is not None


def test_latents_are_sampled_by_the_samples_own_noise(model):
    batch = batch_of(3, 8)
    encoded = encode(model, objective(), batch)
    shape = model.latent_shape(FRAMES, 16, 16)
    noise = draws_of(batch).normal("posterior", shape)
    for row in range(2):
        for frame in range(FRAMES):
            image = to_video(batch.frames, torch.device("cpu"))[row : row + 1, :, frame]
            mean, logvar = model.first_stage_model.moments(image)
            expected = mean + (logvar / 2).exp() * noise[row : row + 1, :, frame]
            found = encoded.z[row, :, frame] / model.config.scale_factor
            assert torch.allclose(found, expected[0], atol=1e-5)


def test_conditions_are_dropped_by_five_percent_each(model):
    """One uniform number decides: [0, 5) text, [5, 10) both, [10, 15) image, in percent."""
    count = 10_000
    drawn = drawn_for(model, objective(), count)
    text, image = drawn.drop_text, drawn.drop_image
    for which in (text & ~image, text & image, image & ~text):
        assert abs(which.sum() - 0.05 * count) < 4.5 * math.sqrt(count * 0.05 * 0.95)
    u = BatchDraws(0, "joint", range(count)).uniform("drop")
    assert torch.equal(text, u < 0.1)
    assert torch.equal(image, (u >= 0.05) & (u < 0.15))


def test_nothing_is_dropped_at_zero_and_something_always_at_a_third(model):
    none = drawn_for(model, objective(drop_conditions=0.0), 500)
    assert not (none.drop_text | none.drop_image).any()
    always = drawn_for(model, objective(drop_conditions=1 / 3), 500)
    assert (always.drop_text | always.drop_image).all()


def test_timesteps_cover_the_schedule_uniformly(model):
    timesteps = drawn_for(model, objective(), 10_000).timesteps
    assert (timesteps.min(), timesteps.max()) == (0, 999)
    counts = (timesteps // 100).bincount(minlength=10)
    assert (counts - 1000).abs().max() < 4.5 * math.sqrt(10_000 * 0.1 * 0.9)


def test_noise_is_standard_normal_and_apart_from_the_posterior(model):
    encoded = encode(model, objective(), batch_of(*range(64)))
    chance = BatchDraws(0, "joint", range(64))
    noise = objective().draw(model, encoded, chance).noise.double()
    deviation = 1 / math.sqrt(noise.numel())
    assert abs(noise.mean()) < 4.5 * deviation
    assert abs(noise.square().mean() - 1) < 4.5 * math.sqrt(2) * deviation
    posterior = chance.normal("posterior", tuple(noise.shape[1:]))
    assert abs((noise * posterior).mean()) < 4.5 * deviation


def test_draws_do_not_depend_on_the_batch_around(model):
    goal = objective(drop_conditions=0.3)
    batch = batch_of(7, 3, 11, 5)
    together = goal.draw(model, encode(model, goal, batch), draws_of(batch))
    for row, number in enumerate(batch.numbers):
        alone = batch_of(number)
        drawn = goal.draw(model, encode(model, goal, alone), draws_of(alone))
        for field in dataclasses.fields(drawn):
            values = [getattr(found, field.name) for found in (together, drawn)]
            assert torch.equal(values[0][row], values[1][0]), field.name


@pytest.mark.parametrize("other", [{"seed": 1}, {"stream": "adapt"}])
def test_another_seed_or_stage_draws_otherwise(model, other):
    batch = batch_of(0, 1, 2)
    encoded = encode(model, objective(), batch)
    first = objective().draw(model, encoded, draws_of(batch))
    second = objective().draw(model, encoded, draws_of(batch, **other))
    assert not torch.equal(first.timesteps, second.timesteps)
    assert (first.noise == second.noise).float().mean() < 0.01


def with_drops(drawn, text, image):
    flags = {"drop_text": torch.tensor(text), "drop_image": torch.tensor(image)}
    return dataclasses.replace(drawn, **flags)


def test_what_is_dropped_is_out_of_the_prediction_and_the_latents_never_are(model):
    """Row by row: nothing, text, image, both; a changed input shows exactly where it counts."""
    goal, batch = objective(), batch_of(0, 1, 2, 3)
    encoded = encode(model, goal, batch)
    drawn = goal.draw(model, encoded, draws_of(batch))
    drawn = with_drops(drawn, [False, True, False, True], [False, False, True, True])

    @torch.no_grad()
    def moved(**changes):
        before, _ = predict(model, encoded, drawn)
        after, _ = predict(model, dataclasses.replace(encoded, **changes), drawn)
        return ((after - before).flatten(1).abs().amax(dim=1) > 1e-6).tolist()

    assert moved(text=encoded.text + 1) == [True, False, True, False]
    assert moved(no_text=encoded.no_text + 1) == [False, True, False, True]
    assert moved(features=encoded.features + 1) == [True, True, False, False]
    assert moved(no_features=encoded.no_features + 1) == [False, False, True, True]
    assert moved(condition=encoded.condition + 1) == [True] * 4
    assert moved(speed=encoded.speed + 5) == [True] * 4


def test_the_mean_loss_is_the_same_whichever_the_microbatches(model):
    goal = objective(drop_conditions=0.3)
    numbers = (4, 5, 6, 7, 8, 9)

    @torch.no_grad()
    def losses(*parts):
        found = []
        for part in parts:
            batch = batch_of(*part)
            encoded = encode(model, goal, batch)
            drawn = goal.draw(model, encoded, draws_of(batch))
            found.append(goal.losses(model, encoded, drawn))
        return torch.cat(found)

    together = losses(numbers)
    assert together.shape == (6,)
    for parts in ([numbers[:2], numbers[2:]], [(n,) for n in numbers]):
        assert torch.allclose(losses(*parts), together, rtol=1e-4)


def test_the_loss_is_the_mean_squared_error_to_the_target(model):
    batch = batch_of(1, 2)
    encoded = encode(model, objective(), batch)
    drawn = objective().draw(model, encoded, draws_of(batch))
    with torch.no_grad():
        prediction, target = predict(model, encoded, drawn)
        found = objective().losses(model, encoded, drawn)
    for row in range(2):
        error = (prediction[row] - target[row]).double().square().mean()
        assert found[row].item() == pytest.approx(error.item(), rel=1e-5)


def test_gradients_reach_unet_and_projection_and_nothing_frozen(model):
    batch = batch_of(1, 2)
    encoded = encode(model, objective(), batch)
    assert not any(getattr(encoded, f.name).requires_grad for f in dataclasses.fields(encoded))
    drawn = objective().draw(model, encoded, draws_of(batch))
    objective().losses(model, encoded, drawn).sum().backward()
    found = {name for name, parameter in model.named_parameters() if parameter.grad is not None}
    trained = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert found == trained
    model.zero_grad(set_to_none=True)


def test_reconstruction_in_closed_form(model):
    goal, batch = Reconstruction(), batch_of(1, 2)
    encoded = goal.encode(model, batch, draws_of(batch))
    noise = goal.draw(model, encoded, draws_of(batch))
    shape = model.latent_shape(FRAMES, 16, 16)
    assert torch.equal(noise.transpose(1, 2), draws_of(batch).normal("posterior", shape))
    with torch.no_grad():
        found = goal.losses(model, encoded, noise)
        for row in range(2):
            terms = []
            for image, chance in zip(encoded[row], noise[row], strict=True):
                mean, logvar = model.first_stage_model.moments(image[None])
                posterior = torch.distributions.Normal(mean.double(), (logvar / 2).exp().double())
                prior = torch.distributions.Normal(torch.zeros_like(mean).double(), 1.0)
                divergence = torch.distributions.kl_divergence(posterior, prior).sum()
                decoded = model.first_stage_model.decode(mean + (logvar / 2).exp() * chance[None])
                error = (decoded[0] - image).double().square().mean()
                terms.append(error + KL_WEIGHT * divergence)
            assert found[row].item() == pytest.approx(torch.stack(terms).mean().item(), rel=1e-4)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"condition_frame": "last"}, r"condition_frame is 'last'; choose random, first"),
        ({"drop_conditions": -0.1}, r"drop_conditions is -0\.1; choose 0 to 1/3"),
        ({"drop_conditions": 0.34}, r"drop_conditions is 0\.34; choose 0 to 1/3"),
        ({"drop_conditions": math.nan}, r"drop_conditions is nan"),
        ({"fs": "frames"}, r"fs is 'frames'; choose stride, fps"),
    ],
)
def test_settings_that_cannot_be_are_refused(changes, message):
    with pytest.raises(InputError, match=message):
        objective(**changes)
