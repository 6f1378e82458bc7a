"""What `curate purity` finds of a corpus, against figures counted by hand."""

import csv
import math
import re
import shutil
from collections import Counter

import numpy as np
import pytest
from markupsafe import escape

from curation.commands import purity
from curation.commands.captioned import Captioned, from_run, from_table, number_of, text_of
from curation.commands.coloured import coloured
from curation.commands.purity import Extremes
from curation.purity import score
from curation.purity.corpus import Corpus, entropy
from curation.purity.first_frame import first_frame, without_motion
from curation.tables import read_rows
from dynamicrafter.errors import InputError
from dynamicrafter.files import read_json
from dynamicrafter.statistics import wilson_interval
from tests.curation import captioned
from tests.curation.captioned import CLIPS, HOSTILE, settings
from tests.curation.tables_of import row, write_measures

WORDINGS = [wording for _, wording, *_ in CLIPS if wording != "none"]


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory):
    return captioned.make_run(tmp_path_factory.mktemp("run"))


def looked_at(folder, **changes):
    """(`purity.json`, page) of a command."""
    folder.mkdir(parents=True)
    config = settings("purity", folder, **changes)
    purity.inputs(config)
    purity.run(config, folder)
    return read_json(folder / "purity.json"), (folder / "purity.html").read_text()


@pytest.fixture(scope="module")
def found(run_folder, tmp_path_factory):
    return looked_at(tmp_path_factory.mktemp("purity") / "own", run=str(run_folder))


def test_the_corpus_is_the_mean_of_its_captions(found):
    corpus = found[0]["corpus"]
    own = [score.purity(text) for text in WORDINGS]
    assert found[0]["clips"] == len(CLIPS)
    assert corpus["after"]["value"] == pytest.approx(np.mean([one.value for one in own]))
    assert corpus["after"]["leakage"] == pytest.approx(np.mean([one.leakage for one in own]))
    assert corpus["before"]["value"] < corpus["after"]["value"]
    assert corpus["after"]["none_share"] == 1 / len(CLIPS)
    assert sum(corpus["after"]["histogram"]) == len(WORDINGS)
    for side in (corpus["before"], corpus["after"]):
        assert sum(side["leaking"].values()) == pytest.approx(side["leakage"])


def test_variety_is_counted_by_hand(found):
    """After: run 3, roll, drive, jump, dance, turn; categories human 3 and four others."""
    corpus = found[0]["corpus"]
    after = corpus["after"]
    assert dict(after["top_verbs"]) == {
        "run": 3, "roll": 1, "drive": 1, "jump": 1, "dance": 1, "turn": 1,
    }  # fmt: skip
    assert after["verb_entropy"] == pytest.approx(-(3 / 8 * math.log2(3 / 8)) + 5 / 8 * 3)
    assert after["top_verb_share"] == 1
    assert after["duplicate_share"] == pytest.approx(1 / 6)  # `Man running.` twice
    assert corpus["categories"]["human"] == 3
    shares = np.array([3, 1, 1, 1, 1]) / 7
    assert corpus["category_entropy"] == pytest.approx(-(shares * np.log2(shares)).sum())
    assert corpus["no_category_share"] == 1 / 8


def test_confidence_is_held_against_measured_motion(found):
    sure = found[0]["confidence"]
    cells = ("sure_and_moving", "sure_and_still", "unsure_and_moving", "unsure_and_still")
    assert [sure[name] for name in cells] == [5, 1, 1, 1]
    by_bin = {one["low"]: one for one in sure["bins"]}
    assert sorted(by_bin) == pytest.approx([0, 0.2, 0.6, 0.7, 0.8, 0.9])
    share = wilson_interval(2, 2)
    last = by_bin[0.9]["share"]
    assert (last["value"], last["low"], last["high"]) == (share.value, share.low, share.high)
    by_hand = (0.05 + 0.8 + 0.4 + 0.7 + 2 * 0.175 + 2 * 0.075) / 8
    assert sure["error"] == pytest.approx(by_hand)
    assert sure["clips"] == 8
    assert len(sure["calibrated"]) == 101
    assert sure["calibrated"] == sorted(sure["calibrated"])


