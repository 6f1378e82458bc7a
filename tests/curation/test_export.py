"""The public CSV, read back as the loaders of the release do."""

import csv
import io
import tracemalloc

import pandas as pd
import pytest
from omegaconf import OmegaConf

from curation.commands.export_csv import export
from curation.passes.dcp_table import COLUMNS, concatenate, write_dcp_csv
from dynamicrafter.errors import InputError
from dynamicrafter.shards import Sample, write_shards
from tests.curation import run_folders

ROW = {
    "videoid": "v1",
    "contentUrl": "https://example.org/v1.mp4",
    "duration": "PT00H00M02S",
    "page_dir": "none",
    "name": "a man waves",
    "dynamic_confidence": 62,
    "dynamic_wording": "man waving",
    "dynamic_source_category": "human",
}


def loaded(path):
    """As the training loader of the release reads its table."""
    return pd.read_csv(path, dtype=str).dropna()


def pandas_na_words():
    """Every word that pandas itself takes for NaN, asked of it."""
    from pandas._libs.parsers import STR_NA_VALUES

    return sorted(STR_NA_VALUES - {""})


def test_it_has_the_eight_columns_of_the_release_in_their_order(tmp_path):
    write_dcp_csv(tmp_path / "dcp.csv", iter([ROW | {"more": "left out"}]))
    assert (tmp_path / "dcp.csv").read_text() == (
        "videoid,contentUrl,duration,page_dir,name,dynamic_confidence,dynamic_wording,"
        "dynamic_source_category\n"
        "v1,https://example.org/v1.mp4,PT00H00M02S,none,a man waves,62,man waving,human\n"
    )


def test_no_word_makes_a_loader_drop_a_row(tmp_path):
    words = pandas_na_words()
    assert {"NA", "nan", "null", "None", "#N/A"} <= set(words)
    rows = [ROW | {"videoid": f"v{i}", "name": word} for i, word in enumerate(words)]
    rows += [ROW | {"videoid": f"w{i}", "dynamic_wording": w} for i, w in enumerate(words)]
    rows += [ROW | {"videoid": f"c{i}", "contentUrl": f" {w}\n"} for i, w in enumerate(words)]
    rows += [ROW | {"videoid": word} for word in words]
    path = tmp_path / "dcp.csv"
    assert write_dcp_csv(path, rows) == len(rows)
    frame = loaded(path)
    assert len(frame) == len(rows)
    assert set(frame["name"][: len(words)]) == {"none"}
    ids = list(frame["videoid"][-len(words) :])
    assert ids == [f"{word}." for word in words]
    assert frame["name"].iloc[-1] == "a man waves"


@pytest.mark.parametrize("empty", ["", "  ", None, "\x00\n", "\u2028"])
def test_an_empty_cell_is_an_error_and_no_file(tmp_path, empty):
    with pytest.raises(ValueError, match="'v1': empty dynamic_wording"):
        write_dcp_csv(tmp_path / "dcp.csv", [ROW, ROW | {"dynamic_wording": empty}])
    assert list(tmp_path.iterdir()) == []


def test_captions_stay_in_their_line_and_cell(tmp_path):
    path = tmp_path / "dcp.csv"
    rows = [ROW | {"name": text, "videoid": f"v{i}"} for i, text in enumerate(run_folders.HOSTILE)]
    rows.append(ROW | {"name": 'half a \udce9 "quoted", caption\r\nof two lines\x85'})
    write_dcp_csv(path, rows)
    text = path.read_text(encoding="utf-8")
    assert len(text.splitlines()) == len(rows) + 1
    assert not any(ord(letter) < 32 for letter in text.replace("\n", ""))
    names = list(loaded(path)["name"])
    assert names[0] == run_folders.HOSTILE[0]
    assert names[1].startswith("# A heading | a | table | **bold**")
    assert names[-1] == 'half a \ufffd "quoted", caption of two lines'


