"""The whole chain on a small synthetic film: four shots, one of them longer than max_shot_s."""

import contextlib
import json
import os
import shutil
from collections import Counter
from pathlib import Path

import cv2
import hydra
import numpy as np
import pytest

from curation import pipeline
from curation.engines import EngineSettings, Seat, open_engine
from curation.measures.contract import SAMPLES_PER_SECOND
from curation.passes.dcp_table import COLUMNS
from curation.passes.measure import MeasureSettings
from curation.passes.run import Passes
from curation.sources import read_clips
from curation.tables import read_rows
from dynamicrafter.command import run_in_folder
from dynamicrafter.errors import FailedShareError, InputError, MediaError
from dynamicrafter.files import read_json, sha256_file
from dynamicrafter.media.decode import iterate_frames
from dynamicrafter.shards import ShardReader
from tests.media.clips import write_video

FPS = 12
SCENES = {"left": (-0.06, 0, 7), "still": (0, 0, 4), "up": (0, -0.015, 13), "pan": (0.3, 0, 5)}
REASONS = {"camera_dominated": 1, "frozen": 1, "not_video": 1}


def scene(name, seed):
    """A textured square that moves by (x, y) diagonals a second over a texture; `pan` moves all."""
    x, y, seconds = SCENES[name]
    rng = np.random.default_rng(seed)
    brightness = (60, 190)[seed % 2]
    background, patch = (smooth_texture(rng, size, brightness) for size in ((96, 640), (44, 60)))
    for i in range(FPS * seconds):
        across, down = (round(v * np.hypot(96, 160) * i / FPS) for v in (x, y))
        if name == "pan":
            yield background[:, across : across + 160]
            continue
        frame = background[:, :160].copy()
        top, left = 45 + down, 90 + across
        frame[top : top + 44, left : left + 60] = patch
        yield frame


def smooth_texture(rng, size, brightness):
    noise = cv2.GaussianBlur(rng.random((*size, 3)), (0, 0), 3)
    return np.clip(brightness + (noise - noise.mean()) / noise.std() * 30, 0, 255).astype(np.uint8)


def short_film(path, seed):
    """Seven seconds of a square that moves to the left."""
    return write_video(path, np.stack(list(scene("left", seed))), fps=FPS)


@pytest.fixture(scope="module")
def films(tmp_path_factory):
    folder = tmp_path_factory.mktemp("films")
    frames = np.stack([f for n, name in enumerate(SCENES) for f in scene(name, n)])
    write_video(folder / "film.mp4", frames, fps=FPS)
    (folder / "page.mp4").write_text("<html>403 Forbidden</html>")
    return folder


class Inline:
    """An engine of this process alone, which counts what would go to worker processes."""

    def __init__(self):
        self.calls = Counter()
        self.fails = {}  # name of a function → what it raises

    def isolated(self, function, *args):
        self.calls[function.__name__] += 1
        if function.__name__ in self.fails:
            raise self.fails[function.__name__]
        return function(*args)

    def run(self, work, jobs):
        for job in jobs:
            yield work(job, self.isolated)

    def meet(self, name):
        pass

    def lead(self, name, work):
        work()


@pytest.fixture
def inline(monkeypatch):
    """The engine of the test, without processes; nobody waits for the disk."""
    engine = Inline()
    monkeypatch.setattr(
        pipeline, "open_engine", lambda settings, seat: contextlib.nullcontext(engine)
    )
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)
    return engine


def config(run_dir, *overrides, source="folder"):
    with hydra.initialize_config_module("conf", version_base="1.3"):
        return hydra.compose(
            "curate",
            [
                f"source={source}",
                f"run_dir={run_dir}",
                "tracking=disabled",
                "measure.short_side=64",
                "encode.short_side=96",
                "measures.action.use=false",
                "filters.max_frozen_share=0.9",  # small pictures move by whole pixels now and then
                "filters.min_sharpness=1",  # and have no fine detail
                "max_failed_share=0.5",
                "unit_timeout_s=60",
                *overrides,
            ],
        )


def curate(run_dir, films, *overrides):
    """Curate a folder of films; returns the summary."""
    run_in_folder(config(run_dir, f"source.path={films}", *overrides), "curation.pipeline")
    return read_json(run_dir / "summary.json")


