import math
from dataclasses import fields

import cv2
import hydra
import numpy as np
import pytest
import torch
import torch.nn.functional as F

from curation.measures import MEASURES, UNITS, cgi
from curation.measures.action import MEASURE as ACTION
from curation.measures.exposure import MEASURE as EXPOSURE
from curation.measures.exposure import black_share, frozen_share
from curation.measures.letterbox import letterbox_share
from curation.measures.phash import MEASURE as PHASH
from curation.measures.phash import clip_phash, phash_bits
from curation.measures.sharpness import MEASURE as SHARPNESS
from curation.measures.sharpness import sharpness
from dynamicrafter import assets
from dynamicrafter.errors import InputError
from dynamicrafter.features.i3d import kinetics_400_labels, load_i3d
from dynamicrafter.files import sha256_file
from tests.curation.footage import demo_footage, footage, texture

RNG = np.random.default_rng(0)


def picture(seed):
    small = np.random.default_rng(seed).integers(0, 255, (8, 14, 3), np.uint8)
    return np.kron(small, np.ones((16, 16, 1), np.uint8))


def noisy(frame, amplitude=2):
    noise = RNG.integers(-amplitude, amplitude + 1, frame.shape)
    return np.clip(frame + noise, 0, 255).astype(np.uint8)


def test_names_and_columns_are_each_given_once_and_have_units():
    names = [measure.name for measure in MEASURES]
    assert names[:5] == ["motion", "exposure", "sharpness", "letterbox", "phash"]
    assert names[5:] == ["cgi", "text", "alignment", "aesthetic", "action"]
    columns = [column for measure in MEASURES for column in measure.columns]
    assert len(columns) == len(set(columns)) == len(UNITS)
    assert all(UNITS.values())


@pytest.mark.parametrize("option", ["core", "full"])
def test_each_measure_has_its_section_with_its_settings(option):
    with hydra.initialize_config_module("conf", version_base="1.3"):
        sections = hydra.compose("curate", ["source=demo", f"+measures@sections={option}"]).sections
    assert set(sections) == {measure.name for measure in MEASURES}
    for measure in MEASURES:
        names = {field.name for field in fields(measure.settings)} if measure.settings else set()
        assert set(sections[measure.name]) == names | {"use"}
    unused = {name for name, section in sections.items() if not section.use}
    assert unused == ({"text", "alignment", "aesthetic"} if option == "core" else {"aesthetic"})


def test_measures_without_settings_fill_their_columns_with_plain_values():
    clip = footage([np.roll(picture(0), 4 * i, axis=1) for i in range(8)])
    for measure in MEASURES:
        if measure.settings is None and not measure.absent(None):
            values = measure.compute(clip, None)
            assert set(values) == set(measure.columns)
            for name, value in values.items():
                kinds = {"number": float, "text": str, "flag": bool, "numbers": list}
                assert type(value) is kinds[measure.columns[name].kind], name
                numbers = value if isinstance(value, list) else [value]
                assert all(math.isfinite(v) for v in numbers if isinstance(v, float)), name


def test_black_share():
    dark = RNG.integers(0, 25, (72, 128, 3), np.uint8)
    night = dark.copy()
    night[:18, :64] = 200  # a lit window: an eighth of the picture
    assert black_share([dark] * 3 + [picture(0)]) == 0.75
    assert black_share([night]) == 0.0
    assert EXPOSURE.compute(footage([dark, dark, night, night]), None) == {
        "black_share": 0.5,
        "frozen_share": pytest.approx(2 / 3),
    }


def test_black_is_blue_as_little_as_red():
    """Saturated blue is 29 of luma, so a frame of it is dark; of red, 76, is not."""
    blue, red = np.zeros((2, 72, 128, 3), np.uint8)
    blue[..., 0], red[..., 2] = 255, 255  # BGR
    assert black_share([blue]) == 1.0
    assert black_share([red]) == 0.0


