"""UCF-101 in its own layout, with the traps of the real one."""

import csv
import shutil
from collections import Counter
from importlib import resources

import numpy as np
import pytest
from PIL import Image

from dynamicrafter.errors import InputError
from dynamicrafter.files import sha256_file
from dynamicrafter.items import Reading, read_items
from dynamicrafter.shards import sample_key
from eval.benchmarks.catalogue import read_table
from eval.benchmarks.selection import read_selection
from eval.benchmarks.ucf101 import class_prompts, class_words
from eval.windows import VideoFile, Window
from tests.eval.benchmarks import layouts
from tests.eval.benchmarks.layouts import CLASSES, UCF_SIZES, select

UCF = ("benchmark=ucf101", UCF_SIZES)


@pytest.fixture(scope="module")
def whole(ucf, tmp_path_factory):
    """The test part of split 1, all that can be used of it."""
    folder = tmp_path_factory.mktemp("whole")
    said = select(folder, *UCF, f"benchmark.root={ucf}", "protocol.count=null",
                  "allow_incomplete=true")  # fmt: skip
    return folder, said


def test_every_flaw_is_named_and_counted(whole):
    _, said = whole
    found = said["findings"]
    assert found["missing"] == ["HammerThrow/v_HammerThrow_g01_c02.avi"]
    assert found["unlisted"] == ["Hammering/v_Hammering_g09_c01.avi"]
    assert set(found["extra"]) == {"Juggling", "Hammering/Thumbs.db"}
    assert found["corrupt"] == ["UCF-101/Hammering/v_Hammering_g01_c02.avi: truncated"]
    assert len(found["too_short"]) == 1
    assert "HandStandPushups_g01_c02.avi: 20 frames, a window spans 46" in found["too_short"][0]
    assert len(found["doubled"]) == 1
    assert "g01_c03.avi = " in found["doubled"][0]
    assert "missing_elsewhere" not in found
    counts = {one["what"]: (one["expected"], one["found"]) for one in said["counts"]}
    assert counts["classes"] == (3, 3)
    assert counts["videos in testlist01"] == (8, 8)
    assert counts["files of the chosen part"] == (8, 7)
    assert [one["reason"] for one in said["dropped"]] == ["too_short"]
    assert said["complete"] is False
    assert said["allow_incomplete"] is True
    assert said["outcome"] == {"videos": 5, "tried": 6, "samples": 5, "dropped": 1}


def test_the_class_is_the_folder_s_and_stands_in_the_official_order(whole):
    rows = read_selection(whole[0] / "selection.csv")
    assert [row.group for row in rows] == ["Hammering", "HammerThrow"] + ["HandstandPushups"] * 3
    assert rows[2].video == "UCF-101/HandstandPushups/v_HandStandPushups_g01_c01.avi"
    assert {sample_key(row.key) for row in rows} == {row.key for row in rows}
    assert rows[0].key == "v_hammering_g01_c01"


def test_condition_images_are_the_first_frames_as_real_windows_are_fitted(whole, ucf):
    folder, _ = whole
    for row in read_selection(folder / "selection.csv"):
        video = VideoFile(ucf / row.video, row.sha256)
        real = Window(row.key, video, row.start_frame, row.frames, row.stride, (24, 24), 1.0)
        image = np.asarray(Image.open(folder / "images" / f"{row.key}.png"))
        np.testing.assert_array_equal(image, real.read()[0])
        assert row.sha256 == sha256_file(ucf / row.video)
        assert (row.fps, row.stride, row.frames) == (25.0, 3, 16)


def test_animate_reads_the_items(whole):
    folder, _ = whole
    reading = Reading(long_prompts="cut")  # without counting tokens
    items = read_items(str(folder / "items.csv"), None, None, (24, 24), reading=reading)
    rows = read_selection(folder / "selection.csv")
    assert [(item.key, item.prompt) for item in items] == [(row.key, row.prompt) for row in rows]
    assert items[0].prompt == "a man swings a hammer and drives a nail into wood"
    assert {path.stem for path in (folder / "images").iterdir()} == {row.key for row in rows}


def test_an_incomplete_set_is_refused_with_counts_and_names(ucf, tmp_path):
    with pytest.raises(InputError, match=r"7 of 8.*1 missing \(HammerThrow/v_HammerThrow_g01_c02"):
        select(tmp_path / "run", *UCF, f"benchmark.root={ucf}", "protocol.count=2")
    assert "v_Hammering_g01_c02.avi: truncated" in (tmp_path / "run/integrity.md").read_text()
    assert not (tmp_path / "run/selection.csv").exists()


