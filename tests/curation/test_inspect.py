"""What files are found to be, what is refused, and how clips are divided into spans and pieces."""

import itertools
import math
import os
import struct
import tarfile

import numpy as np
import pytest

from curation.clip import Clip
from curation.passes.inspect import (
    Piece,
    inspect_clip,
    inspect_part,
    inspect_path,
    local_file,
    pieces_of,
    read_facts,
    spans_of,
)
from curation.passes.listing import freeze, parts, stamp
from dynamicrafter.errors import MediaError
from dynamicrafter.files import sha256_file
from tests.media.clips import numbered_frames, turn, write_video


def here(function, *args):
    """What a pass asks of an isolation, without one."""
    return function(*args)


def clip_of(path, **changes):
    return Clip(path.stem, "mine", str(path.parent), path.name, **changes)


def reason_of(clip, listed=None):
    with pytest.raises(MediaError) as caught:
        inspect_clip(clip, listed)
    return caught.value.reason


@pytest.fixture
def video(tmp_path):
    return write_video(tmp_path / "v.mp4", numbered_frames(30), fps=10)


def test_the_facts_of_a_file(video):
    clip = clip_of(video)
    assert inspect_clip(clip, stamp(clip)) == {
        "sha256": sha256_file(video),
        "bytes": video.stat().st_size,
        "mtime_ns": video.stat().st_mtime_ns,
        "container": "mp4",
        "codec": "h264",
        "width": 96,
        "height": 64,
        "rotation": 0,
        "fps": 10.0,
        "file_frames": 30,
        "duration_s": pytest.approx(3),
    }


def test_a_turned_file_is_told_upright(video):
    turn(video, 1)
    facts = inspect_clip(clip_of(video), None)
    assert (facts["width"], facts["height"]) == (64, 96)
    assert facts["rotation"] in (90, 270)


def test_each_reason(tmp_path, video):
    (tmp_path / "page.mp4").write_text("<html>403 Forbidden</html>")
    line = np.zeros((3, 64, 1, 3), np.uint8)
    write_video(tmp_path / "line.mov", line, "png", pix_fmt="rgb24")
    write_video(tmp_path / "fast.mp4", numbered_frames(30), fps=300)
    assert reason_of(clip_of(tmp_path / "absent.mp4")) == "missing"
    assert reason_of(clip_of(tmp_path / "page.mp4")) == "not_video"
    assert reason_of(clip_of(tmp_path / "line.mov")) == "bad_size"
    assert reason_of(clip_of(tmp_path / "fast.mp4")) == "bad_rate"
    assert reason_of(clip_of(video, start_s=3.0)) == "bad_time"
    assert reason_of(clip_of(video, reason="bad_row", message="no id")) == "bad_row"
    assert inspect_clip(clip_of(video, start_s=2.9), None)["file_frames"] == 30


def test_a_stated_duration_beyond_all_bounds(tmp_path):
    path = write_video(tmp_path / "v.mkv", numbered_frames(20))
    data = path.read_bytes()
    place = data.index(b"\x44\x89\x88") + 3  # the element Duration, a double in milliseconds
    path.write_bytes(data[:place] + struct.pack(">d", 6e8) + data[place + 8 :])
    assert inspect_clip(clip_of(path), None)["duration_s"] == 6e5
    for stated in (7e8, 1e15):
        path.write_bytes(data[:place] + struct.pack(">d", stated) + data[place + 8 :])
        assert reason_of(clip_of(path)) == "bad_duration"
    for stated in (math.inf, math.nan, -1e3):  # as good as unknown
        path.write_bytes(data[:place] + struct.pack(">d", stated) + data[place + 8 :])
        assert inspect_clip(clip_of(path), None)["duration_s"] <= 0


@pytest.mark.parametrize("path", ["../v.mp4", "link.mp4", "inner/../../v.mp4", "a\0b.mp4"])
def test_no_path_leaves_its_folder(tmp_path, video, path):
    root = tmp_path / "root"
    (root / "inner").mkdir(parents=True)
    (root / "link.mp4").symlink_to(video)
    (root / "inner" / "own.mp4").symlink_to(root / "mine.mp4")
    os.link(video, root / "mine.mp4")
    assert reason_of(Clip("v", "mine", str(root), path)) == "bad_path"
    assert reason_of(Clip("v", "mine", str(root), str(video))) == "bad_path"
    assert reason_of(Clip("v", "mine", str(root), path, member=(0, 100))) == "bad_path"
    facts = inspect_clip(Clip("v", "mine", str(root), "inner/own.mp4"), None)
    assert facts["sha256"] == sha256_file(video)