def curate_table(run_dir, films, rows, *overrides):
    """Curate a table of (path, caption, dynamic_wording, dynamic_confidence)."""
    names = ["path", "caption", "dynamic_wording", "dynamic_confidence"]
    table = run_dir.with_suffix(".jsonl")
    lines = [json.dumps(dict(zip(names, row, strict=True))) for row in rows]
    table.write_text("\n".join(lines) + "\n")
    own = [
        f"source.table={table}",
        f"source.data_dir={films}",
        f"source.extra=[{','.join(names[2:])}]",
    ]
    run_in_folder(config(run_dir, *own, *overrides, source="table"), "curation.pipeline")
    return read_json(run_dir / "summary.json")


def table(folder, name="measures"):
    return read_rows(folder / f"{name}.parquet")


def samples_of(folder):
    found = {}
    for split in ("train", "test"):
        reader = ShardReader(folder / "dataset" / split, verify=True)
        found |= {key: reader[number] for number, key in enumerate(reader.keys)}
    return found


def files_below(folder, *names):
    """Path → what tells whether it was written again; of shots, whether they are others."""
    paths = [path for name in names for path in (folder / name).rglob("*") if path.is_file()]
    return {str(path.relative_to(folder)): _facts(path) for path in paths}


def _facts(path):
    if path.parent.name == "shots":
        return sha256_file(path)
    return path.stat().st_ino, path.stat().st_mtime_ns


def new_files(before, after):
    assert before.items() <= after.items()
    return sorted(after.keys() - before.keys())


STORED = ("listing", "inspect-1", "shots", "measures", "encoded")


@pytest.fixture(scope="module")
def curated(films, tmp_path_factory):
    """The run of two worker processes that others are compared with."""
    folder = tmp_path_factory.mktemp("run") / "two"
    return folder, curate(folder, films, "workers=2")


@pytest.fixture
def copy(curated, tmp_path):
    """A run folder that a test may change."""
    shutil.copytree(curated[0], tmp_path / "copy")
    return tmp_path / "copy"


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


def test_a_whole_run_is_not_touched(curated, films, inline, copy, capsys):
    before = files_below(copy, ".")
    curate(copy, films, "workers=2")
    assert "already whole" in capsys.readouterr().err
    assert files_below(copy, ".") == before
    (copy / "done.json").unlink()  # as if it had been stopped just before its end
    stored, tars = files_below(copy, *STORED), files_below(copy, "dataset", "pack")
    summary = curate(copy, films, "workers=2")
    assert inline.calls == {}
    assert files_below(copy, *STORED) == stored
    after = files_below(copy, "dataset", "pack")
    assert {name: facts for name, facts in after.items() if name.endswith(".tar")} == {
        name: facts for name, facts in tars.items() if name.endswith(".tar")
    }
    assert summary["root_digest"] == curated[1]["root_digest"]


def test_another_threshold_measures_nothing(curated, films, tmp_path, inline, copy):
    before = files_below(copy, *STORED)
    assert curate(copy, films, "filters.min_object_motion=0.001")["kept"] == curated[1]["kept"]
    assert inline.calls == {}
    assert files_below(copy, *STORED) == before

    # The shot that another one admits is encoded, alone.
    admitted = curate(copy, films, "filters.max_camera_motion=9")
    assert inline.calls == {"encode_clip": 1}
    (added,) = new_files(before, files_below(copy, *STORED))
    assert added.startswith("encoded/")
    assert sum(admitted["kept"].values()) == 4
    assert admitted["reasons"] == {"frozen": 1, "not_video": 1}

    # … to the same bytes as if that had been the threshold from the beginning.
    fresh = curate(tmp_path / "fresh", films, "filters.max_camera_motion=9")
    assert fresh["root_digest"] == admitted["root_digest"]
    back = curate(copy, films)
    assert back["root_digest"] == curated[1]["root_digest"]


def guess(frames):
    """A classifier of graphics that takes everything for footage."""
    return 0.25


