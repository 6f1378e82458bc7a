import numpy as np
import pytest

from dynamicrafter.errors import InputError
from eval.metrics.similarity import (
    clip_sim,
    dreamsim_distance,
    flicker,
    frame_consistency,
    perceptual_conformity,
)

X, Y = np.eye(2)


def test_clip_sim_is_a_mean_of_video_means():
    videos = [np.stack([X, 3 * X, Y]), np.stack([5 * Y])]
    found = clip_sim(videos, np.stack([2 * X, X]))
    assert found.per_video.tolist() == pytest.approx([2 / 3, 0])
    assert found.value == pytest.approx(1 / 3)
    assert found.count == 2


def test_frame_consistency_compares_neighbours():
    assert frame_consistency([np.stack([X, X, Y])]).value == pytest.approx(0.5)


def test_dreamsim_ignores_an_offset_and_a_scale_of_the_embedding():
    draws = np.random.default_rng(0)
    inputs = draws.normal(size=(2, 9))
    frames = np.stack([inputs, 4 * inputs + 3, -inputs], axis=1)
    distance = dreamsim_distance(inputs, frames)
    np.testing.assert_allclose(distance, [[0, 0, 2]] * 2, atol=1e-12)


def test_pic_with_and_without_the_first_frame():
    found = perceptual_conformity(np.array([[0, 0.2, 0.4], [0, 0.4, 0.8]]))
    assert found.value == pytest.approx(0.7)
    assert found.value_without_first == pytest.approx(0.55)
    assert found.per_frame.tolist() == pytest.approx([1, 0.7, 0.4])
    assert found.per_video.tolist() == pytest.approx([0.8, 0.6])


def test_flicker_of_a_still_and_of_black_and_white():
    still = np.full((4, 2, 2, 3), 200, np.uint8)
    blinking = np.zeros((4, 2, 2, 3), np.uint8)
    blinking[1::2] = 255
    assert flicker([still, blinking]).per_video.tolist() == [1, 0]


@pytest.mark.parametrize(
    ("call", "complaint"),
    [
        (lambda: clip_sim([np.ones((2, 3))], np.ones((2, 3))), "1 videos need as many texts"),
        (lambda: clip_sim([], np.ones((0, 3))), "no video"),
        (lambda: clip_sim([np.zeros((2, 3))], np.ones((1, 3))), "zero or not finite"),
        (lambda: clip_sim([np.ones((0, 3))], np.ones((1, 3))), "empty"),
        (lambda: frame_consistency([np.ones((1, 3))]), "2 frames"),
        (lambda: perceptual_conformity(np.full((2, 4), np.nan)), "not finite"),
        (lambda: perceptual_conformity(np.zeros((2, 1))), "distances"),
        (lambda: dreamsim_distance(np.ones((1, 4)), np.ones((1, 2, 4))), "zero"),
        (lambda: flicker([np.zeros((2, 4, 4, 3))]), "uint8"),
        (lambda: flicker([np.zeros((1, 4, 4, 3), np.uint8)]), "2 frames"),
    ],
)
def test_bad_input_is_named(call, complaint):
    with pytest.raises(InputError, match=complaint):
        call()