def test_rows_are_not_held(tmp_path):
    rows = (ROW | {"videoid": f"v{i}", "name": "x" * 500} for i in range(20_000))  # 10 MB
    tracemalloc.start()
    try:
        write_dcp_csv(tmp_path / "dcp.csv", rows)
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()


def test_tables_are_joined_with_one_header(tmp_path):
    parts = [tmp_path / f"{i}.csv" for i in range(3)]
    for i, part in enumerate(parts):
        write_dcp_csv(part, [ROW | {"videoid": f"{i}-{j}"} for j in range(i)])
    concatenate(tmp_path / "all.csv", parts)
    assert list(loaded(tmp_path / "all.csv")["videoid"]) == ["1-0", "2-0", "2-1"]
    (tmp_path / "other.csv").write_text("a,b\n1,2\n")
    with pytest.raises(ValueError, match="does not begin with the DCP columns"):
        concatenate(tmp_path / "all.csv", [tmp_path / "other.csv"])


def settings(tmp_path, dataset, **changes):
    given = {"dataset": str(dataset), "output": str(tmp_path / "out.csv"), "min_confidence": None}
    return OmegaConf.create({**given, "splits": ["train", "test"], **changes})


def test_a_run_is_exported_as_the_run_exports_itself(tmp_path):
    run = run_folders.make_run(tmp_path / "run")
    for dataset in (run, run / "dataset"):
        export(settings(tmp_path, dataset))
        assert (tmp_path / "out.csv").read_bytes() == (run / "dcp.csv").read_bytes()
    export(settings(tmp_path, run / "dataset" / "test"))
    alone = loaded(tmp_path / "out.csv")
    whole = loaded(run / "dcp.csv")
    assert list(alone["videoid"]) == list(whole["videoid"][-len(alone) :])
    assert export(settings(tmp_path, run, splits=["test"])) == len(alone)


def test_the_confidence_may_be_asked_for(tmp_path):
    run = run_folders.make_run(tmp_path / "run")
    whole = loaded(run / "dcp.csv")
    count = export(settings(tmp_path, run, min_confidence=40))
    assert 0 < count < len(whole)
    assert count == sum(whole["dynamic_confidence"].astype(float) >= 40)


def test_shards_of_anybody_are_read_with_care(tmp_path):
    base = {"fps": 24.0, "frames": 16}
    infos = {
        "a": {},
        "b": {"videoid": ["a", "list"], "name": {"x": 1}, "dynamic_confidence": "high"},
        "c": {"videoid": "nan", "name": "\n", "dynamic_confidence": True, "duration": 7.5},
        "d": ROW | {"dynamic_confidence": "55"},
    }
    shards = [Sample(key, b"v", "t", base | info) for key, info in infos.items()]
    write_shards(tmp_path / "shards", shards, name="x", config_digest="c")
    assert export(settings(tmp_path, tmp_path / "shards")) == 4
    rows = list(csv.DictReader(io.StringIO((tmp_path / "out.csv").read_text())))
    assert set(rows[0]) == set(COLUMNS)
    assert [row["videoid"] for row in rows] == ["a", "b", "nan.", "v1"]
    assert rows[1]["name"] == rows[2]["name"] == rows[2]["dynamic_confidence"] == "none"
    assert rows[2]["duration"] == "7.5"
    assert len(loaded(tmp_path / "out.csv")) == 4
    assert export(settings(tmp_path, tmp_path / "shards", min_confidence=50)) == 1


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"dataset": "nowhere"}, "nowhere is neither a shard folder nor a curate run"),
        ({"min_confidence": 101}, "min_confidence=101 is not from 0 to 100"),
        ({"output": "."}, "output=. is a folder"),
    ],
)
def test_settings_that_cannot_be_used(tmp_path, changes, message):
    run = run_folders.make_run(tmp_path / "run", count=20)
    with pytest.raises(InputError, match=message):
        export(OmegaConf.merge(settings(tmp_path, run), changes))