def test_other_sizes_than_the_official_ones_are_refused(ucf, tmp_path):
    with pytest.raises(InputError, match=r"classes: 3 of 101; videos in testlist01: 8 of 3783"):
        select(tmp_path, "benchmark=ucf101", f"benchmark.root={ucf}", "benchmark.split=1")


def test_another_split_is_whole_and_the_root_may_be_the_folder_of_classes(ucf, tmp_path):
    said = select(tmp_path, *UCF, f"benchmark.root={ucf}/UCF-101", "benchmark.split=2",
                  "protocol.count=4")  # fmt: skip
    assert said["complete"] is True
    assert said["findings"]["missing_elsewhere"] == ["HammerThrow/v_HammerThrow_g01_c02.avi"]
    rows = read_selection(tmp_path / "selection.csv")
    assert len(rows) == 4
    assert all("_g08_" in row.video for row in rows)
    assert all((ucf / "UCF-101" / row.video).is_file() for row in rows)


def test_classes_have_their_shares_of_the_training_list(ucf, tmp_path):
    select(tmp_path, *UCF, f"benchmark.root={ucf}", "benchmark.split=2", "protocol.count=3",
           "protocol.choice=by_class")  # fmt: skip
    # The training list of split 2 has 2, 2 and 4 videos: 3 x (1/4, 1/4, 1/2), largest remainders.
    rows = read_selection(tmp_path / "selection.csv")
    assert Counter(row.group for row in rows) == {
        "Hammering": 1, "HammerThrow": 1, "HandstandPushups": 1}  # fmt: skip


def test_too_few_of_a_class_are_refused_and_none_is_taken_twice(ucf, tmp_path):
    with pytest.raises(InputError, match=r"takes 2 videos of HammerThrow, 1 can be used, and too"):
        select(tmp_path, *UCF, f"benchmark.root={ucf}", "benchmark.split=2", "protocol.count=8",
               "protocol.choice=by_class")  # fmt: skip


def test_a_list_with_a_wrong_label_is_refused(ucf, tmp_path):
    lists = shutil.copytree(ucf / "ucfTrainTestlist", tmp_path / "lists")
    layouts.crlf(lists / "trainlist01.txt", ["HammerThrow/v_HammerThrow_g08_c01.avi 3"])
    with pytest.raises(InputError, match=r"line 1: label 3, but HammerThrow is class 2"):
        select(tmp_path / "run", *UCF, f"benchmark.root={ucf}", f"benchmark.lists={lists}")


def test_missing_lists_are_refused_with_the_remedy(tmp_path):
    (tmp_path / "Hammering").mkdir()
    with pytest.raises(InputError, match=r"benchmark\.lists=FOLDER"):
        select(tmp_path / "run", *UCF, f"benchmark.root={tmp_path}")


def test_class_names_as_words():
    words = {"ApplyEyeMakeup": "apply eye makeup", "TaiChi": "tai chi", "YoYo": "yo yo",
             "HandstandPushups": "handstand pushups"}  # fmt: skip
    assert class_prompts("classname", list(words)) == words
    assert class_words("Punch") == "punch"


def test_a_prompt_file_must_name_every_class(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("Hammering: nails go in\nhammerthrow: a hammer flies\n")
    with pytest.raises(InputError, match=r"1 of 3 classes: HandstandPushups"):
        class_prompts(str(path), CLASSES)
    path.write_text(path.read_text() + "HandstandPushups: up and down\n")
    assert class_prompts(str(path), CLASSES)["HammerThrow"] == "a hammer flies"
    table = tmp_path / "mine.csv"
    with table.open("w", newline="") as file:
        csv.writer(file).writerows([("class", "prompt"), *((name, "go") for name in CLASSES)])
    assert class_prompts(str(table), CLASSES) == dict.fromkeys(CLASSES, "go")


def test_our_own_prompts_are_motion_sentences_for_101_classes():
    path = resources.files("eval.benchmarks") / "ucf101_prompts.csv"
    rows = read_table(path, ("class", "prompt"))
    names = [row["class"] for row in rows]
    assert len(set(names)) == 101
    assert names == sorted(names, key=str.casefold)  # as the official list is ordered
    assert len({row["prompt"] for row in rows}) == 101
    assert all(6 <= len(row["prompt"].split()) <= 14 for row in rows)
