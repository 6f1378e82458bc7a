"""Any folder of videos, and the motion-control cases."""

from collections import Counter
from importlib import resources

import numpy as np
import pytest
from PIL import Image

from dynamicrafter.errors import InputError
from dynamicrafter.files import sha256_file
from dynamicrafter.media.sampling import center_crop
from dynamicrafter.shards import sample_key
from eval.benchmarks.catalogue import read_table, video_key
from eval.benchmarks.folder import read
from eval.benchmarks.selection import read_selection
from tests.eval.benchmarks.layouts import clip, composed, select

FOLDER = ("benchmark=folder", "benchmark.prompt=it moves")


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    root = tmp_path_factory.mktemp("videos")
    for number, name in enumerate(("a/x.mp4", "b/x.mp4", "b/x.avi", "y.mp4", "-z.mp4")):
        clip(root / name, number)
    (root / "notes.txt").write_text("-")
    return root


def catalogue(root, *overrides):
    return read(composed("benchmark=folder", f"benchmark.root={root}", *overrides).benchmark)


def test_names_are_kept_apart(videos):
    found = catalogue(videos, "benchmark.prompt=it moves")
    keys = {one.file: one.key for one in found.entries}
    assert len(set(keys.values())) == 5
    assert keys["y.mp4"] == "y"
    assert keys["-z.mp4"] == "v-z"  # no formula
    assert keys["a/x.mp4"] == sample_key("a/x.mp4")
    assert found.findings["extra"] == ["notes.txt"]


def test_prompts_from_a_table_by_path_or_name(videos, tmp_path):
    table = tmp_path / "prompts.csv"
    table.write_text("video,prompt\na/x.mp4,one\ny.mp4,two, and more\nq.mp4,none\n")
    found = catalogue(videos, f"benchmark.prompts={table}")
    assert {one.file: one.words[0].prompt for one in found.entries} == {
        "a/x.mp4": "one", "y.mp4": "two, and more"}  # fmt: skip
    assert found.findings["captions_without_video"] == ["q.mp4"]
    assert sorted(found.findings["without_caption"]) == ["-z.mp4", "b/x.avi", "b/x.mp4"]
    table.write_text("video,prompt\nx.mp4,one\n")
    with pytest.raises(InputError, match=r"x\.mp4 may be a/x\.mp4 or b/x\.mp4"):
        catalogue(videos, f"benchmark.prompts={table}")


def test_videos_without_any_prompt_are_refused(videos):
    with pytest.raises(InputError, match=r"benchmark\.prompt='what moves and how'"):
        catalogue(videos)


def test_all_videos_of_a_protocol_that_takes_all(videos, tmp_path):
    every = (*FOLDER, f"benchmark.root={videos}", "protocol.choice=all")
    with pytest.raises(InputError, match=r"about all of 4 videos, and there are 5"):
        select(tmp_path / "run", *every, "protocol.count=4")
    with pytest.raises(InputError, match=r"takes 6 videos, 5 can be used"):
        select(tmp_path / "run", *every, "protocol.count=6")
    said = select(tmp_path / "run", *every, "protocol.count=5")
    assert said["outcome"]["videos"] == 5


def test_keys_are_file_names():
    for name in ("A B", "-x", "-" * 80, "-" + "a" * 79, "é"):
        key = video_key(name)
        assert sample_key(key) == key
        assert key[0] != "-"


def test_a_table_must_have_its_columns(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("video;prompt\na.mp4;one, two\n")
    assert read_table(path, ("video", "prompt")) == [{"video": "a.mp4", "prompt": "one, two"}]
    with pytest.raises(InputError, match=r"has no column text; it has video, prompt"):
        read_table(path, ("video", "text"))
    path.write_text("video,prompt\na.mp4\n")
    with pytest.raises(InputError, match=r"row 2: 1 of 2 columns"):
        read_table(path, ("video", "prompt"))


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """Images for all but one of the forty cases, in two formats."""
    root = tmp_path_factory.mktemp("pictures")
    rows = read_table(resources.files("eval.benchmarks") / "motion_control.csv", ("image",))
    for number, row in enumerate(rows[:-1]):
        name = row["image"] if number else row["image"].replace(".png", ".bmp")
        picture = np.random.default_rng(number).integers(0, 256, (30, 40, 3), np.uint8)
        Image.fromarray(picture).save(root / name)
    return root


def test_motion_control_names_the_images_that_are_missing(pictures, tmp_path):
    motion = ("benchmark=motion_control", f"benchmark.root={pictures}", "protocol.count=null")
    with pytest.raises(InputError, match=r"39 of 40; 1 missing \(fly-4\.png: a drone"):
        select(tmp_path, *motion)
    said = select(tmp_path, *motion, "allow_incomplete=true")
    assert said["complete"] is False
    rows = {row.key: row for row in read_selection(tmp_path / "selection.csv")}
    assert Counter(row.group for row in rows.values()) == {
        "wave": 4, "turn head": 4, "walk": 4, "run": 4, "jump": 4, "drink": 4, "smile": 4,
        "dance": 4, "pour": 4, "fly": 3}  # fmt: skip
    row = rows["wave-1"]
    assert (row.video, row.start_frame, row.fps) == ("", None, None)
    assert row.prompt == "a woman raises her right hand and waves at the camera"
    assert row.sha256 == sha256_file(pictures / "wave-1.bmp")
    own = np.array(Image.open(pictures / "wave-1.bmp"))
    image = np.asarray(Image.open(tmp_path / "images/wave-1.png"))
    np.testing.assert_array_equal(image, center_crop(own[None], (24, 24))[0])


def test_motion_control_takes_its_selection_back(pictures, tmp_path):
    motion = ("benchmark=motion_control", f"benchmark.root={pictures}", "protocol.count=3",
              "allow_incomplete=true")  # fmt: skip
    select(tmp_path / "first", *motion)
    select(tmp_path / "second", *motion, f"selection={tmp_path}/first/selection.csv")
    for name in ("selection.csv", "items.csv"):
        assert (tmp_path / "first" / name).read_bytes() == (tmp_path / "second" / name).read_bytes()


def test_every_case_has_its_action_four_times_and_an_image_of_its_own():
    path = resources.files("eval.benchmarks") / "motion_control.csv"
    rows = read_table(path, ("case", "action", "image", "prompt", "note"))
    assert len({row["case"] for row in rows}) == len({row["image"] for row in rows}) == 40
    assert set(Counter(row["action"] for row in rows).values()) == {4}
    assert all(row["note"] and row["prompt"] for row in rows)
