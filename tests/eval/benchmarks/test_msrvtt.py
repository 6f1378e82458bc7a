"""MSR-VTT in its layouts, with the traps of the real one."""

import pytest

from dynamicrafter.draws import generator
from dynamicrafter.errors import InputError
from eval.benchmarks.catalogue import in_natural_order
from eval.benchmarks.msrvtt import read
from eval.benchmarks.selection import read_selection
from tests.eval.benchmarks import layouts
from tests.eval.benchmarks.layouts import FOREIGN, MSRVTT_SIZES, QUOTED, composed, select

MSRVTT = ("benchmark=msrvtt", MSRVTT_SIZES)
PAIRS = [
    ("ret0", "msr9999", "video9999", "a person, it seems, is connecting something"),
    ("ret1", "msr7010", "video7010", "a plain caption"),
    ("ret2", "msr10", "video10", "=a formula"),
]


def catalogue(root, *overrides):
    return read(composed(*MSRVTT, f"benchmark.root={root}", *overrides).benchmark)


@pytest.fixture(scope="module")
def every_caption(msrvtt, tmp_path_factory):
    folder = tmp_path_factory.mktemp("all")
    said = select(folder, *MSRVTT, f"benchmark.root={msrvtt['official']}", "protocol.count=2",
                  "protocol.captions=all", "allow_incomplete=true")  # fmt: skip
    return folder, said


def test_a_missing_video_is_named_and_the_source_that_splits_share(every_caption):
    _, said = every_caption
    assert said["findings"]["missing"] == ["video7011"]
    assert said["findings"]["shared_source"] == [
        "https://example.org/same: video2 (train), video7011 (test)"
    ]
    counts = {one["what"]: (one["expected"], one["found"]) for one in said["counts"]}
    assert counts["videos of test"] == (3, 3)
    assert counts["captions of the chosen split"] == (60, 60)
    assert counts["files of the chosen split"] == (3, 2)


def test_every_caption_is_a_sample_with_the_window_of_its_video(every_caption):
    folder, said = every_caption
    rows = read_selection(folder / "selection.csv")
    assert said["outcome"]["samples"] == len(rows) == 40
    assert {row.video for row in rows} == {"TestVideo/video7010.mp4", "TestVideo/video9999.mp4"}
    first = [row for row in rows if row.key.startswith("video7010-")]
    assert {row.caption for row in first} == set(layouts.captions(7010))
    assert {QUOTED, FOREIGN} < {row.prompt for row in first}
    assert len({row.start_frame for row in first}) == 1
    assert len({(folder / f"images/{row.key}.png").read_bytes() for row in first}) == 1
    assert len(list((folder / "images").iterdir())) == 40


def test_no_cell_runs_in_a_spreadsheet(every_caption):
    folder, _ = every_caption
    assert ",'=1+1 is written on a board," in (folder / "selection.csv").read_text("utf-8")
    assert ", =1+1 is written on a board," in (folder / "items.csv").read_text("utf-8")


def test_one_caption_is_drawn_by_seed_and_name(msrvtt, tmp_path):
    root = msrvtt["merged"]
    select(tmp_path, *MSRVTT, f"benchmark.root={root}", "protocol.count=2", "protocol.seed=5",
           "allow_incomplete=true")  # fmt: skip
    rows = read_selection(tmp_path / "selection.csv")
    drawn = int(generator(5, 0, "caption/video9999").integers(20))
    assert [row.key for row in rows] == ["video7010", "video9999"]
    assert rows[1].caption == f"caption {drawn:02} of 9999"
    assert [row.video for row in rows] == ["videos/all/video7010.mp4", "videos/all/video9999.mp4"]


@pytest.mark.parametrize("split", ["test", "train", "val"])
def test_all_layouts_tell_the_same(msrvtt, split):
    tell = {}
    for layout, root in msrvtt.items():
        found = catalogue(root, f"benchmark.split={split}")
        tell[layout] = [(one.key, one.words, one.group) for one in found.entries]
    assert tell["official"] == tell["merged"] == tell["flat"]
    expected = {"test": ["video7010", "video9999"], "train": ["video2", "video10"],
                "val": ["video6513"]}  # fmt: skip
    assert [key for key, *_ in tell["flat"]] == expected[split]


@pytest.mark.parametrize("separator", [",", ";"])
def test_the_pairs_of_1k_a_in_both_forms(msrvtt, tmp_path, separator):
    path = tmp_path / "pairs.csv"
    lines = [separator.join(("key", "vid_key", "video_id", "sentence"))]
    for row in PAIRS:
        quoted = f'"{row[3]}"' if separator in row[3] else row[3]
        lines.append(separator.join((*row[:3], quoted)))
    layouts.crlf(path, lines)
    found = catalogue(msrvtt["flat"], "benchmark.split=1k-A", f"benchmark.pairs={path}")
    assert [one.key for one in found.entries] == ["video10", "video7010", "video9999"]
    assert {one.words[0].caption for one in found.entries} == {row[3] for row in PAIRS}
    assert found.counts[0].is_right


def test_a_sentence_whose_commas_have_no_quotes_is_kept_whole(msrvtt, tmp_path):
    path = tmp_path / "pairs.csv"
    layouts.crlf(path, ["key,vid_key,video_id,sentence", ",".join(PAIRS[0])])
    found = catalogue(msrvtt["flat"], "benchmark.split=1k-A", f"benchmark.pairs={path}")
    assert found.entries[0].words[0].prompt == PAIRS[0][3]


def test_odd_captions_and_files_are_named(tmp_path):
    root = layouts.msrvtt(tmp_path / "odd", "flat")
    document = layouts.msrvtt_document(layouts.IDS)
    del document["sentences"][0]
    kept = [one for one in document["sentences"] if one["video_id"] != "video7010"]
    document["sentences"] = [*kept, {"video_id": "video5", "caption": "of nothing"}]
    layouts.write(root / "MSRVTT_data.json", document)
    layouts.clip(root / "video4.mp4", 4)
    (root / "TestVideo").mkdir()
    (root / "TestVideo/video9999.mp4").write_bytes((root / "video9999.mp4").read_bytes())
    found = catalogue(root)
    assert found.findings["without_caption"] == ["video7010"]
    assert found.findings["captions_without_video"] == ["video5"]
    assert found.findings["unlisted"] == ["video4.mp4"]
    assert found.findings["twice_on_disk"] == ["TestVideo/video9999.mp4 = video9999.mp4"]
    wrong = {one.what: one for one in found.counts}
    assert wrong["videos of the chosen split with another number of captions"].found == 2


def test_missing_annotations_are_refused_with_the_remedy(tmp_path):
    with pytest.raises(InputError, match=r"benchmark\.annotations=FOLDER"):
        catalogue(tmp_path)


def test_a_document_of_something_else_is_refused(tmp_path):
    layouts.write(tmp_path / "MSRVTT_data.json", {"videos": [{"name": "a"}], "sentences": []})
    with pytest.raises(InputError, match=r"a video of MSR-VTT has no 'video_id'"):
        catalogue(tmp_path)


def test_numbers_in_names_are_numbers():
    assert in_natural_order(["video10", "video2", "a10b3", "a10b20", "a9"]) == [
        "a9", "a10b3", "a10b20", "video2", "video10"]  # fmt: skip
