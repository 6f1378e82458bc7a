"""A small table of each public data set, with the columns that the data set is known to have."""

import csv
import json
from pathlib import Path

import pytest
from hydra import compose, initialize_config_module
from omegaconf import OmegaConf

from curation.sources import read_clips

CONF = Path(__file__).parents[2] / "conf/source"
PASSED_ON = {"folder": True, "demo": True, "table": False}


def source(option: str, **settings) -> dict:
    """The source of `conf/source/<option>.yaml` with settings as a command line gives them."""
    overrides = [f"source.{name}='{value}'" for name, value in settings.items()]
    with initialize_config_module("conf", version_base="1.3"):
        config = compose("curate", [f"source={option}", *overrides])
    return OmegaConf.to_container(config.source, resolve=True, throw_on_missing=True)


def write_csv(path: Path, rows: list[dict]) -> None:
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def clips(tmp_path, option, rows, key="table"):
    write_csv(tmp_path / "clips.csv", rows)
    settings = {key: tmp_path / "clips.csv", "data_dir": "/data"}
    return list(read_clips(source(option, **settings)))


WEBVID = {"videoid": "21179416", "contentUrl": "https://x/21179416.mp4", "duration": "PT00H00M18S",
          "page_dir": "006001_006050", "name": "Aerial shot, winter forest"}  # fmt: skip


@pytest.mark.parametrize("path", sorted(CONF.glob("*.yaml")), ids=lambda path: path.stem)
def test_every_source_says_whether_its_media_may_be_passed_on(path):
    config = OmegaConf.load(path)
    assert config.media_may_be_passed_on is PASSED_ON.get(path.stem, False)
    assert config.terms
    assert config.name
    assert config.kind


def test_webvid(tmp_path):
    clip, again, bare = clips(tmp_path, "webvid_csv", [
        WEBVID, {**WEBVID, "name": "The same again"},
        {**WEBVID, "videoid": "13", "contentUrl": "", "duration": "", "name": ""},
    ], key="csv")  # fmt: skip
    assert clip.clip_id == "006001_006050_21179416"
    assert (clip.root, clip.path) == ("/data", "videos/006001_006050/21179416.mp4")
    assert (clip.source, clip.video_id, clip.source_video) == ("webvid", "21179416", "21179416")
    assert (clip.start_s, clip.end_s, clip.stated_s) == (0.0, None, 18.0)
    assert clip.caption == "Aerial shot, winter forest"
    assert clip.extra == {
        key: WEBVID[key] for key in ("videoid", "page_dir", "contentUrl", "duration")
    }
    assert (again.clip_id, again.caption) == (clip.clip_id, "The same again")
    assert (bare.caption, bare.stated_s) == ("none", None)
    assert set(bare.extra) == {"videoid", "page_dir"}


def test_webvid_partitions(tmp_path):
    (tmp_path / "results_10M_train_4").mkdir()
    for i in range(3):
        write_csv(tmp_path / f"results_10M_train_4/{i}.csv", [{**WEBVID, "videoid": i}])
    pattern = tmp_path / "results_10M_train_4/*.csv"
    found = read_clips(source("webvid_csv", csv=pattern, data_dir="/data"))
    assert [clip.video_id for clip in found] == ["0", "1", "2"]


def test_the_fork_for_robots(tmp_path):
    row = {"videoid": "4", "contentUrl": "x", "duration": "x", "data_dir": "pick_up",
           "instruction": "Pick up the cup", "dynamic_confidence": "x", "dynamic_wording": "x",
           "dynamic_source_category": "x", "embodiment": "arm", "fps": "30"}  # fmt: skip
    (clip,) = clips(tmp_path, "dcp", [row], key="csv")
    assert (clip.clip_id, clip.path) == ("pick_up_4", "videos/pick_up/4.mp4")
    assert clip.caption == "Pick up the cup"
    assert clip.extra == {"videoid": "4", "page_dir": "pick_up"}


def test_dcp(tmp_path):
    columns = ("dynamic_confidence", "dynamic_wording", "dynamic_source_category")
    values = [("85", "man doing push-ups", "human"), ("40.0", "waves", "none"),
              ("nan", "none", ""), ("none", "x", "x"), ("101", "dog runs", "animal"),
              ("high", "dog runs", "animal")]  # fmt: skip
    rows = [WEBVID | dict(zip(columns, three, strict=True)) for three in values]
    found = [
        [clip.extra.get(name) for name in columns] for clip in clips(tmp_path, "dcp", rows, "csv")
    ]
    assert found == [
        ["85", "man doing push-ups", "human"],
        ["40", "waves", None],
        [None, None, None],
        [None, None, None],
        [None, "dog runs", "animal"],
        [None, "dog runs", "animal"],
    ]


