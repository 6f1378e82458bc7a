"""Which frames a model is shown, at which times, and in what form."""

import base64
import dataclasses
import json

import cv2
import numpy as np
import pytest

from curation.captions.frames import (
    FrameSettings,
    choose_frames,
    content_of,
    jpegs,
    picture_size,
)
from dynamicrafter.errors import InputError, MediaError
from dynamicrafter.media.encode import encode_mp4

SETTINGS = FrameSettings(
    count=16, fps=2.0, least=8, around="clip", short_side=256, quality=90, send_as="video"
)


@pytest.mark.parametrize(
    ("frames", "fps", "count"),
    [
        (300, 30.0, 16),  # 10 s: 20 would be due
        (180, 30.0, 12),  # 6 s: 2 a second and one at the end, 13, made even
        (60, 30.0, 8),  # 2 s: the least
        (5, 30.0, 4),  # never a frame twice
        (2, 30.0, 2),
        (46, 1.0, 16),
    ],
)
def test_frames_are_spread_over_the_clip(frames, fps, count):
    chosen = choose_frames(frames, fps, SETTINGS)
    assert len(chosen) == len(set(chosen)) == count
    assert chosen == sorted(chosen)
    assert (chosen[0], chosen[-1]) == (0, frames - 1)
    steps = np.diff(chosen)
    assert steps.max() - steps.min() <= 1


def test_frames_around_the_peak_keep_their_rate_and_stay_in_the_clip():
    settings = dataclasses.replace(SETTINGS, around="peak", fps=4.0)
    curve = [0.0] * 10
    for peak, first in ((5, 108), (0, 0), (9, 299 - 112)):  # 15 steps of 1/4 s at 30/s: 112.5
        chosen = choose_frames(300, 30.0, settings, [*curve[:peak], 1.0, *curve[peak + 1 :]])
        assert len(chosen) == 16
        assert abs(chosen[0] - first) <= 1
        assert abs((chosen[-1] - chosen[0]) - 112.5) <= 1
        assert 0 <= chosen[0] < chosen[-1] <= 299
    middle = choose_frames(300, 30.0, settings)
    assert abs((middle[0] + middle[-1]) / 2 - 149.5) <= 1
    assert choose_frames(60, 30.0, settings, curve) == choose_frames(
        60, 30.0, dataclasses.replace(settings, around="clip")
    )


@pytest.mark.parametrize(("frames", "fps"), [(1, 30.0), (0, 30.0), (50, 0.0), (50, float("nan"))])
def test_what_is_no_clip_is_refused(frames, fps):
    with pytest.raises(MediaError) as caught:
        choose_frames(frames, fps, SETTINGS)
    assert caught.value.reason == "unreadable"


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ((455, 256), (448, 256)),  # 16:9
        ((256, 256), (256, 256)),
        ((256, 455), (256, 448)),
        ((4096, 256), (1632, 96)),  # 16:1: no more than 2.5 squares of 256
    ],
)
def test_sizes_are_whole_patches(size, expected):
    assert picture_size(*size, 256) == expected


def test_jpegs_show_the_frames_that_were_chosen():
    levels = np.arange(20, 220, 10, np.uint8)  # a brightness a frame
    frames = np.broadcast_to(levels[:, None, None, None], (20, 64, 96, 3))
    video = encode_mp4(list(np.ascontiguousarray(frames)), 10.0, crf=1)
    found = jpegs(video, [0, 7, 19], 64, 90)
    pictures = [cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR) for data in found]
    assert {picture.shape for picture in pictures} == {(64, 96, 3)}
    seen = [picture.mean() for picture in pictures]
    assert seen == pytest.approx([20, 90, 210], abs=4)
    with pytest.raises(MediaError):
        jpegs(b"no video at all", [0, 1], 64, 90)


def test_a_video_is_sent_with_its_true_times():
    parts, more = content_of([b"one", b"two"], [3, 9], 20, 10.0, "video")
    url = parts[0]["video_url"]["url"]
    head, _, data = url.partition("base64,")
    assert head == "data:video/jpeg;"
    assert [base64.b64decode(part) for part in data.split(",")] == [b"one", b"two"]
    assert more == {
        "media_io_kwargs": {
            "video": {
                "num_frames": -1,
                "fps": 10.0,
                "frames_indices": [3, 9],
                "total_num_frames": 20,
                "duration": 2.0,
            }
        }
    }
    assert json.loads(json.dumps(more)) == more


def test_images_are_sent_after_their_times():
    parts, more = content_of([b"one", b"two"], [3, 15], 20, 10.0, "images")
    assert more == {}
    assert [part["text"] for part in parts[::2]] == ["t = 0.30 s", "t = 1.50 s"]
    assert parts[1]["image_url"]["url"] == "data:image/jpeg;base64,b25l"


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"around": "end"}, "around is 'end'"),
        ({"send_as": "gif"}, "send_as is 'gif'"),
        ({"least": 20}, "least <= count"),
        ({"fps": 0.0}, "fps is 0"),
        ({"quality": 0}, "quality 0"),
        ({"short_side": 8}, "short_side 8"),
    ],
)
def test_settings_that_cannot_be_used_are_named(change, named):
    with pytest.raises(InputError, match=named):
        dataclasses.replace(SETTINGS, **change)