def test_the_calibrated_confidence_is_a_table(run_folder, tmp_path):
    found, _ = looked_at(tmp_path / "own", run=str(run_folder))
    with (tmp_path / "own" / "calibration.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [int(row["dynamic_confidence"]) for row in rows] == list(range(101))
    assert float(rows[100]["calibrated"]) == found["confidence"]["calibrated"][100] == 1


def test_clips_off_the_diagonal_are_listed(found):
    examples = found[0]["examples"]
    assert [one["key"] for one in examples["still"]] == ["clip-2"]
    assert [one["key"] for one in examples["moving"]] == ["clip-3"]
    assert examples["impure"][0]["key"] == "clip-2"
    values = [one["value"] for one in examples["impure"]]
    assert values == sorted(values)
    assert len(values) == len(WORDINGS)


def test_clips_without_a_good_caption_are_counted_apart(found):
    assert found[0]["failed"] == {"impure": 1}
    assert found[0]["said_by"] == {"vlm_pixels": 8}
    assert "Clips without a good caption" in found[1]


def test_every_clip_has_its_figures(run_folder, tmp_path):
    looked_at(tmp_path / "own", run=str(run_folder))
    rows = read_rows(tmp_path / "own" / "purity.parquet")
    assert [row["key"] for row in rows] == [f"clip-{number}" for number in range(8)]
    first = score.decoupling(*CLIPS[0][:2])
    assert (rows[0]["removal"], rows[0]["kept"]) == (first.removal, first.kept)
    assert rows[4]["value_after"] is None


def test_run_shards_and_table_say_the_same(run_folder, found, tmp_path):
    shards, _ = looked_at(tmp_path / "shards", dataset=str(run_folder / "dataset"))
    table, page = looked_at(
        tmp_path / "table", table=str(captioned.make_table(tmp_path / "dcp.csv"))
    )
    assert shards["corpus"] == table["corpus"] == found[0]["corpus"]
    assert shards["confidence"] == found[0]["confidence"]
    assert table["confidence"] is None
    assert "Not measured: no clip has both" in page
    assert table["first_frame"] == {"absent": "a table holds no videos; name a run or a dataset"}
    assert not (tmp_path / "table" / "calibration.csv").exists()


def test_text_stays_text_and_words_are_coloured(found):
    page = found[1]
    assert "<img" not in page
    assert page.count("<script>") == 1
    assert '<span class="word motion" title="motion">running</span>' in page
    assert '<span class="word appearance" title="appearance">Brown</span>' in page


def test_colouring_keeps_every_character():
    for text in (HOSTILE, "A red car &amp; a dog, running!", "\u202e\u0130 <b>jump</b>", ""):
        plain = re.sub(r"</?span[^>]*>", "", coloured(text))
        assert plain == str(escape(text))


def test_what_was_worded_from_motion_is_not_praised_for_it(found):
    assert "agrees with it says nothing" not in found[1]
    page = purity.page({**found[0], "said_by": {"embedded": 8}})
    assert "agrees with it says nothing" in page


@pytest.mark.parametrize("named", [{}, {"run": "r", "table": "t"}])
def test_exactly_one_source_is_named(named, tmp_path):
    with pytest.raises(InputError, match=f"and {len(named)} are named"):
        purity.inputs(settings("purity", tmp_path, **named))


def test_what_is_no_source_is_refused(tmp_path):
    with pytest.raises(InputError, match="is neither a shard folder nor"):
        purity.inputs(settings("purity", tmp_path, run=str(tmp_path)))
    with pytest.raises(InputError, match="is no file"):
        purity.inputs(settings("purity", tmp_path, table=str(tmp_path)))
    (tmp_path / "odd.csv").write_text("name,dynamic_wording\na,b\n")
    with pytest.raises(InputError, match="no column dynamic_confidence, dynamic_source_category"):
        list(from_table(tmp_path / "odd.csv"))


def test_tables_of_two_runs_are_not_mixed(run_folder, tmp_path):
    shutil.copytree(run_folder, tmp_path / "run")
    write_measures(tmp_path / "run", [row(f"other-{number}") for number in range(9)])
    with pytest.raises(InputError, match="do not agree; run it again"):
        list(from_run(tmp_path / "run"))


@pytest.mark.parametrize(
    ("name", "value"), [("bins", 0), ("bins", 2.5), ("sure_from", 101), ("moves_above", -1)]
)
def test_odd_settings_are_refused(run_folder, tmp_path, name, value):
    config = settings("purity", tmp_path, run=str(run_folder), **{name: value})
    with pytest.raises(InputError, match=f"{name}={value} is not"):
        purity.run(config, tmp_path)


def test_hostile_cells_are_unknown():
    assert [text_of(value) for value in (None, 3, "", " \x00 ", "NA", ["a"])] == ["none"] * 6
    assert text_of("a\nb\ud800") == "a b\ufffd"
    assert len(text_of("a" * 10**6)) == 2000
    assert [number_of(value) for value in ("1e999", "nan", True, {}, "x")] == [None] * 5
    assert number_of("0.5") == 0.5


def test_extremes_are_the_first_of_a_sorted_list():
    values = np.random.default_rng(0).integers(0, 9, 200).tolist()
    kept = Extremes(7)
    for number, value in enumerate(values):
        kept.add(value, number, Captioned(str(number), "", "", None, "", "", "", None))
    wanted = sorted(range(200), key=lambda number: (values[number], number))[:7]
    assert [int(one["key"]) for one in kept.to_json()] == wanted


def test_a_corpus_without_a_word_has_no_figures():
    corpus = Corpus()
    corpus.add("none", "none", "none")
    found = corpus.to_json()
    assert found["after"]["value"] is None
    assert found["score"] is found["category_entropy"] is found["after"]["verb_entropy"] is None
    assert entropy(Counter("aabbccdd")) == pytest.approx(2)


class AxisClip:
    """Texts and frames as vectors that are known."""

    def texts(self, texts):
        known = {"Man running.": [3.0, 4.0], "Man": [2.0, 0.0]}
        return np.array([known[text] for text in texts], np.float32)


def test_first_frame_leakage_by_hand():
    """Cosines of the caption: 0.6, then 0.8 and 0.6; of the rest of it with the first frame: 1."""
    images = np.array([[1, 0], [0, 1], [1, 0]], np.float32)
    found = first_frame(AxisClip(), images, "Man running.")
    assert found.leakage == pytest.approx(0.6 - 1)
    assert found.growth == pytest.approx((0.6 + 0.8 + 0.6) / 3 - 0.6)
    for text in ("none", "Running.", "Man"):  # nothing, nothing left, nothing to leave out
        assert first_frame(AxisClip(), images, text) is None


def test_motion_words_are_left_out():
    assert without_motion("Man running.") == "Man"
    assert "danc" not in without_motion("Woman dancing in a dark studio")


@pytest.mark.slow
@pytest.mark.sample
def test_clip_looks_at_the_clips_that_are_drawn(run_folder, tmp_path, one_thread):
    from tests.features.tiny_clip import NAME, make_tiny_clip

    make_tiny_clip(tmp_path)
    clip = {"checkpoint": str(tmp_path / "tiny.safetensors"), "model": NAME, "clips": 6}
    found, page = looked_at(tmp_path / "own", run=str(run_folder), first_frame=clip)
    first = found["first_frame"]
    assert (first["clips"], first["unreadable"], first["model"]) == (6, 0, NAME)
    assert 3 <= first["after"]["captions"] <= 6
    assert abs(first["after"]["leakage"]) <= 2
    assert f"over 6 clips, by {NAME}" in page