def test_openvid(tmp_path):
    row = {"video": "-0Cvuc_0_12.mp4", "caption": "In the video, a man walks.",
           "aesthetic score": "5.09", "motion score": "12.1", "temporal consistency score": "0.98",
           "camera motion": "pan_left", "frame": "140", "fps": "29.97",
           "seconds": "4.67"}  # fmt: skip
    (clip,) = clips(tmp_path, "openvid", [row])
    assert (clip.clip_id, clip.path, clip.stated_s) == (row["video"], row["video"], 4.67)
    assert clip.extra["aesthetic score"] == "5.09"
    assert clip.extra["camera motion"] == "pan_left"


def test_panda70m(tmp_path):
    row = {
        "videoID": "--JiZ5_YAgk",
        "url": "https://www.youtube.com/watch?v=--JiZ5_YAgk",
        "timestamp": "[['0:00:08.300', '0:00:12.200'], ['0:01:00.000', '0:01:04.500']]",
        "caption": str(["A man's hand opens a box.", 'A "dog" runs.']),
        "matching_score": "[0.44, 0.51]",
        "desirable_filtering": "['desirable', '2_static_foreground_image']",
        "shot_boundary_detection": "[[['0:00:00.000', '0:00:03.900']], []]",
    }
    first, second = clips(tmp_path, "panda70m", [row])
    assert (first.clip_id, first.path) == ("--JiZ5_YAgk-8300-12200", "--JiZ5_YAgk.mp4")
    assert (first.start_s, first.end_s) == (8.3, 12.2)
    assert (first.caption, second.caption) == ("A man's hand opens a box.", 'A "dog" runs.')
    assert first.source_video == second.source_video == "--JiZ5_YAgk"
    assert second.extra["matching_score"] == "0.51"
    assert second.extra["desirable_filtering"] == "2_static_foreground_image"
    assert second.extra["url"] == row["url"]
    older = {
        name: row[name] for name in ("videoID", "url", "timestamp", "caption", "matching_score")
    }
    assert len(clips(tmp_path, "panda70m", [older])) == 2


@pytest.mark.parametrize(
    "written",
    ["['0:00:12.345', '0:00:15']", '["12.345", 15]', "[12.345, 15.0]", "0:00:12.345 - 0:00:15",
     "12.345,15"],
)  # fmt: skip
def test_koala36m(tmp_path, written):
    row = {"videoID": "a_B", "url": "u", "timestamp": written, "caption": "A dog",
           "clarity_score": "0.9", "aesthetic_score": "4.5", "motion_score": "3",
           "video_training_suitability_score": "2.1"}  # fmt: skip
    (clip,) = clips(tmp_path, "koala36m", [row])
    assert (clip.clip_id, clip.start_s, clip.end_s) == ("a_B-12345-15000", 12.345, 15.0)
    assert clip.extra["video_training_suitability_score"] == "2.1"


def test_internvid(tmp_path):
    row = {"YoutubeID": "xyz", "Start_timestamp": "00:00:19.786", "End_timestamp": "00:00:29.196",
           "Caption": "a dog", "UMT_Score": 0.41, "Aesthetic_Score": 4.5}  # fmt: skip
    (tmp_path / "a.jsonl").write_text(json.dumps(row) + "\n")
    (clip,) = read_clips(source("internvid", table=tmp_path / "a.jsonl", data_dir="/data"))
    assert (clip.clip_id, clip.path) == ("xyz-19786-29196", "xyz.mp4")
    assert clip.extra == {"UMT_Score": "0.41", "Aesthetic_Score": "4.5"}


def test_lvd2m(tmp_path):
    row = {"raw_caption": "raw", "refined_caption": "refined", "rewritten_caption": "rewritten",
           "key": "k1", "video_id": "v1", "url": "u", "dataset_src": "panda",
           "orig_caption": "orig",
           "total score": "31.5", "span": "['0:00:01', '0:00:21']", "video_time": "20"}  # fmt: skip
    (clip,) = clips(tmp_path, "lvd2m", [row])
    assert (clip.clip_id, clip.path, clip.video_id) == ("k1", "k1.mp4", "v1")
    assert (clip.caption, clip.start_s, clip.end_s) == ("refined", 1.0, 21.0)
    assert clip.extra == {
        "url": "u",
        "dataset_src": "panda",
        "total score": "31.5",
        "video_time": "20",
    }


