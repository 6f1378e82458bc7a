"""Ways to spoil a video: what each one does, and what it leaves alone."""

import numpy as np
import pytest

from dynamicrafter.draws import generator
from eval.corruptions import CORRUPTIONS, Spoiled
from tests.report_folders import moving_square

FRAMES = np.concatenate([moving_square(seed, 1, 64) for seed in range(16)])
IN_TIME = [kind for kind, one in CORRUPTIONS.items() if one.in_time]


class Fixed:
    """A window of known frames."""

    key = "clip"

    def read(self):
        return FRAMES

    def content(self):
        return "0" * 64


def spoil(kind, strength, seed=0):
    return Spoiled(Fixed(), kind, strength, seed).read()


@pytest.mark.parametrize("kind", CORRUPTIONS)
def test_it_does_damage_and_the_picture_suffers_more_from_more(kind):
    strengths = CORRUPTIONS[kind].strengths
    damage = [np.abs(spoil(kind, s).astype(int) - FRAMES).mean() for s in strengths]
    assert damage[-1] > 0
    assert damage[-1] > damage[0] or CORRUPTIONS[kind].in_time
    assert spoil(kind, strengths[0]).shape == FRAMES.shape
    assert spoil(kind, strengths[0]).dtype == np.uint8


@pytest.mark.parametrize("kind", CORRUPTIONS)
def test_it_is_a_function_of_seed_and_key(kind):
    strength = CORRUPTIONS[kind].strengths[-1]
    assert np.array_equal(spoil(kind, strength), spoil(kind, strength))
    contents = {Spoiled(Fixed(), kind, s, 0).content() for s in CORRUPTIONS[kind].strengths}
    assert len(contents) == len(CORRUPTIONS[kind].strengths)


@pytest.mark.parametrize("kind", IN_TIME)
def test_what_spoils_time_keeps_the_frames(kind):
    known = {frame.tobytes() for frame in FRAMES}
    assert {frame.tobytes() for frame in spoil(kind, CORRUPTIONS[kind].strengths[-1])} <= known


def test_the_order_in_time():
    assert np.array_equal(spoil("reverse", 16), FRAMES[::-1])
    assert np.array_equal(spoil("reverse", 4)[:4], FRAMES[3::-1])
    assert np.array_equal(spoil("freeze", 1), np.repeat(FRAMES[:1], 16, axis=0))
    assert np.array_equal(spoil("freeze", 0.5)[:8], FRAMES[:8])
    shuffled = spoil("shuffle", 1)
    assert sorted(f.tobytes() for f in shuffled) == sorted(f.tobytes() for f in FRAMES)


def test_noise_has_its_deviation_and_warps_their_length():
    grey = np.full((4, 256, 256, 3), 128, np.uint8)
    noise = CORRUPTIONS["noise"].spoil(grey, 8, generator(0, 0, "x")).astype(float) - 128
    assert noise.std() == pytest.approx(8, rel=0.02)
    ramp = np.tile(np.arange(256, dtype=np.uint8)[None, None, :, None], (1, 256, 1, 3))
    moved = CORRUPTIONS["warp"].spoil(ramp, 4, generator(0, 0, "x")).astype(float)
    inner = (moved - ramp)[:, 16:-16, 16:-16]  # grey levels are pixels of shift along x
    assert 1 < np.sqrt((inner**2).mean()) < 4.5


def test_a_steady_warp_is_one_and_a_wobble_many():
    still = np.repeat(FRAMES[:1], 16, axis=0)
    steady = CORRUPTIONS["warp"].spoil(still, 8, generator(0, 0, "x"))
    wobbling = CORRUPTIONS["wobble"].spoil(still, 8, generator(0, 0, "x"))
    assert len({frame.tobytes() for frame in steady}) == 1
    assert len({frame.tobytes() for frame in wobbling}) == 16
