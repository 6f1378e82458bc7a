"""The command: taken up again, taken back, short and broken videos, worker processes."""

import csv
import shutil
from collections import Counter

import pytest

from dynamicrafter.errors import InputError, MediaError
from dynamicrafter.files import read_json
from eval.benchmarks import cutting
from eval.benchmarks.integrity import check_ends
from eval.benchmarks.selection import read_selection
from tests.eval.benchmarks.layouts import clip, select

FOLDER = ("benchmark=folder", "benchmark.prompt=it moves", "protocol.count=3")
RESULTS = ("selection.csv", "items.csv")


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    root = tmp_path_factory.mktemp("videos")
    for number in range(5):
        clip(root / f"v{number}.mp4", number)
    clip(root / "short.avi", 9, frames=20)
    return root


@pytest.fixture(scope="module")
def first(videos, tmp_path_factory):
    folder = tmp_path_factory.mktemp("select") / "first"
    select(folder, *FOLDER, f"benchmark.root={videos}")
    return folder


@pytest.fixture
def cuts(monkeypatch):
    """How often each file is opened."""
    counts = Counter()
    cut = cutting.cut

    def counted(job, *rest):
        counts[job.key] += 1
        return cut(job, *rest)

    monkeypatch.setattr(cutting, "cut", counted)
    return counts


def results(folder):
    images = {path.name: path.read_bytes() for path in (folder / "images").iterdir()}
    return [(folder / name).read_bytes() for name in RESULTS], images


def edited(path, target, key=None, **values):
    """A copy of a selection with other cells in the row of a key, or in all rows."""
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        if key in (None, row["key"]):
            row.update(values)
    with target.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return target


@pytest.mark.slow
@pytest.mark.sample
def test_worker_processes_select_the_same(first, videos, tmp_path):
    select(tmp_path / "two", *FOLDER, f"benchmark.root={videos}", "workers=2")
    assert results(tmp_path / "two") == results(first)


def test_a_killed_run_goes_on_where_it_stopped(first, videos, tmp_path, monkeypatch, cuts):
    arguments = (tmp_path / "run", *FOLDER, f"benchmark.root={videos}")
    counted = cutting.cut

    def cut_two(job, *rest):
        if len(cuts) == 2:
            raise KeyboardInterrupt
        return counted(job, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(cutting, "cut", cut_two)
        with pytest.raises(KeyboardInterrupt):
            select(*arguments)
    before = set(cuts)
    assert len(before) == 2
    select(*arguments)
    assert set(cuts) > before
    assert set(cuts.values()) == {1}
    assert results(tmp_path / "run") == results(first)


def test_a_change_that_moves_no_window_decodes_nothing(first, videos, tmp_path, cuts):
    folder = shutil.copytree(first, tmp_path / "copy")
    select(folder, *FOLDER, f"benchmark.root={videos}", "allow_incomplete=true")
    assert not cuts
    select(folder, *FOLDER, f"benchmark.root={videos}", "protocol.seed=1")
    assert cuts
    rows = read_selection(folder / "selection.csv")
    assert {path.stem for path in (folder / "images").iterdir()} == {row.key for row in rows}


def test_a_replaced_video_is_cut_again(videos, tmp_path, cuts):
    root = shutil.copytree(videos, tmp_path / "root")
    every = (*FOLDER, f"benchmark.root={root}", "protocol.count=null")
    select(tmp_path / "run", *every)
    clip(root / "v3.mp4", 77)
    select(tmp_path / "run", *every)
    assert cuts["v3"] == 2
    assert {count for key, count in cuts.items() if key != "v3"} == {1}


def test_a_selection_is_taken_back_where_the_videos_lie_otherwise(first, videos, tmp_path):
    root = tmp_path / "elsewhere"
    (root / "deep").mkdir(parents=True)
    for row in read_selection(first / "selection.csv"):
        shutil.copy(videos / row.video, root / "deep" / row.video)
    said = select(tmp_path / "run", *FOLDER, f"benchmark.root={root}",
                  f"selection={first}/selection.csv")  # fmt: skip
    assert said["root"] == str(root.resolve())
    rows = read_selection(tmp_path / "run/selection.csv")
    assert all((root / row.video).is_file() for row in rows)
    lists, images = results(first)
    assert results(tmp_path / "run")[1] == images
    assert (tmp_path / "run/items.csv").read_bytes() == lists[1]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"video": "gone.mp4"}, r"has no video gone\.mp4"),
        ({"video": "../up.mp4"}, r"is no path inside the benchmark"),
        ({"sha256": "ab" * 32}, r"is another file than was selected"),
        ({"start_frame": "30"}, r"start_frame=30 .* goes past the end"),
        ({"stride": "2"}, r"16 frames at stride 2, protocol mini 16 at 3"),
        ({"frames": "14"}, r"14 frames at stride 3, protocol mini 16 at 3"),
    ],
)
def test_a_selection_that_does_not_fit_is_refused(first, videos, tmp_path, values, message):
    key = read_selection(first / "selection.csv")[1].key
    other = edited(first / "selection.csv", tmp_path / "other.csv", key, **values)
    with pytest.raises(InputError, match=message):
        select(tmp_path / "run", *FOLDER, f"benchmark.root={videos}", f"selection={other}")


