"""The review page: which clips, what it says of them, and the videos beside it."""

import json
import re
import types

import pytest

from curation.commands import review
from curation.commands.review import badness_of, curve_of
from dynamicrafter.errors import InputError
from dynamicrafter.files import read_json
from dynamicrafter.shards import Sample, ShardReader, write_shards
from tests.curation import captioned
from tests.curation.captioned import CLIPS, settings


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory):
    return captioned.make_run(tmp_path_factory.mktemp("run"))


def made(folder, **changes):
    """(keys in the order of the page, `review.json`, page) of a command."""
    folder.mkdir()
    config = settings("review", folder, **changes)
    review.inputs(config)
    review.run(config, folder)
    page = (folder / "review.html").read_text()
    return re.findall(r'data-key="([^"]+)"', page), read_json(folder / "review.json"), page


def test_all_clips_are_there_with_their_videos(run_folder, tmp_path):
    keys, content, page = made(tmp_path / "own", run=str(run_folder))
    assert sorted(keys) == [f"clip-{number}" for number in range(8)]
    assert [clip["key"] for clip in content["clips"]] == keys
    assert f'data-page="{content["page"]}"' in page
    for split in ("train", "test"):
        reader = ShardReader(run_folder / "dataset" / split)
        for number in range(len(reader)):
            sample = reader[number]
            assert (tmp_path / "own" / "clips" / f"{sample.key}.mp4").read_bytes() == sample.video
            assert f'data-src="clips/{sample.key}.mp4"' in page
    assert {clip["key"]: clip["wording"] for clip in content["clips"]} == {
        f"clip-{number}": wording for number, (_, wording, *_) in enumerate(CLIPS)
    }


def test_the_draw_is_a_function_of_the_seed(run_folder, tmp_path):
    first, content, _ = made(tmp_path / "a", run=str(run_folder), count=5)
    again, same, _ = made(tmp_path / "b", dataset=str(run_folder / "dataset"), count=5)
    other, _, _ = made(tmp_path / "c", run=str(run_folder), count=5, seed=1)
    assert len(set(first)) == 5
    assert (first, content["page"]) == (again, same["page"])
    assert first != other
    longer, _, _ = made(tmp_path / "d", run=str(run_folder), count=7)
    assert longer[:5] == first


def test_other_picks_take_their_clips_in_drawn_order(run_folder, tmp_path):
    order, _, _ = made(tmp_path / "all", run=str(run_folder))
    picked = {
        pick: made(tmp_path / pick, run=str(run_folder), pick=pick, count=count)[0]
        for pick, count in (("disagree", 60), ("impure", 2), ("lowest", 3))
    }
    assert set(picked["disagree"]) == {"clip-2", "clip-3"}
    assert "clip-2" in picked["impure"]
    assert set(picked["lowest"]) == {"clip-4", "clip-3", "clip-5"}
    for keys in picked.values():
        assert keys == [key for key in order if key in keys]


def test_what_nobody_knows_is_not_picked():
    clip = {"wording": "none", "confidence": None, "object_motion": 0.1}
    for pick in ("disagree", "impure", "lowest"):
        asked = types.SimpleNamespace(pick=pick, moves_above=0.01, sure_from=40)
        assert badness_of(types.SimpleNamespace(**clip), asked) is None


def test_markup_in_a_caption_stays_text(run_folder, tmp_path):
    _, _, page = made(tmp_path / "own", run=str(run_folder))
    assert "<img" not in page
    assert page.count("<script>") == 1
    assert "&lt;/script&gt;&lt;img src=x" in page


def test_the_page_may_play_what_lies_beside_it_and_nothing_else(run_folder, tmp_path):
    _, _, page = made(tmp_path / "own", run=str(run_folder))
    policy = re.search(r'Content-Security-Policy" content="([^"]+)"', page)[1]
    rules = dict(rule.split(" ", 1) for rule in policy.replace("&#39;", "'").split("; "))
    assert rules["media-src"] == "'self' file: data:"
    assert rules["default-src"] == "'none'"
    assert rules["script-src"].startswith("'sha256-")


def test_media_that_may_not_be_passed_on_is_said(tmp_path, capsys):
    folder = captioned.make_run(tmp_path / "run", may_be_passed_on=False)
    _, _, page = made(tmp_path / "own", run=str(folder))
    assert "media of 8 clips may not be passed on" in capsys.readouterr().err
    assert "do not copy the folder" in page
    assert "data:video" not in page


def test_shards_of_anybody_make_a_page(tmp_path):
    odd = [
        {"measures": {"motion_curve": {"value": [1, "x", None]}}, "name": 7},
        {"measures": [], "source": "x", "caption": 3, "dynamic_confidence": "1e999"},
        {"measures": {"motion_curve": {"value": [0.1] * 5000}}, "name": "a" * 100_000},
    ]
    film = next(captioned.samples()).video
    samples = [
        Sample(f"odd-{number}", film, "none", {"fps": 24.0, "frames": 24, **info})
        for number, info in enumerate(odd)
    ]
    write_shards(tmp_path / "shards", samples, name="x", config_digest="test")
    keys, content, page = made(tmp_path / "own", dataset=str(tmp_path / "shards"))
    assert sorted(keys) == ["odd-0", "odd-1", "odd-2"]
    assert {clip["wording"] for clip in content["clips"]} == {"none"}
    assert page.count("Measured motion</figcaption>") == 1
    assert len(page) < 500_000


def test_clips_of_one_key_are_not_mixed(tmp_path):
    own = list(captioned.samples())[:2]
    for split in ("train", "test"):
        write_shards(tmp_path / "shards" / split, own, name=split, config_digest="test")
    with pytest.raises(InputError, match=r"two clips have the key clip-[01]"):
        made(tmp_path / "own", dataset=str(tmp_path / "shards"))


def test_a_curve_is_a_list_of_numbers_or_nothing():
    def curve(value):
        return curve_of({"measures": {"motion_curve": {"value": value}}}, "motion_curve")

    assert curve([0, 0.5]) == [0.0, 0.5]
    assert [curve(value) for value in ("0.5", [0.5, None], {}, None, [float("nan")])] == [[]] * 5
    assert len(curve([0.5] * 10**5)) == review.CURVE


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"pick": "worst"}, "pick=worst; choose one of random, disagree, impure, lowest"),
        ({"count": 0}, "count=0 is not from 1 to"),
        ({"pick": "disagree", "sure_from": 0, "moves_above": 0}, "pick=disagree finds no clip"),
    ],
)
def test_odd_settings_are_refused(run_folder, tmp_path, changes, message):
    config = settings("review", tmp_path, run=str(run_folder), **changes)
    with pytest.raises(InputError, match=message):
        review.run(config, tmp_path)


def test_another_order_leaves_no_old_video(run_folder, tmp_path):
    keys, _, _ = made(tmp_path / "own", run=str(run_folder))
    config = settings("review", tmp_path / "own", run=str(run_folder), count=2)
    review.run(config, tmp_path / "own")
    left = {path.stem for path in (tmp_path / "own" / "clips").iterdir()}
    assert left == set(keys[:2])
    assert json.loads((tmp_path / "own" / "review.json").read_text())["pick"] == "random"