def test_another_setting_of_a_measure_measures_that_one(curated, films, inline, copy):
    before = files_below(copy, *STORED)
    own = "measures.cgi.classifier=tests.curation.test_pipeline:guess"
    summary = curate(copy, films, own)
    assert inline.calls == {"measure_span": 1}
    (added,) = new_files(before, files_below(copy, *STORED))
    assert added.startswith("measures/cgi/")
    assert {row["cgi_probability"] for row in table(copy)[:5]} == {0.25}
    assert {row["cgi_probability"] for row in table(curated[0])} == {None}
    for name in ("object_motion", "sharpness", "phash", "black_share"):
        assert [row[name] for row in table(copy)] == [row[name] for row in table(curated[0])]
    assert summary["root_digest"] != curated[1]["root_digest"]

    # A measure that is left out leaves its file; one that is lost is measured again, alone.
    inline.calls.clear()
    curate(copy, films, "measures.letterbox.use=false")
    assert inline.calls == {}
    assert "letterbox_share" not in table(copy)[0]
    (lost,) = (copy / "measures" / "sharpness").iterdir()
    lost.unlink()
    before = files_below(copy, *STORED)
    assert curate(copy, films)["root_digest"] == curated[1]["root_digest"]
    assert inline.calls == {"measure_span": 1}
    assert new_files(before, files_below(copy, *STORED)) == [f"measures/sharpness/{lost.name}"]


def test_another_cut_measures_all_again(curated, films, inline, copy):
    before = files_below(copy, *STORED)
    summary = curate(copy, films, "measure.cut_difference=14")
    assert inline.calls["measure_span"] == 1
    added = {name.rsplit("/", 1)[0] for name in new_files(before, files_below(copy, *STORED))}
    measures = {path.name for path in (copy / "measures").iterdir()}
    assert len(measures) == 6
    assert added == {"shots"} | {f"measures/{name}" for name in measures}
    assert summary["kept"] == curated[1]["kept"]  # the same shots are found
    assert inline.calls == {"measure_span": 1}  # and their videos are there


def test_a_film_more_touches_only_its_part(films, tmp_path, inline):
    own, run = tmp_path / "films", tmp_path / "run"
    shutil.copytree(films, own)
    alone = curate(run, own, "list.part_rows=1", "max_failed_share=0.6")
    before, inline.calls = files_below(run, *STORED), Counter()
    short_film(own / "a-first.mp4", 5)
    more = curate(run, own, "list.part_rows=1", "max_failed_share=0.6")
    assert inline.calls == {"inspect_clip": 1, "measure_span": 1, "encode_clip": 1}
    added = Counter(name.split("/")[0] for name in new_files(before, files_below(run, *STORED)))
    assert added == {"listing": 1, "inspect-1": 1, "shots": 1, "measures": 6, "encoded": 1}
    assert sum(more["kept"].values()) == sum(alone["kept"].values()) + 1
    assert [row["clip_id"] for row in table(run)][:2] == ["a-first.mp4", "film.mp4"]

    # Taken away again, the result is what it was.
    (own / "a-first.mp4").unlink()
    inline.calls.clear()
    again = curate(run, own, "list.part_rows=1", "max_failed_share=0.6")
    assert inline.calls == {}
    assert again["root_digest"] == alone["root_digest"]
    assert again["dataset"] == alone["dataset"]


def test_a_film_that_is_replaced_between_two_runs_is_inspected_again(tmp_path, inline):
    films, run = tmp_path / "films", tmp_path / "run"
    films.mkdir()
    for name, seed in (("a.mp4", 5), ("b.mp4", 7)):
        short_film(films / name, seed)
    curate(run, films, "list.part_rows=1")
    first = table(run)
    inline.calls.clear()
    short_film(films / "b.mp4", 9)
    summary = curate(run, films, "list.part_rows=1")
    assert inline.calls == {"inspect_clip": 1, "measure_span": 1, "encode_clip": 1}
    assert table(run)[0] == first[0]
    assert table(run)[1]["sha256"] == sha256_file(films / "b.mp4") != first[1]["sha256"]
    fresh = curate(tmp_path / "fresh", films)
    assert fresh["root_digest"] == summary["root_digest"]