def test_a_selection_of_another_number_is_refused(first, videos, tmp_path):
    with pytest.raises(InputError, match=r"selects 3 videos, protocol mini takes 2"):
        select(tmp_path, *FOLDER, f"benchmark.root={videos}", "protocol.count=2",
               f"selection={first}/selection.csv")  # fmt: skip


def test_short_videos_are_dropped_or_taken_at_a_smaller_stride(videos, tmp_path):
    every = (*FOLDER, f"benchmark.root={videos}", "protocol.count=null")
    skipped = select(tmp_path / "skip", *every)
    assert [one["video"] for one in skipped["dropped"]] == ["short.avi"]
    assert skipped["complete"] is True
    select(tmp_path / "reduce", *every, "short=reduce_stride")
    rows = {row.key: row for row in read_selection(tmp_path / "reduce/selection.csv")}
    assert len(rows) == 6
    assert rows["short"].stride == 1
    assert rows["short"].start_frame + 16 <= 20
    assert {row.stride for key, row in rows.items() if key != "short"} == {3}
    again = select(tmp_path / "again", *every, "short=reduce_stride",
                   f"selection={tmp_path}/reduce/selection.csv")  # fmt: skip
    assert again["outcome"]["samples"] == 6
    with pytest.raises(InputError, match=r"short=maybe; choose skip or reduce_stride"):
        select(tmp_path / "maybe", *every, "short=maybe")


def test_a_container_that_states_too_few_frames_is_counted(tmp_path):
    root = tmp_path / "root"
    for number in range(2):
        clip(root / f"v{number}.avi", number)
    path = root / "v0.avi"
    data = bytearray(path.read_bytes())
    for place in (data.index(b"avih") + 8 + 16, data.index(b"strh") + 8 + 32):
        data[place : place + 4] = (30).to_bytes(4, "little")  # dwTotalFrames, dwLength
    path.write_bytes(data)
    said = select(tmp_path / "run", *FOLDER, f"benchmark.root={root}", "protocol.count=2")
    assert said["findings"]["wrong_count"] == ["v0.avi: 50, not 30"]
    assert len(read_selection(tmp_path / "run/selection.csv")) == 2


def test_a_video_that_only_a_decoder_finds_broken_is_refused_or_replaced(videos, tmp_path):
    root = shutil.copytree(videos, tmp_path / "root")
    path = root / "v1.mp4"
    data = path.read_bytes()
    start = data.index(b"mdat") + 4
    size = int.from_bytes(data[start - 8 : start - 4], "big") - 8
    path.write_bytes(data[:start] + bytes(size) + data[start + size :])
    every = (*FOLDER, f"benchmark.root={root}", "protocol.count=null")
    with pytest.raises(InputError, match=r"1 corrupt \(v1\.mp4: unreadable\)"):
        select(tmp_path / "run", *every)
    said = select(tmp_path / "run", *every, "allow_incomplete=true")
    assert said["complete"] is False
    assert "v1" not in {row.key for row in read_selection(tmp_path / "run/selection.csv")}
    assert read_json(tmp_path / "run/done.json")["summary"]["allow_incomplete"] is True


def test_truncation_shows_in_the_container(videos, tmp_path):
    for name in ("v0.mp4", "short.avi"):
        check_ends(videos / name)
        data = (videos / name).read_bytes()
        (tmp_path / name).write_bytes(data[:-100])
        with pytest.raises(MediaError, match=r"ends within a part|of \d+ bytes"):
            check_ends(tmp_path / name)
    data = (videos / "v0.mp4").read_bytes()
    (tmp_path / "v0.mp4").write_bytes(data.replace(b"moov", b"free"))
    with pytest.raises(MediaError, match=r"has no index"):
        check_ends(tmp_path / "v0.mp4")
    (tmp_path / "page.mp4").write_text("<html>403 Forbidden</html>")
    with pytest.raises(MediaError, match=r"is none of mp4"):
        check_ends(tmp_path / "page.mp4")