def test_miradata(tmp_path):
    row = {"index": "3", "video_id": "v1", "start_frame": "30", "end_frame": "150",
           "main_object_caption": "m", "background_caption": "b", "style_caption": "s",
           "camera_caption": "c", "short_caption": "short", "dense_caption": "dense",
           "fps": "30.0"}  # fmt: skip
    (clip,) = clips(tmp_path, "miradata", [row])
    assert (clip.clip_id, clip.start_s, clip.end_s) == ("v1-1000-5000", 1.0, 5.0)
    assert clip.caption == "short"
    assert clip.extra["camera_caption"] == "c"


STRUCTURE = {
    "subjects": [
        {"TYPES": {"type": "Human", "sub_type": "Woman"}, "appearance": "Long black hair",
         "action": "She waves her hand.", "expression": "smiling", "position": "left",
         "is_main_subject": True},
        {"TYPES": {"type": "Animal", "sub_type": "Dog"}, "appearance": "brown",
         "action": "It sleeps.", "expression": "", "position": "right", "is_main_subject": False},
    ],
    "shot_type": "close_up", "camera_motion": "static", "environment": "a forest", "lighting": "",
}  # fmt: skip


@pytest.mark.parametrize("form", ["object", "text", "python", "fields"])
def test_skycaptioner(tmp_path, form):
    row = {"object": {"structural_caption": STRUCTURE}, "fields": STRUCTURE,
           "text": {"structural_caption": json.dumps(STRUCTURE)},
           "python": {"structural_caption": str(STRUCTURE)}}[form]  # fmt: skip
    (tmp_path / "a.json").write_text(json.dumps([{"path": "a/1.mp4", **row}]))
    (clip,) = read_clips(source("skycaptioner", table=tmp_path / "a.json", data_dir="/data"))
    assert (clip.clip_id, clip.path, clip.reason) == ("a/1.mp4", "a/1.mp4", "")
    assert clip.extra == {"dynamic_wording": "She waves her hand", "camera_motion": "static",
                          "dynamic_source_category": "human"}  # fmt: skip


def test_skycaptioner_without_an_action(tmp_path):
    still = {"subjects": [{**STRUCTURE["subjects"][0], "action": "none"}]}
    nobody = {"subjects": STRUCTURE["subjects"][1:]}
    both = {"subjects": [{**subject, "is_main_subject": True} for subject in STRUCTURE["subjects"]]}
    found = clips(tmp_path, "skycaptioner", [
        {"path": f"{i}.mp4", "structural_caption": json.dumps(structure)}
        for i, structure in enumerate((still, nobody, both))
    ])  # fmt: skip
    names = ("dynamic_wording", "dynamic_source_category")
    assert [[clip.extra[name] for name in names] for clip in found] == [
        ["none", "human"], ["none", "none"], ["She waves her hand; It sleeps", "human"],
    ]  # fmt: skip


def test_a_table_of_ones_own(tmp_path):
    (clip,) = clips(tmp_path, "table", [{"path": "sub/a.mp4", "caption": "A dog runs"}])
    assert (clip.clip_id, clip.path, clip.caption) == ("sub/a.mp4", "sub/a.mp4", "A dog runs")
    write_csv(tmp_path / "b.csv", [{"file": "7", "text": "A cat", "s": "1", "e": "2"}])
    settings = {"table": tmp_path / "b.csv", "data_dir": "/d", "path": "clips/{file}.mp4",
                "clip_id": "file", "caption": "text", "start": "s", "end": "e"}  # fmt: skip
    (clip,) = read_clips(source("table", **settings))
    assert (clip.clip_id, clip.path, clip.caption) == ("7", "clips/7.mp4", "A cat")
    assert (clip.start_s, clip.end_s) == (1.0, 2.0)


def test_a_folder_of_ones_own(tmp_path):
    for name in ("a.MOV", "b.mp4", "c.txt"):
        (tmp_path / name).touch()
    found = read_clips(source("folder", path=tmp_path))
    assert [clip.path for clip in found] == ["a.MOV", "b.mp4"]
