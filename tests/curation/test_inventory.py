"""What inspection refuses, and what of it is kept for the next run."""

import json
import struct

import numpy as np
import pytest

from curation import inventory
from curation.inventory import inspect, take_inventory
from curation.sources import Clip
from dynamicrafter.errors import MediaError
from tests.media.clips import numbered_frames, write_video


def test_a_stated_duration_beyond_all_bounds(tmp_path):
    path = write_video(tmp_path / "v.mkv", numbered_frames(20))
    assert inspect(path)["duration_s"] == pytest.approx(2)
    data = path.read_bytes()
    place = data.index(b"\x44\x89\x88") + 3  # the element Duration, a double in milliseconds
    for stated, reason in ((6e8, None), (7e8, "bad_duration"), (1e15, "bad_duration")):
        path.write_bytes(data[:place] + struct.pack(">d", stated) + data[place + 8 :])
        if reason is None:
            assert inspect(path)["duration_s"] == stated / 1000
            continue
        with pytest.raises(MediaError) as caught:
            inspect(path)
        assert caught.value.reason == reason


def test_a_line_of_pixels_is_a_row_with_a_reason(tmp_path):
    line = np.zeros((3, 64, 1, 3), np.uint8)
    path = write_video(tmp_path / "v.mov", line, "png", pix_fmt="rgb24")
    clips = [Clip("v", path, "none", "mine")]
    facts = take_inventory(clips, tmp_path, workers=1, timeout_s=60)[str(path)]
    assert facts["reason"] == "bad_size"
    assert "1x64 pixels" in facts["message"]


def test_an_interrupted_inspection_keeps_what_it_has(tmp_path, monkeypatch):
    clips = [Clip(name, tmp_path / name, "none", "mine") for name in ("a", "b", "c")]
    asked = []

    def interrupted(function, jobs, **options):
        asked.extend(path.name for path in jobs)
        yield jobs[0], {"fps": 24.0}
        raise KeyboardInterrupt

    monkeypatch.setattr(inventory, "run_jobs", interrupted)
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            take_inventory(clips, tmp_path, workers=1, timeout_s=60)
    assert asked == ["a", "b", "c", "b", "c"]
    assert len(json.loads((tmp_path / inventory.INVENTORY).read_text())) == 2