def test_a_file_that_was_replaced_since_it_was_listed(video):
    clip = clip_of(video)
    listed = stamp(clip)
    assert inspect_clip(clip, listed)["mtime_ns"] == listed[1]
    os.utime(video, ns=(0, listed[1] + 1))
    assert reason_of(clip, listed) == "changed"
    assert inspect_clip(clip, None)["mtime_ns"] == listed[1] + 1
    video.unlink()
    assert reason_of(clip, listed) == "missing"


def packed(tmp_path, video):
    """A tar with the video between other files, and where it lies there."""
    (tmp_path / "text").write_text("before")
    with tarfile.open(tmp_path / "all.tar", "w") as tar:
        tar.add(tmp_path / "text", "0.txt")
        tar.add(video, "0.mp4")
        tar.add(tmp_path / "text", "1.txt")
    with tarfile.open(tmp_path / "all.tar") as tar:
        member = tar.getmember("0.mp4")
        return tmp_path / "all.tar", (member.offset_data, member.size)


def test_a_video_in_a_tar_is_as_the_file_itself(tmp_path, video):
    tar, member = packed(tmp_path, video)
    clip = clip_of(tar, member=member)
    own, plain = inspect_clip(clip, stamp(clip)), inspect_clip(clip_of(video), None)
    assert own.pop("mtime_ns") == tar.stat().st_mtime_ns
    plain.pop("mtime_ns")
    assert own == plain
    with local_file(clip) as path:
        assert path.read_bytes() == video.read_bytes()
    assert not path.exists()


def test_a_tar_that_ends_early_or_is_not_there(tmp_path, video):
    tar, (offset, size) = packed(tmp_path, video)
    with tar.open("r+b") as file:
        file.truncate(offset + size - 1)
    assert reason_of(clip_of(tar, member=(offset, size))) == "truncated"
    assert reason_of(clip_of(tar, member=(10**9, size))) == "truncated"
    assert reason_of(clip_of(tar, member=(0, offset))) == "not_video"  # a header of the tar
    tar.unlink()
    assert reason_of(clip_of(tar, member=(offset, size))) == "missing"


def test_a_part_is_a_row_a_clip_and_done_once(tmp_path, video):
    (tmp_path / "page.mp4").write_text("<html>403 Forbidden</html>")
    clips = [clip_of(tmp_path / "page.mp4"), clip_of(video), clip_of(tmp_path / "absent.mp4")]
    folder = tmp_path / "run"
    freeze(clips, 64, True, "digest", folder)
    (part,) = parts(folder)
    assert inspect_part(part, here, timeout_s=60, folder=folder) == {"clips": 3}
    facts = read_facts(part, folder)
    assert [row["reason"] for row in facts] == ["not_video", None, "missing"]
    assert [row["fps"] for row in facts] == [None, 10.0, None]
    assert "page.mp4" in facts[0]["message"]
    written = inspect_path(part, folder).stat().st_mtime_ns

    def never(*args):
        pytest.fail("inspected again")

    assert inspect_part(part, never, timeout_s=60, folder=folder) == {"clips": 3}
    assert inspect_path(part, folder).stat().st_mtime_ns == written


def test_an_interrupted_part_leaves_nothing(tmp_path, video):
    folder = tmp_path / "run"
    freeze([clip_of(video)] * 2, 64, True, "digest", folder)
    (part,) = parts(folder)
    calls = itertools.count()

    def interrupted(function, *args):
        if next(calls):
            raise KeyboardInterrupt
        return function(*args)

    with pytest.raises(KeyboardInterrupt):
        inspect_part(part, interrupted, timeout_s=60, folder=folder)
    assert not inspect_path(part, folder).exists()
    assert inspect_part(part, here, timeout_s=60, folder=folder) == {"clips": 2}


def facts(duration_s, reason=None):
    return {"sha256": "ab", "fps": 25.0, "duration_s": duration_s, "reason": reason}


def times_of(spans):
    return [(span.start_s, span.end_s) for span in spans]


@pytest.mark.parametrize(
    ("start_s", "end_s", "duration_s", "expected"),
    [
        (0, None, 59.0, [(0, None)]),
        (0, None, 60.0, [(0, None)]),
        (0, None, 60.1, [(0, 60), (60, None)]),
        (0, None, 0.0, [(0, None)]),  # unknown: to the end, wherever that is
        (0, None, -5.0, [(0, None)]),
        (30, None, 200.0, [(30, 90), (90, 150), (150, None)]),
        (30, 100, 200.0, [(30, 90), (90, 100)]),
        (30, 90, 200.0, [(30, 90)]),
        (30, 300, 100.0, [(30, 90), (90, 300)]),  # the file is shorter than the clip
        (30, 100, 0.0, [(30, 100)]),
    ],
)
def test_spans_of_known_clips(start_s, end_s, duration_s, expected):
    clip = Clip("v", "mine", "/", "v.mp4", start_s=start_s, end_s=end_s)
    assert times_of(spans_of(clip, facts(duration_s), 60)) == expected


