"""The sampler as people call it: items that do not depend on their neighbours, honest refusals."""

import dataclasses

import numpy as np
import pytest
import torch
from PIL import Image

from dynamicrafter.animate import Animator, Sampling
from dynamicrafter.errors import InputError
from dynamicrafter.items import Item
from dynamicrafter.model import pretrained
from dynamicrafter.model.animation import AnimationConfig, AnimationModel
from tests.train.conftest import SMALL_MODEL

QUICK = Sampling(steps=4, guidance_scale=2.0, fs=3)


def build(**unet):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        config = {**SMALL_MODEL, "unet": {**SMALL_MODEL["unet"], **unet}}
        model = AnimationModel(AnimationConfig.from_dict(config)).eval().requires_grad_(False)
        for parameter in model.parameters():  # the zero layers at initialisation hide differences
            parameter.add_(0.02 * torch.randn_like(parameter))
    return model


@pytest.fixture(scope="module")
def animator():
    return Animator(build())


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(0).integers(0, 255, (3, 16, 16, 3), dtype=np.uint8)


def change(sampling, **changes):
    return dataclasses.replace(sampling, **changes)


def difference(a, b):
    return np.abs(a.astype(int) - b).max()


@pytest.mark.parametrize("image_guidance", [None, 1.5])
def test_an_item_does_not_depend_on_its_neighbours(animator, images, image_guidance):
    sampling = change(QUICK, image_guidance=image_guidance)
    pairs = zip("abc", images, ("one", "two", "three"), strict=True)
    items = [Item(key, image, prompt) for key, image, prompt in pairs]
    together = animator.batch(items, sampling)
    assert together.shape == (3, 4, 16, 16, 3)
    assert difference(together[1], animator.batch(items[1:2], sampling)[0]) <= 1  # rounding
    assert difference(together[0], together[1]) > 10


def test_every_condition_reaches_the_result(animator, images):
    base = animator(images[0], "one", QUICK)
    assert base.shape == (4, 16, 16, 3)
    assert np.array_equal(base, animator(images[0], "one", QUICK))
    others = [
        animator(images[1], "one", QUICK),
        animator(images[0], "another sentence", QUICK),
        animator(images[0], "one", QUICK, key="b"),
        animator(images[0], "one", change(QUICK, seed=9)),
        animator(images[0], "one", change(QUICK, fs=1)),
        animator(images[0], "one", change(QUICK, gates={"all": 0.0})),
    ]
    assert all(not np.array_equal(base, other) for other in others)


