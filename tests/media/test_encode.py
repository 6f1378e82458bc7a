from fractions import Fraction

import av
import numpy as np
import pytest
from av.video.frame import PictureType

from dynamicrafter.errors import MediaError
from dynamicrafter.media.decode import read_frames
from dynamicrafter.media.encode import encode_mp4, exact_rate
from dynamicrafter.media.probe import probe


def moving_texture(count=60, size=(64, 96)):
    texture = np.random.default_rng(0).integers(0, 255, (*size, 3), np.uint8)
    texture = np.repeat(np.repeat(texture[::8, ::8], 8, 0), 8, 1)
    return np.stack([np.roll(texture, 2 * i, axis=1) for i in range(count)])


def test_equal_frames_give_equal_bytes():
    frames = moving_texture()
    assert len({encode_mp4(iter(frames), 24) for _ in range(40)}) == 1


def test_short_closed_groups_without_b_frames(tmp_path):
    path = tmp_path / "v.mp4"
    path.write_bytes(encode_mp4(moving_texture(), 24))
    with av.open(str(path)) as container:
        packets = [p for p in container.demux(video=0) if p.pts is not None]
        kinds = {frame.pict_type for p in packets for frame in p.decode()}
    keys = [i for i, p in enumerate(packets) if p.is_keyframe]
    assert [p.pts for p in packets] == sorted(p.pts for p in packets)
    assert max(np.diff([*keys, len(packets)])) <= 12
    assert kinds <= {int(PictureType.I), int(PictureType.P)}
    for key in keys:  # closed: decoding can begin at any of them
        clip = read_frames(path.read_bytes(), [key])
        assert np.abs(clip[0].astype(int) - moving_texture()[key]).mean() < 12


def test_the_index_lies_in_front():
    clip = encode_mp4(moving_texture(), 24)
    assert clip.index(b"moov") < clip.index(b"mdat")


@pytest.mark.parametrize(
    ("fps", "exact"),
    [(29.97, Fraction(30000, 1001)), (30000 / 1001, Fraction(30000, 1001)),
     (23.976, Fraction(24000, 1001)), (24, Fraction(24)), (30.0, Fraction(30)),
     (12.5, Fraction(25, 2)), (Fraction(60), Fraction(60))],
)  # fmt: skip
def test_the_frame_rate_is_kept(tmp_path, fps, exact):
    assert exact_rate(fps) == exact
    path = tmp_path / "v.mp4"
    path.write_bytes(encode_mp4(moving_texture(10), fps))
    facts = probe(path)
    assert (facts.fps, facts.frames) == (exact, 10)


def test_odd_sizes_lose_one_row_or_column():
    frames = moving_texture()[:10, :63, :95]
    read = read_frames(encode_mp4(frames, 24), [9])
    assert read.shape == (1, 62, 94, 3)
    assert np.abs(read[0].astype(int) - frames[9, :62, :94]).mean() < 12


@pytest.mark.parametrize("size", [(64, 1), (1, 64), (16, 20000)])
def test_frames_that_no_encoder_takes(size):
    with pytest.raises(MediaError) as caught:
        encode_mp4(np.zeros((2, *size, 3), np.uint8), 24)
    assert caught.value.reason == "not_encodable"


def test_no_frames():
    with pytest.raises(ValueError, match="no frames"):
        encode_mp4([], 24)
