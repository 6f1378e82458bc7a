"""The whole chain on a small synthetic film."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from curation import pipeline
from curation.engines import EngineSettings, Seat, open_engine
from curation.measures.contract import SAMPLES_PER_SECOND
from curation.passes.dcp_table import COLUMNS
from dynamicrafter.errors import FailedShareError, InputError
from dynamicrafter.files import read_json, sha256_file
from dynamicrafter.media.decode import iterate_frames
from tests.curation.films import (
    REASONS,
    config,
    curate,
    curate_table,
    files_below,
    samples_of,
    short_film,
    table,
)


def test_each_shot_has_its_reason_and_direction(curated):
    folder, summary = curated
    rows, decisions = table(folder), table(folder, "decisions")
    assert [row["clip_id"] for row in rows] == ["film.mp4"] * 5 + ["page.mp4"]
    times = [(row["start_s"], row["end_s"]) for row in rows[:5]]
    # 7 + 4 + 13 + 5 s; the shot of 13 s is divided at 20 s, a multiple of max_shot_s = 10
    assert times == [(0, 7), (7, 11), (11, 20), (20, 24), (24, pytest.approx(29))]
    assert [row["frames"] for row in rows[:5]] == [84, 48, 108, 48, 60]
    reasons = [None, "frozen", None, None, "camera_dominated", "not_video"]
    assert [row["reason"] for row in decisions] == reasons
    assert [row["key"] for row in decisions] == [row["key"] for row in rows]
    assert abs(rows[0]["motion_direction"] - 180) < 30
    assert abs(rows[2]["motion_direction"] - 90) < 30
    assert abs(rows[4]["camera_motion"] - 0.3) < 0.03
    # the curves: a value between each two of the frames that were seen in full
    assert abs(len(rows[0]["motion_curve"]) - 7 * SAMPLES_PER_SECOND) <= 1
    assert not any(row["whole"] for row in rows)
    assert rows[5]["reason"] == "not_video"
    assert "page.mp4" in rows[5]["message"]
    assert summary["reasons"] == REASONS
    assert summary["rows"] == 6
    assert summary["absent"] == {}
    assert {row["sha256"] for row in rows[:5]} == {sha256_file(Path(rows[0]["root"]) / "film.mp4")}


def test_the_dataset_holds_the_kept_shots(curated, films):
    folder, summary = curated
    samples = samples_of(folder)
    assert {row["key"] for row in table(folder, "decisions") if row["kept"]} == set(samples)
    assert len(samples) == sum(summary["kept"].values()) == 3
    for split in ("train", "test"):
        assert summary["dataset"][split]["samples"] == summary["kept"][split]
    sample = next(s for s in samples.values() if s.key.endswith("-0-7000"))
    assert sample.text == sample.info["dynamic_wording"]
    assert "to the left" in sample.text
    assert (sample.info["frames"], sample.info["fps"]) == (84, 12)
    assert sample.info["measures"]["object_motion"]["unit"] == "frame diagonals/s"
    assert sample.info["digests"]["source"] == sha256_file(films / "film.mp4")
    assert {own.info["source"]["media_may_be_passed_on"] for own in samples.values()} == {True}
    clip = folder.parent / "clip.mp4"
    clip.write_bytes(sample.video)
    stored = [frame for _, frame in iterate_frames(clip)]
    source = [frame for _, frame in iterate_frames(films / "film.mp4")][:84]
    assert stored[0].shape == (sample.info["height"], sample.info["width"], 3)
    assert np.abs(np.stack(stored).astype(int) - source).mean() < 8


def test_the_table_has_the_eight_columns_and_no_empty_cell(curated):
    folder, summary = curated
    lines = (folder / "dcp.csv").read_text().splitlines()
    assert lines[0] == ",".join(COLUMNS)
    assert len(lines) == 1 + sum(summary["kept"].values())
    assert all(cell for line in lines for cell in line.split(","))


def test_one_worker_gives_the_same(curated, films, tmp_path):
    summary = curate(tmp_path / "one", films, "workers=1")
    assert summary["root_digest"] == curated[1]["root_digest"]
    for name in ("manifest.json", "decisions.parquet", "funnel.json", "dcp.csv"):
        assert (tmp_path / "one" / name).read_bytes() == (curated[0] / name).read_bytes()
    tars = sorted((tmp_path / "one" / "dataset").rglob("*.tar"))
    assert tars
    for tar in tars:
        other = curated[0] / tar.relative_to(tmp_path / "one")
        assert tar.read_bytes() == other.read_bytes()


@pytest.mark.parametrize(
    "overrides",
    [
        ["measure.span_s=9"],
        ["measure.span_s=20", "measure.job_s=1"],
        ["list.part_rows=1", "list.check_files=false"],
    ],
)
def test_how_the_work_is_divided_does_not_matter(curated, films, tmp_path, inline, overrides):
    summary = curate(tmp_path / "run", films, *overrides)
    assert summary["root_digest"] == curated[1]["root_digest"]
    assert read_json(tmp_path / "run" / "manifest.json") == read_json(curated[0] / "manifest.json")
    spans = {"measure.span_s=9": 4, "measure.span_s=20": 2}.get(overrides[0], 1)
    assert inline.calls == {"inspect_clip": 2, "measure_span": spans, "encode_clip": 3}


def test_the_corpus_may_lie_elsewhere(curated, films, tmp_path, inline, copy):
    shutil.copytree(films, tmp_path / "moved")  # with the times of change
    summary = curate(tmp_path / "fresh", tmp_path / "moved")
    assert summary["root_digest"] == curated[1]["root_digest"]
    assert summary["dataset"] == curated[1]["dataset"]
    # A run that goes on from before the move looks at the files again and measures nothing.
    inline.calls.clear()
    before = files_below(copy, "shots", "measures", "encoded")
    summary = curate(copy, tmp_path / "moved")
    assert inline.calls == {"inspect_clip": 2}
    assert files_below(copy, "shots", "measures", "encoded") == before
    assert summary["root_digest"] == curated[1]["root_digest"]
    assert table(copy)[0]["root"] == str(tmp_path / "moved")


def test_too_many_failures_are_an_error(films, tmp_path, inline):
    with pytest.raises(FailedShareError, match="1 of 2 clips could not be read") as caught:
        curate(tmp_path / "run", films, "max_failed_share=0.4")
    assert caught.value.exit_code == 3
    assert (tmp_path / "run" / "funnel.json").exists()
    assert not (tmp_path / "run" / "dataset").exists()
    assert not (tmp_path / "run" / "done.json").exists()
    curate(tmp_path / "run", films, "max_failed_share=0.5")
    assert inline.calls == {"inspect_clip": 2, "measure_span": 1, "encode_clip": 3}


def test_a_filter_over_an_absent_measure_ends_the_run_before_it_begins(films, tmp_path, inline):
    run = tmp_path / "run"
    for overrides, named in (
        (["filters.min_aesthetic=4"], "filters.min_aesthetic needs the measure aesthetic"),
        (["filters.max_text_share=0.1"], "filters.max_text_share needs the measure text_share"),
        (["measures.phash.use=false"], "filters.max_phash_distance needs the measure phash"),
    ):
        with pytest.raises(InputError, match=named) as caught:
            curate(run, films, *overrides)
        assert caught.value.exit_code == 2
    with pytest.raises(InputError, match=r"no weights are given; set measures\.aesthetic"):
        curate(run, films, "filters.min_aesthetic=4", "measures.aesthetic.use=true")
    assert inline.calls == {}
    assert not (run / "listing.parquet").exists()


def test_a_filter_over_an_absent_measure_keeps_or_drops_all(curated, films, inline, copy):
    own = ["filters.min_aesthetic=4", "measures.aesthetic.use=true"]
    summary = curate(copy, films, *own, "filters.on_missing=keep")
    assert summary["kept"] == curated[1]["kept"]
    assert "no weights are given" in summary["absent"]["aesthetic"]
    steps = {step["name"]: step for step in read_json(copy / "funnel.json")["steps"]}
    assert steps["unaesthetic"]["unknown"] == steps["unaesthetic"]["in"] == 3
    summary = curate(copy, films, *own, "filters.on_missing=drop")
    assert sum(summary["kept"].values()) == 0
    # Nothing else is known to fail: the caption that rules look at is unknown, too.
    assert sum(summary["reasons"].values()) == summary["rows"]
    assert inline.calls == {}


def test_stated_captions(films, tmp_path, inline):
    short_film(films.parent / "films-of-table.mp4", 5)
    own = tmp_path / "films"
    own.mkdir()
    shutil.move(films.parent / "films-of-table.mp4", own / "a.mp4")
    short_film(own / "b.mp4", 7)
    rows = [("a.mp4", "A dog", "The dog runs to the left.", "83"), ("b.mp4", "A cat", "none", "x")]
    run = tmp_path / "run"
    curate_table(run, own, rows, "captioner=stated")
    samples = {sample.info["clip_id"]: sample for sample in samples_of(run).values()}
    assert samples["a.mp4"].text == "The dog runs to the left."
    assert samples["a.mp4"].info["dynamic_confidence"] == 83
    assert samples["a.mp4"].info["caption"]["source"] == "stated"
    assert "motion to the left" in samples["b.mp4"].text
    assert samples["b.mp4"].info["caption"]["source"] == "embedded"
    assert {name: sample.info["name"] for name, sample in samples.items()} == {
        "a.mp4": "A dog",
        "b.mp4": "A cat",
    }
    flags = {sample.info["source"]["media_may_be_passed_on"] for sample in samples.values()}
    assert flags == {False}

    # The captioner is a matter of packing alone.
    inline.calls.clear()
    curate_table(run, own, rows, "captioner=embedded", "source.media_may_be_passed_on=true")
    assert inline.calls == {}
    samples = samples_of(run).values()
    assert {sample.info["caption"]["source"] for sample in samples} == {"embedded"}
    assert {sample.info["source"]["media_may_be_passed_on"] for sample in samples} == {True}


def test_opting_out_takes_effect_at_the_next_run(curated, films, inline, copy, tmp_path):
    key = next(iter(samples_of(copy)))
    (tmp_path / "out.txt").write_text(f"# asked for by mail\n{key}\n")
    summary = curate(copy, films, f"opt_out={tmp_path / 'out.txt'}")
    assert summary["reasons"] == {**REASONS, "opted_out": 1}
    assert key not in samples_of(copy)
    assert key not in (copy / "dcp.csv").read_text()
    assert inline.calls == {}


def test_a_clip_that_is_opted_out_is_never_opened_and_has_not_failed(tmp_path, inline):
    films, run = tmp_path / "films", tmp_path / "run"
    films.mkdir()
    for name, seed in (("a.mp4", 5), ("b.mp4", 7)):
        short_film(films / name, seed)
    (tmp_path / "out.txt").write_text("b.mp4\n")
    summary = curate(run, films, f"opt_out={tmp_path / 'out.txt'}", "max_failed_share=0")
    assert summary["reasons"] == {"opted_out": 1}
    assert sum(summary["kept"].values()) == 1
    assert inline.calls["measure_span"] == inline.calls["encode_clip"] == 1


def test_captions_are_inputs(tmp_path):
    table = tmp_path / "clips.csv"

    def digest(text):
        table.write_text("videoid,page_dir,name,contentUrl\n" + text)
        overrides = [f"source.csv={table}", f"source.data_dir={tmp_path}"]
        return pipeline.inputs(config(tmp_path, *overrides, source="webvid_csv"))["source"]

    first = digest("1,p,A cat,http://x\n")
    assert digest("1,p,A cat,http://x\n") == first
    assert digest("1,p,A dog,http://x\n") != first
    assert digest("1,p,A cat,http://y\n") != first


def test_an_engine_that_nobody_knows(tmp_path):
    seat = Seat(1, 60.0, tmp_path, "run")
    known = r"engine\.name is 'spark'; choose local, ray or slurm"
    with pytest.raises(InputError, match=known), open_engine(EngineSettings("spark"), seat):
        pass
