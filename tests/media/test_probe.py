import os
import shutil
import struct
from fractions import Fraction

import av
import numpy as np
import pytest

from dynamicrafter.errors import MediaError
from dynamicrafter.media import probe as probe_module
from dynamicrafter.media.decode import iterate_frames
from dynamicrafter.media.probe import container_of, probe
from tests.media.clips import numbered_frames, turn, write_video


@pytest.mark.parametrize("suffix", ["mp4", "mov", "mkv", "webm", "avi", "ts", "mpg"])
def test_facts_in_every_container(tmp_path, suffix):
    codec = {"webm": "libvpx-vp9", "mpg": "mpeg2video"}.get(suffix, "libx264")
    path = write_video(tmp_path / f"v.{suffix}", numbered_frames(25), codec, fps=25)
    path = shutil.copy(path, tmp_path / "named.jpg")  # the name does not count
    facts = probe(path)
    assert (facts.width, facts.height, facts.rotation) == (96, 64, 0)
    assert facts.fps == Fraction(25)
    if suffix != "mpg":  # a program stream states no duration, it is guessed from the bit rate
        assert facts.duration_s == pytest.approx(1.0, abs=0.09)
        assert facts.frames == pytest.approx(25, abs=2)
    assert facts.codec in ("h264", "vp9", "mpeg2video")


@pytest.mark.parametrize(("turns", "rotation"), [(1, 270), (2, 180), (3, 90)])
def test_sizes_are_as_displayed(tmp_path, turns, rotation):
    path = write_video(tmp_path / "v.mp4", numbered_frames(5))
    turn(path, turns)
    facts = probe(path)
    assert facts.rotation == rotation
    assert (facts.width, facts.height) == ((64, 96) if turns % 2 else (96, 64))


TEXTS = {
    "hls": b"#EXTM3U\n#EXTINF:10,\nfile:///etc/passwd\n",
    "concat": b"ffconcat version 1.0\nfile /etc/passwd\n",
    "dash": b'<?xml version="1.0"?>\n<MPD xmlns="urn:mpeg:dash:schema:mpd:2011"></MPD>',
    "sdp": b"v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nm=video 5004 RTP/AVP 96\n",
    "page": b"<html><body>403 Forbidden</body></html>",
    "empty": b"",
    "image": b"\x89PNG\r\n\x1a\n" + bytes(600),
}


@pytest.mark.parametrize("name", TEXTS)
def test_what_is_no_video_never_reaches_a_decoder(tmp_path, monkeypatch, name):
    path = tmp_path / "clip.mp4"
    path.write_bytes(TEXTS[name])
    monkeypatch.setattr(av, "open", lambda *_, **__: pytest.fail("a decoder was asked"))
    with pytest.raises(MediaError) as caught:
        probe(path)
    assert caught.value.reason == "not_video"


@pytest.mark.parametrize(
    "path", ["http://localhost/v.mp4", "concat:a.mp4|b.mp4", "pipe:0", "nowhere.mp4", "."]
)
def test_protocols_and_absent_files(monkeypatch, path):
    monkeypatch.setattr(av, "open", lambda *_, **__: pytest.fail("a decoder was asked"))
    with pytest.raises(MediaError) as caught:
        probe(path)
    assert caught.value.reason == "missing"


def test_a_file_named_like_a_protocol_is_a_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_video(tmp_path / "v.mp4", numbered_frames(5)).rename(tmp_path / "concat:v.mp4")
    assert probe("concat:v.mp4").width == 96


@pytest.mark.parametrize("damage", ["cut", "noise", "audio"])
def test_broken_files(tmp_path, damage):
    path = write_video(tmp_path / "v.mp4", numbered_frames(50))
    reason = "unreadable"
    if damage == "cut":
        path.write_bytes(path.read_bytes()[:600])
    elif damage == "noise":
        noise = np.random.default_rng(0).bytes(5000)
        path.write_bytes(path.read_bytes()[:32] + noise)
    else:
        reason = "no_video_stream"
        with av.open(str(path), "w") as container:
            stream = container.add_stream("aac", rate=44100)
            sound = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
            sound.sample_rate = 44100
            container.mux(stream.encode(sound))
            container.mux(stream.encode())
    with pytest.raises(MediaError) as caught:
        probe(path)
    assert caught.value.reason == reason


def test_transport_stream_needs_three_packets():
    packet = b"\x47" + bytes(187)
    assert container_of(packet * 3) == "mpegts"
    assert container_of(packet + bytes(188) + packet) is None


def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "v.mp4")
    with pytest.raises(MediaError) as caught:
        probe(tmp_path / "v.mp4")
    assert caught.value.reason == "missing"


def test_more_pixels_than_a_machine_holds_are_not_decoded(tmp_path, monkeypatch):
    path = write_video(tmp_path / "v.mp4", numbered_frames(5))
    monkeypatch.setattr(probe_module, "MAX_PIXELS", 64 * 96 - 1)
    with pytest.raises(MediaError) as caught:
        probe(path)
    assert caught.value.reason in ("bad_size", "unreadable")


@pytest.mark.parametrize(
    ("matrix", "size"),
    [
        ((0, 0, 0, 0), (96, 64)),  # it turns by no angle at all
        ((65526, -1144, 1144, 65526), (96, 64)),  # by one degree
        ((-1144, 65526, -65526, -1144), (64, 96)),  # by 91
    ],
)
def test_odd_rotations(tmp_path, matrix, size):
    path = write_video(tmp_path / "v.mp4", numbered_frames(5))
    data = path.read_bytes()
    place = data.index(b"tkhd") + 4 + 40
    numbers = [*matrix[:2], 0, *matrix[2:], 0, 0, 0, 1 << 30]
    path.write_bytes(data[:place] + struct.pack(">9i", *numbers) + data[place + 36 :])
    facts = probe(path)
    assert (facts.width, facts.height) == size
    _, frame = next(iterate_frames(path))
    assert frame.shape == (size[1], size[0], 3)


def test_a_stream_that_begins_in_the_middle_does_not_end_in_an_error():
    """PyAV looks for it among those of the beginning when it has given all frames."""

    class Container:
        def decode(self, stream):
            yield from stream
            raise IndexError("list index out of range")

    assert list(probe_module.decoded(Container(), [1, 2, 3])) == [1, 2, 3]
