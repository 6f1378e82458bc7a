"""The sampler as people call it: items that do not depend on their neighbours, honest refusals."""

import csv

import numpy as np
import pytest
import torch
from PIL import Image

from dynamicrafter import items
from dynamicrafter.animate import Animator, Sampling
from dynamicrafter.errors import InputError
from dynamicrafter.model.animation import AnimationConfig, AnimationModel
from tests.train.conftest import SMALL_MODEL

QUICK = Sampling(steps=4, spacing="uniform_trailing", guidance_scale=2.0, eta=1.0, fs=3)


@pytest.fixture(scope="module")
def animator():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = AnimationModel(AnimationConfig.from_dict(SMALL_MODEL)).eval().requires_grad_(False)
        for parameter in model.parameters():  # the zero layers at initialisation hide differences
            parameter.add_(0.02 * torch.randn_like(parameter))
    return Animator(model)


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(0).integers(0, 255, (3, 16, 16, 3), dtype=np.uint8)


@pytest.mark.parametrize("image_guidance", [None, 1.5])
def test_an_item_does_not_depend_on_its_neighbours(animator, images, image_guidance):
    sampling = Sampling(
        steps=4, spacing="uniform_trailing", guidance_scale=2.0, image_guidance=image_guidance
    )
    keys, prompts = ["a", "b", "c"], ["one", "two", "three"]
    together = animator(images, prompts, sampling, keys)
    alone = animator(images[1:2], prompts[1:2], sampling, keys[1:2])
    assert together.shape == (3, 4, 16, 16, 3)
    assert np.abs(together[1].astype(int) - alone[0]).max() <= 1  # one rounding step of uint8
    assert np.abs(together[0].astype(int) - together[1]).max() > 10


def test_every_condition_reaches_the_result(animator, images):
    base = animator(images[:1], ["one"], QUICK, ["a"])
    same = animator(images[:1], ["one"], QUICK, ["a"])
    assert np.array_equal(base, same)
    others = [
        animator(images[1:2], ["one"], QUICK, ["a"]),
        animator(images[:1], ["another sentence"], QUICK, ["a"]),
        animator(images[:1], ["one"], QUICK, ["b"]),
        animator(images[:1], ["one"], Sampling(**{**vars(QUICK), "seed": 9}), ["a"]),
    ]
    assert all(not np.array_equal(base, other) for other in others)


def test_bad_settings_are_refused(animator, images):
    with pytest.raises(InputError, match="steps is 0"):
        animator(images[:1], ["x"], Sampling(steps=0))
    with pytest.raises(InputError, match="2 prompts"):
        animator(images[:1], ["x", "y"], QUICK)
    with pytest.raises(InputError, match="no multiple of"):
        animator(np.zeros((1, 18, 16, 3), np.uint8), ["x"], QUICK)


def test_images_of_any_aspect_are_fitted_to_the_centre():
    wide = np.zeros((20, 60, 3), np.uint8)
    wide[:, 20:40] = 255
    assert (items.fit(wide, (20, 20)) == 255).all()
    assert items.fit(np.zeros((301, 77, 3), np.uint8), (64, 128)).shape == (64, 128, 3)


def test_items_from_a_csv_and_a_folder(tmp_path):
    Image.new("RGBA", (30, 20), (255, 0, 0, 128)).save(tmp_path / "Red Boat.png")
    Image.new("CMYK", (30, 20)).save(tmp_path / "b.jpg")
    with (tmp_path / "pairs.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["image", "prompt"], ["b.jpg", 'waves, "big" ones']])
    (item,) = items.read_items(str(tmp_path / "pairs.csv"), None, None, (16, 16))
    assert (item.key, item.prompt, item.image.shape) == ("b", 'waves, "big" ones', (16, 16, 3))
    found = items.read_items(str(tmp_path), "moving", None, (16, 16))
    assert len(found) == 2
    assert all(item.prompt == "moving" for item in found)


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("torn.png", b"\x89PNG\r\n\x1a\n" + b"\0" * 20, "no readable image"),
        ("page.jpg", b"<html></html>", "no readable image"),
        ("gone.png", None, "no such image"),
    ],
)
def test_broken_images_are_named(tmp_path, name, content, said):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=said):
        items.read_items(str(tmp_path / name), "x", None, (16, 16))


@pytest.mark.parametrize("cell", [b"caf\xe9", b"x" * 200_000])
def test_a_broken_csv_is_named(tmp_path, cell):
    (tmp_path / "pairs.csv").write_bytes(b"image,prompt\na.png," + cell + b"\n")
    with pytest.raises(InputError, match=r"pairs\.csv is no CSV in UTF-8"):
        items.digest(str(tmp_path / "pairs.csv"))


def test_the_digest_of_a_csv_covers_its_images(tmp_path):
    def digest(colour, text="image,prompt\na.png,x\n"):
        Image.new("RGB", (20, 20), colour).save(tmp_path / "a.png")
        (tmp_path / "pairs.csv").write_text(text)
        return items.digest(str(tmp_path / "pairs.csv"))

    assert digest("red") == digest("red")
    assert digest("red") != digest("blue")
    assert digest("red") != digest("red", "image,prompt\na.png,y\n")
    (tmp_path / "a.png").unlink()
    with pytest.raises(InputError, match=r"a\.png: no such image"):
        items.digest(str(tmp_path / "pairs.csv"))


@pytest.mark.parametrize("count", [0, -1])
def test_a_count_below_one_is_refused(tmp_path, count):
    Image.new("RGB", (20, 20)).save(tmp_path / "a.png")
    with pytest.raises(InputError, match=f"count is {count}; it must be at least 1"):
        items.read_items(str(tmp_path), "x", count, (16, 16))


def test_a_csv_cannot_reach_outside_its_folder(tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "pairs.csv").write_text("image,prompt\n../secret.png,x\n")
    with pytest.raises(InputError, match="leaves the folder"):
        items.read_items(str(tmp_path / "in" / "pairs.csv"), None, None, (16, 16))


def test_a_missing_prompt_is_named(tmp_path):
    Image.new("RGB", (20, 20)).save(tmp_path / "a.png")
    with pytest.raises(InputError, match="a has no prompt"):
        items.read_items(str(tmp_path), None, None, (16, 16))