def test_frozen_share():
    assert frozen_share([noisy(picture(0), 1) for _ in range(5)]) == 1.0
    moving = [np.roll(picture(0), 2 * i, axis=1) for i in range(5)]
    assert frozen_share(moving) == 0.0
    on_twos = [moving[i // 2] for i in range(9)]
    assert frozen_share(on_twos) == 0.5
    small = [picture(0) for _ in range(4)]
    for i, frame in enumerate(small):  # 0.5 % of the picture moves
        frame[40:52, 12 * i : 12 * i + 12] = 255 - frame[40:52, 12 * i : 12 * i + 12]
    assert frozen_share(small) == 0.0
    assert frozen_share(small[:1]) == 0.0


def test_sharpness_of_a_checkerboard_is_its_closed_form():
    """The kernel (0 1 0, 1 -4 1, 0 1 0) gives ±4 times the difference at each pixel of it."""
    board = np.indices((64, 64)).sum(axis=0) % 2 * 10 + 100
    frame = np.repeat(board[..., None], 3, axis=2).astype(np.uint8)
    assert sharpness([frame] * 3) == pytest.approx((4 * 10) ** 2)
    assert sharpness([np.full_like(frame, 90)]) == 0.0


def test_sharpness_is_the_median_and_does_not_depend_on_the_decoded_size():
    sharp, flat = picture(3), np.zeros_like(picture(3))
    assert sharpness([sharp] * 5 + [flat] * 3) == sharpness([sharp])
    small = texture(0, (256, 448))
    large = np.kron(small, np.ones((2, 2, 1), np.uint8))
    assert sharpness([large]) == sharpness([small])


@pytest.mark.network
@pytest.mark.parametrize("name", ["sports2d", "pose2sim-cam03"])
def test_a_defocused_clip_is_far_less_sharp(name):
    frames = demo_footage(name).frames
    defocused = [cv2.GaussianBlur(frame, (0, 0), 3) for frame in frames]
    dim = [(frame * 0.3).astype(np.uint8) for frame in frames]
    assert SHARPNESS.compute(footage(frames), None)["sharpness"] > 300
    assert sharpness(dim) > 30
    assert sharpness(defocused) < 5


def boxed(frames, top=0, bottom=0, left=0, right=0, colour=(0, 0, 0)):
    """The frames with bars laid over them and coding noise over all."""
    result = []
    for frame in frames:
        frame = frame.copy()
        height, width = frame.shape[:2]
        frame[:top], frame[height - bottom :] = colour, colour
        frame[:, :left], frame[:, width - right :] = colour, colour
        result.append(noisy(frame))
    return result


MOVING = [np.roll(texture(7, (72, 128)), 3 * i, axis=1) for i in range(20)]


@pytest.mark.parametrize(
    ("bars", "share"),
    [
        ({}, 0.0),
        ({"top": 9, "bottom": 9}, 18 / 72),
        ({"left": 16, "right": 16}, 32 / 128),
        ({"top": 9, "bottom": 9, "left": 16, "right": 16}, 1 - 54 * 96 / (72 * 128)),
        ({"top": 12}, 12 / 72),
        ({"top": 9, "bottom": 9, "colour": (240, 240, 240)}, 18 / 72),
        ({"left": 20, "right": 20, "colour": (30, 60, 200)}, 40 / 128),
        ({"top": 20, "colour": (255, 255, 255)}, 0.0),  # a blown-out sky
        ({"top": 1, "bottom": 1}, 0.0),  # a frayed border
    ],
)
def test_letterbox_share(bars, share):
    assert letterbox_share(boxed(MOVING, **bars)) == pytest.approx(share)


def test_no_letterbox_in_the_dark():
    black = [noisy(np.zeros((72, 128, 3), np.uint8)) for _ in range(16)]
    assert letterbox_share(black) == 0.0
    fade = np.clip(np.arange(72)[:, None, None] * 1.5 - 20, 0, 255)  # a night sky above lit streets
    night = [noisy(np.broadcast_to(fade, (72, 128, 3)) + frame * 0.02) for frame in MOVING]
    assert letterbox_share(night) == 0.0
    skyline = [frame.copy() for frame in MOVING]
    for frame in skyline:
        for column in range(128):  # black sky, roofs at different heights
            frame[: 20 + 13 * column % 25, column] = 0
    assert letterbox_share(skyline) == 0.0


def test_bars_around_a_night_scene_are_found():
    night = [(frame * 0.3).astype(np.uint8) for frame in MOVING]
    assert letterbox_share(boxed(night, top=9, bottom=9)) == 18 / 72


@pytest.mark.network
@pytest.mark.parametrize("name", ["sports2d", "pose2sim-cam03"])
def test_letterbox_share_of_a_real_clip(name):
    tiny = demo_footage(name).tiny
    height = tiny[0].shape[0]
    assert letterbox_share(tiny) == 0.0
    assert letterbox_share(boxed(tiny, top=9, bottom=9)) == pytest.approx(18 / height)


def test_phash_tells_copies_from_others():
    clip = [picture(1)] * 8
    brighter = [np.clip(f * 0.9 + 20, 0, 255).astype(np.uint8) for f in clip]
    bits, copy, other = (phash_bits(clip_phash(c)) for c in (clip, brighter, [picture(2)] * 8))
    assert bits.shape == (3,)
    assert np.bitwise_count(bits ^ copy).max() <= 4
    assert np.bitwise_count(bits ^ other).min() >= 16
    assert PHASH.compute(footage(clip), None) == {"phash": clip_phash(clip)}


@pytest.mark.network
def test_action_of_a_real_clip():
    (weights,) = assets.fetch(["i3d-kinetics-400"])
    assert ACTION.absent(None) == ""
    assert ACTION.weights(None) == sha256_file(weights)
    clip = demo_footage("sports2d", 31)  # every second frame is looked at
    pixels = torch.tensor(np.stack(clip.frames[::2])).permute(0, 3, 1, 2).float()
    pixels = F.interpolate(pixels, (224, 399), mode="bilinear", antialias=True).round()
    pixels = pixels[..., 87 : 87 + 224].permute(1, 0, 2, 3)[None] / 127.5 - 1
    with torch.inference_mode():
        expected = load_i3d(weights)(pixels)[0][0].softmax(dim=0).max(dim=0)
    assert ACTION.compute(clip, None) == {
        "action": kinetics_400_labels()[expected.indices],
        "action_probability": pytest.approx(float(expected.values), abs=1e-4),
    }


def test_an_absent_network_says_how_to_get_it(tmp_path, monkeypatch):
    monkeypatch.setenv("DYNAMICRAFTER_CACHE", str(tmp_path))
    assert "dynamicrafter assets fetch i3d-kinetics-400" in ACTION.absent(None)
    values = ACTION.compute(footage([picture(0)] * 2), None)
    assert values == {"action": None, "action_probability": None}


@pytest.mark.parametrize(
    ("caption", "words"),
    [
        ("3D rendering of a heart, loopable", ["3d rendering", "loopable"]),
        ("3-D animation: Animated cartoons", ["3d animation", "animated", "cartoons"]),
        ("2 d animation", ["2d animation"]),
        ("Actress in front of a GREENSCREEN", ["greenscreen"]),
        ("motion-graphics with alpha_channel", ["motion graphics", "alpha channel"]),
        ("cgi explosion, CGI smoke", ["cgi"]),
        ("Rendering lard in a pan", []),
        ("Cartoonist drawing at his desk", []),
        ("Graphic designer at work", []),
        ("Two women in an animated conversation", []),
        ("Animated conversation, cartoon style", ["cartoon"]),
        ("A printer printing a 3D model", []),
        ("scg logo hudson river", []),
        ("Pain in the solar plexus", []),
        ("", []),
    ],
)
def test_captions_that_name_graphics(caption, words):
    assert cgi.cgi_words(caption) == words
    values = cgi.MEASURE.compute(footage([picture(0)] * 2, caption), cgi.CgiSettings(None))
    assert values["cgi_caption"] is bool(words)
    assert (values["cgi_words"] is None) == (not words)
    assert values["cgi_probability"] is None


def test_an_unknown_caption_names_nothing():
    values = cgi.MEASURE.compute(footage([picture(0)] * 2, "none"), cgi.CgiSettings(None))
    assert values == {"cgi_caption": None, "cgi_words": None, "cgi_probability": None}


def test_the_keyword_list_is_in_order():
    lines = cgi.KEYWORDS.read_text(encoding="utf-8").splitlines()
    phrases = [line for line in lines if line and not line.startswith("#")]
    assert len(phrases) == len(set(phrases))
    assert all(line == line.strip().casefold() for line in phrases)
    for phrase in phrases:
        if not phrase.startswith("not "):
            assert cgi.cgi_words(f"a {phrase}, seen") == [phrase]


def test_a_classifier_of_ones_own(tmp_path, monkeypatch):
    module = tmp_path / "my_classifier.py"
    module.write_text(
        "def bright(frames): return frames[0].mean() / 255\ndef bad(_): return 7\nx = 1"
    )
    monkeypatch.syspath_prepend(tmp_path)
    clip = footage([np.full((72, 96, 3), 51, np.uint8)] * 2)

    def probability(name):
        return cgi.MEASURE.compute(clip, cgi.CgiSettings(name))["cgi_probability"]

    assert probability("my_classifier:bright") == pytest.approx(0.2)
    with pytest.raises(InputError, match="my_classifier:bad returned 7, no number in"):
        probability("my_classifier:bad")
    names = [None, "my_classifier:bright", "my_classifier:bad"]
    assert len({cgi.MEASURE.weights(cgi.CgiSettings(name)) for name in names}) == 3


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("no_such_package.module:run", "no_such_package.module:run cannot be imported"),
        ("math:no_such_function", "math:no_such_function cannot be imported"),
        ("math:pi", "math:pi is a float, no function"),
        ("math", "write package.module:function"),
    ],
)
def test_a_classifier_that_is_none_is_named(name, reason):
    with pytest.raises(InputError, match=reason):
        cgi.MEASURE.weights(cgi.CgiSettings(name))
