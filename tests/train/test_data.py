import os
import shutil
import signal
import subprocess
import sys

import numpy as np
import pytest
import torch

from dynamicrafter.errors import InputError, MachineError, MediaError
from dynamicrafter.shards import ShardReader
from dynamicrafter.shards import reader as reader_module
from train.data import ClipFrames, ClipWindows, Positions, Window, batches, clips, one_set

WINDOW = Window(frames=4, strides=(1, 6))
SIZE = (16, 16)


def windows_of(folder, seed=3, keep=0, window=WINDOW):
    return ClipWindows(one_set(ClipFrames(ShardReader(folder), SIZE, keep)), seed, "joint", window)


@pytest.fixture
def windows(shards):
    return windows_of(shards)


def keys_of(windows, numbers):
    return [windows.locate(number).key for number in numbers]


def test_an_epoch_sees_every_clip_once_and_the_next_in_another_order(windows):
    first, second = keys_of(windows, range(10)), keys_of(windows, range(10, 20))
    assert sorted(first) == sorted(second) == [f"clip-{i:02d}" for i in range(10)]
    assert first != second


def test_a_window_is_a_function_of_its_number(windows, shards):
    again, other_seed = windows_of(shards), windows_of(shards, seed=4)
    row = windows[7]
    assert np.array_equal(row["frames"], again[7]["frames"])
    assert row["frames"].shape == (4, 16, 16, 3)
    assert any(
        windows[n]["key"] != other_seed[n]["key"]
        or windows[n]["frame_stride"] != other_seed[n]["frame_stride"]
        for n in range(5)
    )


def test_a_place_says_what_will_be_seen(windows, shards):
    reader = ShardReader(shards)
    whole = ClipFrames(reader, SIZE)
    for number in range(20):
        place, row = windows.locate(number), windows[number]
        assert (place.number, place.key, place.stride, place.fps) == (
            row["number"],
            row["key"],
            row["frame_stride"],
            row["fps"],
        )
        assert (place.data.name, place.category) == ("data", "none")
        assert (place.clip_frames, place.clip_fps) == (24, 24.0)
        assert place.sample() == reader[place.clip]
        own = whole.read(place.clip, reader[place.clip], np.arange(24))[place.indices]
        assert np.array_equal(own, row["frames"])


def test_keeping_decoded_clips_changes_nothing(windows, shards):
    kept = windows_of(shards, keep=3)
    for number in (0, 1, 2, 3, 4, 0, 11):
        assert np.array_equal(kept[number]["frames"], windows[number]["frames"])
    assert len(kept.locate(0).data.frames._kept) == 3


def test_strides_cover_the_range_and_fps_follows(windows):
    rows = [windows[n] for n in range(60)]
    assert {row["frame_stride"] for row in rows} == {1, 2, 3, 4, 5, 6}
    assert all(row["fps"] == pytest.approx(24 / row["frame_stride"]) for row in rows)


@pytest.mark.parametrize("workers", [0, 1])
def test_batches_start_anywhere_and_do_not_depend_on_workers(windows, workers):
    whole = list(Positions(0, 5, 3))
    assert whole[2:] == list(Positions(2, 5, 3))
    found = list(batches(windows, Positions(2, 4, 3), workers))
    assert [batch.numbers for batch in found] == [[6, 7, 8], [9, 10, 11]]
    assert found[0].keys == [windows[n]["key"] for n in (6, 7, 8)]
    assert np.array_equal(found[1].frames[2].numpy(), windows[11]["frames"])
    assert found[0].frames.shape == (3, 4, 16, 16, 3)


@pytest.mark.parametrize("ranks", [1, 2, 4])
@pytest.mark.parametrize("microbatch", [None, 1, 2])
def test_ranks_and_microbatches_divide_the_same_global_batches(ranks, microbatch):
    own = [list(Positions(1, 4, 8, rank, ranks, microbatch)) for rank in range(ranks)]
    size = microbatch or 8 // ranks
    assert all(len(numbers) == size for rank in own for numbers in rank)
    rounds = 8 // ranks // size
    for step in range(3):
        rows = [rank[step * rounds : (step + 1) * rounds] for rank in own]
        joined = [number for rank in rows for numbers in rank for number in numbers]
        assert joined == list(range((step + 1) * 8, (step + 2) * 8))
    assert all(len(Positions(1, 4, 8, rank, ranks, microbatch)) == 3 * rounds for rank in (0, 1))
    assert len(Positions(5, 4, 8)) == len(list(Positions(5, 4, 8))) == 0


@pytest.mark.parametrize(
    ("positions", "message"),
    [
        ({"batch": 6, "ranks": 4}, r"batch of 6 cannot be divided among 4 processes"),
        ({"batch": 0}, r"batch of 0 cannot be divided"),
        (
            {"batch": 12, "ranks": 2, "microbatch": 4},
            r"share of 6 samples \(batch 12, 2 processes\) .* microbatches of 4",
        ),
        ({"batch": 4, "microbatch": 0}, r"microbatches of 0"),
    ],
)
def test_a_batch_that_cannot_be_divided(positions, message):
    with pytest.raises(InputError, match=message):
        Positions(0, 1, **positions)


