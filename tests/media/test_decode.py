import random
from collections import Counter

import av
import numpy as np
import pytest

from dynamicrafter.errors import MediaError
from dynamicrafter.media.decode import iterate_frames, read_frames, scaled_size
from dynamicrafter.media.encode import encode_mp4
from tests.media.clips import numbered_frames, numbers_of, turn, write_video

WANTED = [0, 7, 7, 12, 30, 49]


@pytest.mark.parametrize(
    ("suffix", "codec"),
    [("mp4", "libx264"), ("mkv", "libx264"), ("webm", "libvpx-vp9"), ("mp4", "libsvtav1")],
)
@pytest.mark.parametrize("short_side", [None, 128, 32])
def test_foreign_files(tmp_path, suffix, codec, short_side):
    path = write_video(tmp_path / f"v.{suffix}", numbered_frames(50), codec)
    frames = read_frames(path, WANTED, short_side)
    side = short_side or 64
    assert frames.shape == (6, side, side * 3 // 2, 3)
    assert frames.dtype == np.uint8
    assert np.abs(np.array(numbers_of(frames)) - WANTED).max() <= (codec == "libsvtav1")


def test_both_decoders_agree(tmp_path):
    """Equal without resizing; with it they differ in rounding and in where colours are sampled."""
    x = np.linspace(0, 3, 160)
    waves = 128 + 100 * np.sin(x[None, None, :] * np.arange(1, 21)[:, None, None])
    frames = np.broadcast_to(waves[..., None], (20, 90, 160, 3)).astype(np.uint8)
    path = write_video(tmp_path / "v.mp4", frames)
    for short_side, tolerance in ((None, 0), (72, 3)):
        one_by_one = np.stack([frame for _, frame in iterate_frames(path, 0, short_side)])
        at_once = read_frames(path, range(20), short_side)
        assert np.abs(at_once.astype(int) - one_by_one).max() <= tolerance


@pytest.mark.parametrize("short_side", [None, 32])
def test_own_bytes(short_side):
    clip = encode_mp4(numbered_frames(50), 24)
    frames = read_frames(clip, WANTED, short_side)
    assert numbers_of(frames) == WANTED
    assert numbers_of(read_frames(clip, range(13, 45, 3), short_side)) == list(range(13, 45, 3))


@pytest.mark.parametrize("fps", [10, 29.97, 60])
def test_times_do_not_depend_on_the_start(tmp_path, fps):
    path = write_video(tmp_path / "v.mp4", numbered_frames(50), fps=round(fps))
    whole = list(iterate_frames(path))
    assert numbers_of(np.stack([frame for _, frame in whole])) == list(range(50))
    assert [time for time, _ in whole] == pytest.approx([i / round(fps) for i in range(50)])
    for start in (0.0, whole[17][0], whole[17][0] + 1e-4, whole[49][0]):
        part = list(iterate_frames(path, start))
        expected = [(time, frame) for time, frame in whole if time >= start]
        assert [time for time, _ in part] == [time for time, _ in expected]
        assert all(np.array_equal(a, b) for (_, a), (_, b) in zip(part, expected, strict=True))


def test_transport_streams_that_begin_late(tmp_path):
    path = write_video(tmp_path / "v.ts", numbered_frames(50))
    times = [time for time, _ in iterate_frames(path)]
    assert times[0] == 0
    late = list(iterate_frames(path, 3.0))
    assert late[0][0] == pytest.approx(3.0)
    assert numbers_of(np.stack([frame for _, frame in late]))[0] == 30


@pytest.mark.parametrize(("turns", "corner"), [(1, (0, -1)), (2, (-1, -1)), (3, (-1, 0))])
@pytest.mark.parametrize("size", [(64, 96), (128, 192)])  # PyAV, decord
def test_turned_videos_come_upright(tmp_path, turns, corner, size):
    path = write_video(tmp_path / "v.mp4", numbered_frames(10, size))
    turn(path, turns)
    upright = size[::-1] if turns % 2 else size
    for frame in (read_frames(path, [4])[0], next(iterate_frames(path))[1]):
        assert frame.shape[:2] == upright
        bright = {(y, x) for y in (0, -1) for x in (0, -1) if frame[y, x].mean() > 200}
        assert bright == {corner}


def test_past_the_end(tmp_path):
    path = write_video(tmp_path / "v.mp4", numbered_frames(10, (64, 96)))
    for video in (path, encode_mp4(numbered_frames(10), 24)):
        with pytest.raises(MediaError, match="10"):
            read_frames(video, [3, 10])


def test_a_file_that_breaks_off_gives_what_it_has(tmp_path):
    noise = np.random.default_rng(0).integers(0, 255, (40, 64, 96, 3), np.uint8)
    path = write_video(tmp_path / "v.ts", noise, options={"g": "5"})
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    assert 5 < len(list(iterate_frames(path))) < 40


def test_a_file_that_changes_its_size(tmp_path):
    paths = [write_video(tmp_path / f"{n}.ts", numbered_frames(10, (n, 96))) for n in (64, 80)]
    path = tmp_path / "v.ts"
    path.write_bytes(b"".join(part.read_bytes() for part in paths))
    with pytest.raises(MediaError, match="changes its size"):
        list(iterate_frames(path, short_side=32))


def test_garbage_bytes():
    with pytest.raises(MediaError) as caught:
        read_frames(b"not a video at all", [0])
    assert caught.value.reason == "unreadable"


def mutations(clip, count):
    """Copies of a clip with a few bytes changed, some of them cut short."""
    rng = random.Random(0)
    for _ in range(count):
        data = bytearray(clip)
        for _ in range(rng.choice([1, 2, 8])):
            data[rng.randrange(len(data))] = rng.choice([0, 255, rng.randrange(256)])
        yield bytes(data[: rng.randrange(len(data))] if rng.random() < 0.1 else data)


def test_hostile_bytes_give_frames_or_a_reason(tmp_path):
    """Whatever else is raised fails the test."""
    clip = encode_mp4(numbered_frames(12, (32, 48)), 24)
    path, outcomes = tmp_path / "v.mp4", Counter()
    for data in mutations(clip, 400):
        path.write_bytes(data)
        for read in (lambda d: read_frames(d, [0, 5, 11]), lambda _: list(iterate_frames(path))):
            try:
                outcomes["read"] += len(read(data)) >= 0
            except MediaError as error:
                outcomes[error.reason] += 1
    assert sum(outcomes.values()) == 800
    assert min(outcomes[reason] for reason in ("read", "unreadable", "no_video_stream")) > 10


def test_times_beyond_all_bounds():
    clip = bytearray(encode_mp4(numbered_frames(12, (32, 48)), 24))
    timescale = clip.index(b"mdhd") + 4 + 12  # version 0
    clip[timescale : timescale + 4] = b"\x7f\xff\xff\xff"
    durations = clip.index(b"stts") + 4 + 12  # of the first entry's frames
    clip[durations : durations + 4] = b"\x7f\xff\xff\xff"
    with pytest.raises(MediaError) as caught:
        read_frames(bytes(clip), [2**40])
    assert caught.value.reason in ("unreadable", "too_short")


@pytest.mark.parametrize("size", [(64, 1), (1, 64), (8, 8), (16, 272)])
def test_what_is_no_picture_is_refused(tmp_path, size):
    picture = np.zeros((1, *size, 3), np.uint8)
    path = write_video(tmp_path / "v.mov", picture, "png", pix_fmt="rgb24")
    for read in (lambda: read_frames(path, [0], 256), lambda: list(iterate_frames(path, 0, 256))):
        with pytest.raises(MediaError) as caught:
            read()
        assert caught.value.reason == "bad_size"


def test_scaled_size():
    assert scaled_size(16, 256, 64) == (64, 1024)
    assert scaled_size(1280, 720, 256) == (456, 256)
    assert scaled_size(1080, 1920, 256) == (256, 456)
    assert scaled_size(500, 500, 256) == (256, 256)
    assert scaled_size(1280, 720, None) == (1280, 720)


def test_times_that_go_back_end_a_video(tmp_path):
    """Two transport streams after each other: whoever seeks would find two frames at a time."""
    path = write_video(tmp_path / "v.ts", numbered_frames(20))
    path.write_bytes(path.read_bytes() * 2)
    seen = []
    with pytest.raises(MediaError, match="go back"):
        seen.extend(time for time, _ in iterate_frames(path))
    assert seen == pytest.approx([i / 10 for i in range(20)])


def test_avi_with_b_frames_has_its_frames_in_order(tmp_path):
    """It stores no times of presentation."""
    path = write_video(tmp_path / "v.avi", numbered_frames(50), options={"bf": "3"})
    times, frames = zip(*iterate_frames(path), strict=True)
    assert np.diff(times) == pytest.approx([0.1] * 49)
    assert numbers_of(np.stack(frames)) == list(range(50))
    _, part = zip(*iterate_frames(path, times[30]), strict=True)
    assert numbers_of(np.stack(part)) == list(range(30, 50))


def test_a_file_that_cannot_be_sought_in_is_read_from_its_beginning(tmp_path, monkeypatch):
    path = write_video(tmp_path / "v.mp4", numbered_frames(50))
    real, asked = av.open, []

    class Unseekable:
        def __init__(self, opened):
            self._opened = opened

        def __getattr__(self, name):
            return getattr(self._opened, name)

        def __enter__(self):
            return self

        def __exit__(self, *details):
            self._opened.close()

        def seek(self, *arguments, **settings):
            asked.append(arguments)
            raise av.error.PermissionError(1, "no index")

    monkeypatch.setattr(av, "open", lambda *a, **k: Unseekable(real(*a, **k)))
    frames = [frame for _, frame in iterate_frames(path, 3.0)]
    assert numbers_of(np.stack(frames)) == list(range(30, 50))
    assert asked
