"""Parts are cut by what the rows say, so a change of some rows leaves the other parts alone."""

import gc
import os
import tracemalloc

import numpy as np
import pytest

from curation.clip import Clip
from curation.passes.listing import (
    INDEX,
    LISTING,
    count_clips,
    freeze,
    is_frozen,
    part_path,
    parts,
    read_part,
    stamp,
)
from dynamicrafter.errors import InputError

PART_ROWS = 64


@pytest.fixture(autouse=True)
def without_waiting_for_the_disk(monkeypatch):
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


def clip(number, **changes):
    return Clip(f"clip {number}", "mine", "/nowhere", f"{number}.mp4", **changes)


def frozen(clips, folder, part_rows=PART_ROWS):
    """The parts of `clips` in `folder`."""
    freeze(clips, part_rows, False, "digest", folder)
    return list(parts(folder))


def rows_of(folder):
    return [clip for part in parts(folder) for clip, _ in read_part(part, folder)]


def sizes_of(folder):
    return [len(read_part(part, folder)) for part in parts(folder)]


def test_rows_come_back_in_order_and_whole(tmp_path):
    clips = [
        clip(0),
        clip(1, member=(512, 77), video_id="film", start_s=1.25, end_s=3.5, stated_s=9.0),
        clip(2, caption='Zürich ☃, "quoted"\n2nd line', extra={"b": "1", "a": "ß", "": ""}),
        clip(3, reason="bad_path", message="leaves the folder"),
        clip(4, member=(0, 9)),
        *map(clip, range(5, 500)),
    ]
    frozen(clips, tmp_path)
    assert rows_of(tmp_path) == clips
    assert count_clips(tmp_path) == 500


@pytest.mark.parametrize("part_rows", [4, 16, 64, 300])
def test_parts_are_of_the_size_that_was_asked_for(tmp_path, part_rows):
    frozen(map(clip, range(1000)), tmp_path, part_rows)
    *sizes, last = sizes_of(tmp_path)
    assert sum(sizes) + last == 1000
    assert all(max(part_rows // 2, 1) <= size <= 2 * part_rows for size in sizes)
    assert 0 < last <= 2 * part_rows
    assert 0.6 * part_rows <= 1000 / (len(sizes) + 1) <= 1.5 * part_rows


@pytest.mark.parametrize("at", [0, 1000, 2000])
def test_a_row_more_makes_few_parts_anew(tmp_path, at):
    clips = [clip(number) for number in range(2000)]
    before = frozen(clips, tmp_path)
    after = frozen([*clips[:at], clip("new"), *clips[at:]], tmp_path)
    assert 20 < len(before) < 50
    assert len(set(before) - set(after)) <= 2
    assert len(set(after) - set(before)) <= 2
    assert rows_of(tmp_path) == [*clips[:at], clip("new"), *clips[at:]]


def test_wherever_rows_are_added_or_changed_most_parts_stay(tmp_path):
    clips = [clip(number) for number in range(2000)]
    before = set(frozen(clips, tmp_path))
    lost = []
    for at in range(7, 2000, 140):
        for changed in (
            [*clips[:at], clip("new"), *clips[at:]],
            [*clips[:at], *clips[at + 1 :]],
            [*clips[:at], clip(at, caption="other"), *clips[at + 1 :]],
        ):
            lost.append(len(before - set(frozen(changed, tmp_path))))
    assert np.mean(lost) < 1.5
    assert max(lost) <= 5
    assert lost[2::3] == [1] * 15  # what a row says does not decide where parts end, its id does


def test_equal_rows_give_equal_parts(tmp_path):
    once, twice = tmp_path / "once", tmp_path / "twice"
    assert frozen(map(clip, range(300)), once) == frozen(map(clip, range(300)), twice)
    files = [sorted((folder / LISTING).iterdir()) for folder in (once, twice)]
    assert [path.name for path in files[0]] == [path.name for path in files[1]]
    for one, other in zip(*files, strict=True):
        assert one.read_bytes() == other.read_bytes()
    kept = {path: path.stat().st_mtime_ns for path in files[0]}
    frozen(map(clip, range(300)), once)
    assert {path: path.stat().st_mtime_ns for path in files[0]} == kept


def test_the_same_rows_twice_in_a_listing(tmp_path):
    clips = [clip("a"), clip("a"), clip("b")] * 100
    frozen(clips, tmp_path, 2)
    assert rows_of(tmp_path) == clips
    same_id = [clip("a", caption=str(number)) for number in range(500)]
    frozen(same_id, tmp_path)
    assert rows_of(tmp_path) == same_id
    assert max(sizes_of(tmp_path)) <= 2 * PART_ROWS


def test_stamps_tell_size_and_time_of_change(tmp_path):
    (tmp_path / "here.mp4").write_bytes(b"12345")
    os.utime(tmp_path / "here.mp4", ns=(0, 1_700_000_000_123_456_789))
    here, absent, refused = (
        Clip(name, "mine", str(tmp_path), f"{name}.mp4", reason=reason)
        for name, reason in (("here", ""), ("absent", ""), ("here", "bad_path"))
    )
    assert stamp(here) == [5, 1_700_000_000_123_456_789]
    assert stamp(absent) is None
    assert stamp(clip("with\0nul")) is None

    def listed(check_files):
        freeze([here, absent, refused], 64, check_files, "digest", tmp_path)
        (part,) = parts(tmp_path)
        return part, [known for _, known in read_part(part, tmp_path)]

    checked = listed(True)
    assert checked[1] == [[5, 1_700_000_000_123_456_789], None, None]
    unchecked = listed(False)
    assert unchecked[1] == [None, None, None]
    (tmp_path / "here.mp4").write_bytes(b"123456")
    assert listed(False) == unchecked
    assert listed(True)[0] != checked[0]


def test_a_listing_is_whole_or_absent(tmp_path):
    def interrupted():
        yield from map(clip, range(300))
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        frozen(interrupted(), tmp_path)
    assert not (tmp_path / INDEX).exists()
    assert not is_frozen("digest", tmp_path)
    assert frozen(map(clip, range(10)), tmp_path)
    assert is_frozen("digest", tmp_path)
    assert not is_frozen("other", tmp_path)
    with pytest.raises(KeyboardInterrupt):
        frozen(interrupted(), tmp_path)
    assert rows_of(tmp_path) == [clip(number) for number in range(10)]
    assert not list(tmp_path.rglob("*.partial"))


def test_no_clip_at_all(tmp_path):
    with pytest.raises(InputError, match="holds no clip"):
        frozen([], tmp_path)
    assert not (tmp_path / INDEX).exists()


def test_a_name_that_is_not_text_for_a_file_is_a_name_still(tmp_path):
    odd = [clip("é\u2028"), clip("x" * 5000)]
    frozen(odd, tmp_path)
    assert rows_of(tmp_path) == odd
    assert part_path("ab12", tmp_path) == tmp_path / LISTING / "ab12.parquet"


def peak_of(count, folder):
    gc.collect()
    tracemalloc.start()
    freeze(map(clip, range(count)), 10 * PART_ROWS, False, "digest", folder)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert count_clips(folder) == count
    return peak


@pytest.mark.slow
def test_memory_does_not_grow_with_the_rows(tmp_path):
    frozen(map(clip, range(200)), tmp_path / "warm")
    few, many = peak_of(3_000, tmp_path / "few"), peak_of(30_000, tmp_path / "many")
    assert many < 1.3 * few + 2**19