def test_images_of_any_size_come_in_by_a_rule(animator, tmp_path):
    noise = np.random.default_rng(1).integers(0, 255, (40, 90, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "a.png")
    cropped = animator(tmp_path / "a.png", "one", QUICK)
    assert cropped.shape == (4, 16, 16, 3)
    assert np.array_equal(cropped, animator(Image.fromarray(noise), "one", QUICK))
    assert not np.array_equal(cropped, animator(noise, "one", QUICK, rule="pad"))


def test_interpolation_and_loops_see_both_ends(animator, images):
    interp = change(QUICK, mode="interp")
    base = animator(images[0], "one", interp, last=images[1])
    assert not np.array_equal(base, animator(images[0], "one", interp, last=images[2]))
    loop = animator(images[0], "one", change(QUICK, mode="loop"))
    # The same two ends, but each is a sample of its own from the autoencoder's posterior.
    assert np.array_equal(loop, animator(images[0], "one", interp, last=images[0]))
    assert not np.array_equal(loop, animator(images[0], "one", QUICK))
    with pytest.raises(InputError, match="mode=interp needs a last image"):
        animator(images[0], "one", interp)
    with pytest.raises(InputError, match="mode=animate has no use for a last image"):
        animator(images[0], "one", QUICK, last=images[1])
    no_latents = Animator(build(in_channels=4))
    with pytest.raises(InputError, match="mode=loop needs a model with the image's latents"):
        no_latents(images[0], "one", change(QUICK, mode="loop"))


def test_condition_latents_of_interpolation_are_zero_between_the_ends(animator, images):
    """As the released interpolation model was trained: first and last frame, zeros between."""
    seen = []
    unet = animator.model.unet
    handle = unet.register_forward_pre_hook(lambda _, arguments: seen.append(arguments[0][:, 4:]))
    try:
        animator(images[0], "one", change(QUICK, mode="interp"), last=images[1])
    finally:
        handle.remove()
    assert seen[0][:, :, 1:-1].abs().max() == 0
    assert seen[0][:, :, 0].abs().max() > 0
    assert seen[0][:, :, -1].abs().max() > 0


@pytest.mark.parametrize("frames", [1, 2, 7])
def test_other_numbers_of_frames_are_made_and_warned_of(animator, images, frames):
    sampling = change(QUICK, frames=frames)
    assert animator(images[0], "one", sampling).shape == (frames, 16, 16, 3)
    (said,) = sampling.resolved(animator.model.config).warnings(animator.model.config)
    assert f"frames={frames}, but the model was trained on 4" in said


def released(name):
    return AnimationConfig.from_dict(pretrained.model_config(name))


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("dynamicrafter_256", ("uniform", 0.0, 3)),
        ("dynamicrafter_512", ("uniform_trailing", 0.7, 24)),
        ("dynamicrafter_1024", ("uniform_trailing", 0.7, 10)),
        ("dynamicrafter_512_interp", ("uniform_trailing", 0.7, 5)),
    ],
)
def test_what_is_left_open_is_what_the_released_models_want(name, expected):
    found = Sampling().resolved(released(name))
    assert (found.spacing, found.guidance_rescale, found.fs) == expected
    assert (found.frames, found.steps, found.eta, found.guidance_scale) == (16, 50, 1.0, 7.5)
    assert not found.warnings(released(name))


def test_an_fs_of_the_other_meaning_is_warned_of():
    found = Sampling(fs=24).resolved(released("dynamicrafter_256"))
    (said,) = found.warnings(released("dynamicrafter_256"))
    assert "for this model fs is a frame stride and was trained from 1 to 6" in said


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"steps": 0}, "steps is 0"),
        ({"steps": 1001}, "steps is 1001"),
        ({"spacing": "quad"}, "timestep spacing is 'quad'"),
        ({"mode": "wobble"}, "mode is 'wobble'"),
        ({"frames": 0}, "frames is 0"),
        ({"frames": 1, "mode": "loop"}, "needs two frames at least"),
        ({"eta": 1.5}, "eta is 1.5"),
        ({"guidance_scale": float("nan")}, "guidance_scale is nan"),
        ({"guidance_rescale": -1.0}, "guidance_rescale is -1.0"),
        ({"fs": -3}, "fs is -3"),
        ({"gates": {"output_block": 2.0}}, "there is no layer 'output_block'; the layers are inp"),
        ({"gates": {"all": float("inf")}}, "the factor of all is inf"),
    ],
)
def test_bad_settings_are_refused(animator, images, changes, said):
    with pytest.raises(InputError, match=said):
        animator(images[0], "x", change(QUICK, **changes))


def test_sizes_that_cannot_be_halved_are_refused(animator):
    with pytest.raises(InputError, match="no multiple of"):
        animator.batch([Item("a", np.zeros((18, 16, 3), np.uint8), "x")], QUICK)


def test_from_pretrained_by_folder_and_by_file(animator, images, tmp_path):
    config = {**SMALL_MODEL, "schedule": {"parameterization": "v", "zero_snr": True}}
    pretrained.save_model(tmp_path, animator.model, config)
    expected = animator(images[0], "one", QUICK)
    by_folder = Animator.from_pretrained(tmp_path, device="cpu")
    assert np.array_equal(by_folder(images[0], "one", QUICK), expected)
    by_file = Animator.from_pretrained(
        tmp_path / "model.safetensors", kind=str(tmp_path / "model.yaml"), device="cpu"
    )
    assert np.array_equal(by_file(images[0], "one", QUICK), expected)


def test_steps_are_told_one_by_one(animator, images):
    told = []
    animator(images[0], "one", QUICK, on_step=told.append)
    assert told == [0, 1, 2, 3]