def test_spans_cover_each_clip_exactly():
    rng = np.random.default_rng(0)
    for _ in range(300):
        start_s = float(rng.choice([0, rng.uniform(0, 500)]))
        end_s = None if rng.random() < 0.5 else start_s + rng.uniform(0.1, 900)
        duration_s = start_s + rng.uniform(0.1, 1000)
        span_s = rng.uniform(5, 100)
        clip = Clip("v", "mine", "/", "v.mp4", start_s=start_s, end_s=end_s)
        spans = spans_of(clip, facts(duration_s), span_s)
        times = times_of(spans)
        assert (times[0][0], times[-1][1]) == (start_s, end_s)
        assert all(a[1] == b[0] for a, b in itertools.pairwise(times))
        closed = [*times[:-1], (times[-1][0], end_s or duration_s)]
        assert all(begin < end for begin, end in closed)
        assert all(end - begin <= span_s * (1 + 1e-9) for begin, end in closed[:-1])
        assert min(end_s or math.inf, duration_s) - times[-1][0] <= span_s * (1 + 1e-9)
        assert {(span.clip_start_s, span.clip_end_s) for span in spans} == {(start_s, end_s)}


def test_a_clip_with_a_reason_has_no_span():
    clip = Clip("v", "mine", "/", "v.mp4")
    assert (
        spans_of(clip, {"sha256": None, "fps": None, "duration_s": None, "reason": "x"}, 60) == []
    )


def seconds_of(entries, durations):
    total = 0.0
    for row, span in entries:
        if span is not None:
            total += (durations[row] if span.end_s is None else span.end_s) - span.start_s
    return total


@pytest.mark.parametrize("job_s", [1e-3, 60, 600, 1e9])
def test_pieces_hold_every_span_once_and_are_of_the_size_that_was_asked_for(job_s):
    rng = np.random.default_rng(1)
    durations = [float(rng.choice([0.5, 12, 700])) * rng.uniform(0.9, 1.1) for _ in range(80)]
    known = [facts(duration) for duration in durations]
    for row in (0, 7, 8, 79):
        known[row] = {"sha256": None, "fps": None, "duration_s": None, "reason": "missing"}
    clips = [Clip(str(row), "mine", "/", f"{row}.mp4") for row in range(80)]
    pieces = list(pieces_of("part", clips, known, 60, job_s))
    entries = [entry for piece in pieces for entry in piece.entries]
    expected = [
        (row, span)
        for row, clip in enumerate(clips)
        for span in spans_of(clip, known[row], 60) or [None]
    ]
    assert entries == expected
    for piece in pieces[:-1]:
        *before, _ = piece.entries
        assert seconds_of(before, durations) < job_s <= seconds_of(piece.entries, durations)
        assert seconds_of(piece.entries, durations) <= job_s + 60 * (1 + 1e-9)
    assert {piece.part for piece in pieces} == {"part"}
    assert all(piece.entries for piece in pieces)
    if job_s == 1e9:
        assert len(pieces) == 1
    if job_s == 1e-3:
        assert all(len(piece.spans) <= 1 for piece in pieces)


def test_a_piece_is_named_after_what_is_measured_of_it():
    clip = Clip("v", "mine", "/here", "v.mp4", caption="a dog", extra={"a": "b"})
    (span,) = spans_of(clip, facts(10), 60)
    same = Piece("other", ((5, None), (9, span), (10, None)))
    assert Piece("part", ((0, span),)).digest == same.digest
    moved = Clip("v", "mine", "/there", "w.mp4", caption="a dog", extra={"c": "d"})
    assert Piece("part", ((0, spans_of(moved, facts(10), 60)[0]),)).digest == same.digest
    for other in (
        Clip("w", "mine", "/here", "v.mp4", caption="a dog"),
        Clip("v", "mine", "/here", "v.mp4", caption="a dog", start_s=1.0),
        Clip("v", "mine", "/here", "v.mp4", caption="a dog", end_s=9.0),
    ):
        assert Piece("part", ((0, spans_of(other, facts(10), 60)[0]),)).digest != same.digest
    render = Clip("v", "mine", "/here", "v.mp4", caption="a render")
    own = Piece("part", ((0, spans_of(render, facts(10), 60)[0]),))
    assert own.digest == same.digest
    assert own.caption_digest != same.caption_digest  # for the measures that read it
