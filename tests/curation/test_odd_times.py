"""Files whose frames are late, far apart, too many or none: no frame is lost or counted twice."""

import dataclasses
import itertools

import numpy as np
import pytest

from curation.clip import Clip
from curation.passes.encode import EncodeSettings, encode_clip
from curation.passes.inspect import inspect_clip, spans_of
from curation.passes.measure import MeasureSettings, measure_span
from curation.passes.shots import Look, lead_in_s, split_into_shots
from dynamicrafter.errors import MediaError
from tests.curation.hostile.encoding import video
from tests.media.clips import numbered_frames

SETTINGS = MeasureSettings(60, 600, 10, 8, 3, 15, 64)


def shots_of(path, end_s=None, start_s=0.0, settings=SETTINGS):
    """(frames, start, reason) of each shot, all spans of the file one after the other."""
    clip = Clip(path.name, "x", str(path.parent), path.name, start_s=start_s, end_s=end_s)
    facts = {**inspect_clip(clip, None), "reason": None}
    found = []
    for span in spans_of(clip, facts, settings.span_s):
        shots, error = measure_span(clip, span, settings, ())
        assert error is None
        found += [(row["frames"], round(row["start_s"], 3), row["reason"]) for row, _ in shots]
    return found, clip, facts


def written(path, times, fps=8):
    level = np.linspace(60, 180, len(times)).astype(np.uint8)
    frames = np.broadcast_to(level[:, None, None, None], (len(times), 64, 96, 3))
    path.write_bytes(video(frames, container="matroska", fps=fps, times=times))
    return path


@pytest.mark.parametrize("span_s", [20, 60, 1000])
def test_a_pause_longer_than_a_shot_begins_one(tmp_path, span_s):
    """Also where the span begins within the pause, and its lead-in as well."""
    times = [*range(10), *range(700, 750)]  # eighths: to 1.1 s, and from 87.5 s on
    settings = dataclasses.replace(SETTINGS, span_s=span_s)
    found, _, _ = shots_of(written(tmp_path / "v.mkv", times), settings=settings)
    assert [(count, start) for count, start, _ in found] == [(10, 0.0), (20, 87.5), (30, 90.0)]


def test_a_shot_at_another_rate_than_its_file_is_dropped(tmp_path):
    times = [*range(20), *range(60, 80)]  # five seconds without a frame
    found, _, _ = shots_of(written(tmp_path / "v.mkv", times))
    assert found == [(40, 0.0, "bad_rate")]


def test_a_part_without_a_frame_is_on_record(tmp_path):
    path = written(tmp_path / "v.mkv", [*range(20), *range(60, 80)])
    with pytest.raises(MediaError) as caught:
        shots_of(path, start_s=4, end_s=6)
    assert caught.value.reason == "no_frames"


def test_fewer_frames_at_the_second_look_are_an_error(tmp_path):
    path = written(tmp_path / "v.mkv", range(20))
    _, clip, facts = shots_of(path)
    row = {"clip_id": clip.clip_id, "source": "x", "root": clip.root, "path": clip.path}
    row |= {**facts, "member": None, "start_s": 0.0, "frames": 21}
    with pytest.raises(MediaError, match="gives 20 of 21 frames"):
        encode_clip(row, EncodeSettings(64, 23, "ultrafast"))


def test_a_rate_that_no_film_has_is_refused(tmp_path):
    path = tmp_path / "v.mp4"
    path.write_bytes(video(numbered_frames(3), fps=1, times=[0, 2000, 4000]))
    with pytest.raises(MediaError) as caught:
        shots_of(path)
    assert caught.value.reason == "bad_rate"


def split(times):
    frames = ((time, Look(np.zeros(3), None), False) for time in times)
    options = {"span": (0.0, 1e9), "from_beginning": True, "max_shot_s": 10, "frame_s": 0.125}
    return [shot.times for shot in split_into_shots(frames, **options)]


@pytest.mark.parametrize("seed", range(20))
def test_shots_do_not_depend_on_spans_where_frames_are_missing(seed):
    rng = np.random.default_rng(seed)
    times = np.cumsum(
        rng.choice([0.125, 0.5, 4.0, 13.0, 40.0], 200, p=[0.9, 0.06, 0.02, 0.01, 0.01])
    )
    cuts = set(rng.integers(1, 200, 12).tolist())

    def by_spans(span_s):
        found = []
        for number in range(int(times[-1] // span_s) + 1):
            span = (number * span_s, (number + 1) * span_s)
            begin = max(0.0, span[0] - lead_in_s(10))
            shots = split_into_shots(
                (
                    (t, Look(np.zeros(3), None), i in cuts)
                    for i, t in enumerate(times)
                    if t >= begin
                ),
                span=span,
                from_beginning=begin == 0,
                max_shot_s=10,
                frame_s=0.125,
            )
            found += [shot.times for shot in shots]
        return found

    whole = by_spans(1e6)
    assert list(itertools.chain(*whole)) == times.tolist()
    for span_s in (15, 20, 61.7):
        assert by_spans(span_s) == whole


def test_a_long_shot_is_divided_at_every_multiple():
    """It begins just before one, so it is known to be long only after the next."""
    times = [9.99, *np.arange(10.03, 35, 0.125)]
    pieces = split(times)
    assert list(itertools.chain(*pieces)) == times
    assert [piece[0] // 10 for piece in pieces] == [0, 1, 2, 3]


def test_large_small_pictures_do_not_fill_the_memory(monkeypatch):
    monkeypatch.setattr("curation.passes.shots.MAX_SHOT_BYTES", 240)
    with pytest.raises(MediaError, match="more than 10 frames in one shot"):
        split(np.arange(11) / 100)
