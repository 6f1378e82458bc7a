import shutil

import numpy as np
import pytest

from dynamicrafter.errors import InputError, MediaError
from dynamicrafter.shards import ShardReader
from train import data
from train.data import ClipFrames, ClipWindows, Positions, Window, batches

WINDOW = Window(frames=4, strides=(1, 6))
SIZE = (16, 16)


@pytest.fixture
def windows(shards):
    return ClipWindows(ClipFrames(ShardReader(shards), SIZE), 3, "joint", WINDOW)


def test_an_epoch_sees_every_clip_once_and_the_next_in_another_order(windows):
    first = [windows.clip_of(n) for n in range(10)]
    second = [windows.clip_of(n) for n in range(10, 20)]
    assert sorted(first) == sorted(second) == list(range(10))
    assert first != second


def test_a_window_is_a_function_of_its_number(windows, shards):
    again = ClipWindows(ClipFrames(ShardReader(shards), SIZE), 3, "joint", WINDOW)
    other_seed = ClipWindows(ClipFrames(ShardReader(shards), SIZE), 4, "joint", WINDOW)
    row = windows[7]
    assert np.array_equal(row["frames"], again[7]["frames"])
    assert row["frames"].shape == (4, 16, 16, 3)
    assert any(
        windows[n]["key"] != other_seed[n]["key"]
        or windows[n]["frame_stride"] != other_seed[n]["frame_stride"]
        for n in range(5)
    )


def test_keeping_decoded_clips_changes_nothing(windows, shards):
    frames = ClipFrames(ShardReader(shards), SIZE, keep=3)
    kept = ClipWindows(frames, 3, "joint", WINDOW)
    for number in (0, 1, 2, 3, 4, 0, 11):
        assert np.array_equal(kept[number]["frames"], windows[number]["frames"])
    assert len(frames._kept) == 3


def test_strides_cover_the_range_and_fps_follows(windows):
    rows = [windows[n] for n in range(60)]
    assert {row["frame_stride"] for row in rows} == {1, 2, 3, 4, 5, 6}
    assert all(row["fps"] == pytest.approx(24 / row["frame_stride"]) for row in rows)


@pytest.mark.parametrize("workers", [0, 2])
def test_batches_start_anywhere_and_do_not_depend_on_workers(windows, workers):
    whole = list(Positions(0, 5, 3))
    assert whole[2:] == list(Positions(2, 5, 3))
    found = list(batches(windows, Positions(2, 4, 3), workers))
    assert [batch.numbers for batch in found] == [[6, 7, 8], [9, 10, 11]]
    assert found[0].keys == [windows[n]["key"] for n in (6, 7, 8)]
    assert found[0].frames.shape == (3, 4, 16, 16, 3)


def test_an_unreadable_clip_is_replaced_and_named(windows, monkeypatch):
    real = data.read_frames
    bad = windows.reader[windows.clip_of(0)].video

    def fail_on_one(video, indices, short_side):
        if video == bad:
            raise MediaError("corrupt", "broken on purpose")
        return real(video, indices, short_side)

    monkeypatch.setattr(data, "read_frames", fail_on_one)
    row = windows[0]
    assert row["replaced"] == [windows.reader.keys[windows.clip_of(0)]]
    assert row["key"] not in row["replaced"]
    assert windows[0]["key"] == row["key"]


@pytest.mark.parametrize("workers", [0, 1])
def test_an_error_of_a_loader_process_keeps_its_one_line(shards, tmp_path, workers):
    folder = tmp_path / "shards"
    shutil.copytree(shards, folder)
    windows = ClipWindows(ClipFrames(ShardReader(folder), SIZE), 3, "joint", WINDOW)
    (tar,) = folder.glob("*.tar")
    tar.unlink()
    with pytest.raises(InputError, match="is missing") as caught:
        list(batches(windows, Positions(0, 1, 2), workers))
    assert "Traceback" not in str(caught.value)


def test_clips_that_are_all_too_short_are_refused(shards):
    long = Window(frames=100, strides=(1, 1))
    with pytest.raises(InputError, match="no clip has 100 frames"):
        ClipWindows(ClipFrames(ShardReader(shards), SIZE), 3, "joint", long)