def test_fewer_clips_than_a_batch(windows):
    assert len(next(batches(windows, Positions(0, 1, 10), 0)).keys) == 10
    with pytest.raises(InputError, match=r"stage joint: 10 clips of 4 frames or more are fewer"):
        batches(windows, Positions(0, 1, 12, 0, 4), 0)


def test_an_unreadable_clip_is_replaced_and_named(windows, monkeypatch):
    real = clips.read_frames
    bad = windows.locate(0)
    video = bad.sample().video

    def fail_on_one(given, indices, short_side):
        if given == video:
            raise MediaError("corrupt", "broken on purpose")
        return real(given, indices, short_side)

    monkeypatch.setattr(clips, "read_frames", fail_on_one)
    row = windows[0]
    assert row["replaced"] == [bad.key]
    assert row["key"] != bad.key
    assert windows[0]["key"] == row["key"]
    (batch,) = batches(windows, Positions(0, 1, 2), 0)
    assert batch.replaced == [bad.key]


def test_where_nothing_can_be_read_it_is_said(windows, monkeypatch):
    def fail(given, indices, short_side):
        raise MediaError("corrupt", "broken on purpose")

    monkeypatch.setattr(clips, "read_frames", fail)
    with pytest.raises(InputError, match=r"unreadable clips clip-\d\d, .*pack again"):
        windows.sample(0)


@pytest.mark.parametrize("size", [None, "48", 0])
def test_a_clip_that_does_not_say_its_size_is_no_fault_of_the_trainer(windows, size):
    place = windows.locate(0)
    sample = place.sample()
    sample.info["width"] = size
    with pytest.raises(MediaError, match=rf"clip {place.key} states no height and width"):
        place.data.frames.read(place.clip, sample, place.indices)


@pytest.mark.parametrize("workers", [0, 1])
def test_an_error_of_a_loader_process_keeps_its_one_line(shards, tmp_path, workers):
    folder = tmp_path / "shards"
    shutil.copytree(shards, folder)
    windows = windows_of(folder)
    (tar,) = folder.glob("*.tar")
    tar.unlink()
    with pytest.raises(InputError, match="is missing") as caught:
        list(batches(windows, Positions(0, 1, 2), workers))
    assert "Traceback" not in str(caught.value)


class Deadly(ClipWindows):
    """A loader process that is killed by sample 5, as by a kernel that runs out of memory."""

    def __getitem__(self, number):
        if number == 5:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().__getitem__(number)


def test_a_killed_loader_process_is_one_line(shards):
    handler = signal.getsignal(signal.SIGCHLD)
    windows = Deadly(one_set(ClipFrames(ShardReader(shards), SIZE)), 3, "joint", WINDOW)
    ready = batches(windows, Positions(0, 6, 1), 2)
    with pytest.raises(MachineError, match=r"loader process was killed.*loader_workers"):
        list(ready)
    assert signal.getsignal(signal.SIGCHLD) == handler


LEFT_ALIVE = """
from pathlib import Path
import sys

from tests.train.test_data import windows_of
from train.data import Positions, batches

if __name__ == "__main__":
    ready = batches(windows_of(Path(sys.argv[1])), Positions(0, 6, 1), 2)
    print(next(ready).keys)
"""


def test_a_process_ends_with_its_loader_processes(shards, tmp_path):
    script = tmp_path / "left_alive.py"
    script.write_text(LEFT_ALIVE)
    done = subprocess.run(
        [sys.executable, script, shards],
        env=os.environ | {"PYTHONPATH": os.getcwd()},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert "clip-" in done.stdout


def test_other_errors_of_a_loader_process_are_not_taken_for_a_kill(windows, monkeypatch):
    def broken(rows):
        raise RuntimeError("DataLoader worker has a fault")

    monkeypatch.setattr("train.data.loader._collate", broken)
    with pytest.raises(RuntimeError, match="has a fault"):
        next(batches(windows, Positions(0, 1, 2), 0))


def test_clips_that_are_all_too_short_are_refused(shards):
    with pytest.raises(InputError, match="no clip has 100 frames"):
        windows_of(shards, window=Window(frames=100, strides=(1, 1)))


def test_a_batch_may_be_pinned(windows, monkeypatch):
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda self: self + 1)
    (batch,) = batches(windows, Positions(0, 1, 2), 0)
    pinned = batch.pin_memory()
    assert torch.equal(pinned.frames, batch.frames + 1)
    assert pinned.keys == batch.keys


def test_long_enough_clips_need_no_index(shards, monkeypatch):
    def never(*args):
        raise AssertionError

    monkeypatch.setattr(reader_module, "parse_index", never)
    windows = windows_of(shards)
    assert windows.selection.clips == 10
    pool, position = windows.selection.locate(3)
    assert pool.clip(position) in range(10)