def test_a_film_that_is_replaced_during_a_run_is_named(tmp_path, inline):
    films, run = tmp_path / "films", tmp_path / "run"
    films.mkdir()
    for name, seed in (("a.mp4", 5), ("b.mp4", 7)):
        short_film(films / name, seed)
    own = config(run, f"source.path={films}")
    settings = pipeline.as_settings(MeasureSettings, own.measure)
    tasks, absent = pipeline.plan_measures(own)
    filters = pipeline.as_settings(pipeline.Filters, own.filters)
    passes = Passes(inline, run, 60.0)
    passes.freeze(read_clips(pipeline.plain(own.source)), 64, True, "digest")
    passes.inspect()
    short_film(films / "b.mp4", 9)
    passes.measure(settings, tasks)
    passes.decide(settings, tasks, absent, filters, frozenset())
    assert [row["reason"] for row in table(run, "decisions")] == [None, "changed"]
    assert "changed since it was inspected; run again" in table(run)[1]["message"]

    # The command, run again, looks at the file that is there now.
    summary = curate(run, films)
    assert summary["reasons"] == {}
    assert table(run)[1]["sha256"] == sha256_file(films / "b.mp4")
    assert curate(tmp_path / "fresh", films)["root_digest"] == summary["root_digest"]


def test_a_film_that_is_replaced_before_it_is_inspected_or_encoded(tmp_path, inline):
    films, run = tmp_path / "films", tmp_path / "run"
    films.mkdir()
    for name, seed in (("a.mp4", 5), ("b.mp4", 7)):
        short_film(films / name, seed)
    own = config(run, f"source.path={films}")
    passes = Passes(inline, run, 60.0)
    passes.freeze(read_clips(pipeline.plain(own.source)), 64, True, "digest")
    short_film(films / "a.mp4", 9)
    passes.inspect()
    settings = pipeline.as_settings(MeasureSettings, own.measure)
    tasks, absent = pipeline.plan_measures(own)
    passes.measure(settings, tasks)
    filters = pipeline.as_settings(pipeline.Filters, own.filters)
    passes.decide(settings, tasks, absent, filters, frozenset())
    assert [row["reason"] for row in table(run, "decisions")] == ["changed", None]
    short_film(films / "b.mp4", 11)
    encode = pipeline.as_settings(pipeline.EncodeSettings, own.encode)
    assert passes.encode(encode)["failed"] == 1
    assert passes.plan(encode, 2**20) == {"train": [], "test": []}
    assert [row["reason"] for row in table(run, "decisions")] == ["changed", "changed"]
    assert read_json(run / "funnel.json")["kept"] == {"train": 0, "test": 0}
    assert sum(curate(run, films)["kept"].values()) == 2


@pytest.mark.parametrize("function", ["measure_span", "encode_clip"])
def test_what_was_too_slow_is_tried_again(curated, films, copy, inline, function):
    shutil.rmtree(copy / {"measure_span": "shots", "encode_clip": "encoded"}[function])
    inline.fails[function] = MediaError("timeout", "not done in 60 s, 2 times")
    own = "filters.min_object_motion=0.0029"
    summary = curate(copy, films, own, "max_failed_share=1")
    assert summary["reasons"]["timeout"] == {"measure_span": 1, "encode_clip": 3}[function]
    assert sum(summary["kept"].values()) == 0
    inline.fails.clear()
    inline.calls.clear()
    summary = curate(copy, films, own, "max_failed_share=1", "unit_timeout_s=120")
    assert inline.calls[function] == {"measure_span": 1, "encode_clip": 3}[function]
    assert summary["reasons"] == REASONS
    assert summary["kept"] == curated[1]["kept"]


def test_what_was_too_slow_to_be_inspected_is_tried_again(curated, films, tmp_path, inline):
    inline.fails["inspect_clip"] = MediaError("timeout", "not done in 60 s, 2 times")
    run = tmp_path / "run"
    assert curate(run, films, "max_failed_share=1")["reasons"] == {"timeout": 2}
    inline.fails.clear()
    summary = curate(run, films, "max_failed_share=1", "unit_timeout_s=120")
    assert summary["reasons"] == REASONS
    assert summary["dataset"] == curated[1]["dataset"]


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


def test_another_caption_is_looked_at_again(tmp_path, inline):
    films, run = tmp_path / "films", tmp_path / "run"
    films.mkdir()
    short_film(films / "a.mp4", 5)
    assert curate_table(run, films, [("a.mp4", "A dog", "none", "x")])["reasons"] == {}
    rendered = [("a.mp4", "3D animation of a dog", "none", "x")]
    assert curate_table(run, films, rendered)["reasons"] == {"cgi": 1}
    fresh = curate_table(tmp_path / "fresh", films, rendered)
    assert fresh["root_digest"] == read_json(run / "manifest.json")["root_digest"]


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
