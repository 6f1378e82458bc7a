"""What is done again when something has changed, and what is not."""

import shutil
from collections import Counter

import pytest

from curation import recipe
from curation.passes.encode import EncodeSettings
from curation.passes.filters import Filters
from curation.passes.measure import MeasureSettings
from curation.passes.run import Passes
from curation.sources import read_clips
from dynamicrafter.errors import MediaError
from dynamicrafter.files import read_json, sha256_file
from tests.curation.films import (
    REASONS,
    STORED,
    config,
    curate,
    curate_table,
    files_below,
    new_files,
    short_film,
    table,
)


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
    own = "measures.cgi.classifier=tests.curation.test_rerun:guess"
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
    settings = recipe.as_settings(MeasureSettings, own.measure)
    tasks, absent = recipe.plan_measures(own)
    filters = recipe.as_settings(Filters, own.filters)
    passes = Passes(inline, run, 60.0)
    passes.freeze(read_clips(recipe.plain(own.source)), 64, True, "digest")
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
    passes.freeze(read_clips(recipe.plain(own.source)), 64, True, "digest")
    short_film(films / "a.mp4", 9)
    passes.inspect()
    settings = recipe.as_settings(MeasureSettings, own.measure)
    tasks, absent = recipe.plan_measures(own)
    passes.measure(settings, tasks)
    filters = recipe.as_settings(Filters, own.filters)
    passes.decide(settings, tasks, absent, filters, frozenset())
    assert [row["reason"] for row in table(run, "decisions")] == ["changed", None]
    short_film(films / "b.mp4", 11)
    encode = recipe.as_settings(EncodeSettings, own.encode)
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


def test_another_caption_is_looked_at_again(tmp_path, inline):
    films, run = tmp_path / "films", tmp_path / "run"
    films.mkdir()
    short_film(films / "a.mp4", 5)
    assert curate_table(run, films, [("a.mp4", "A dog", "none", "x")])["reasons"] == {}
    rendered = [("a.mp4", "3D animation of a dog", "none", "x")]
    assert curate_table(run, films, rendered)["reasons"] == {"cgi": 1}
    fresh = curate_table(tmp_path / "fresh", films, rendered)
    assert fresh["root_digest"] == read_json(run / "manifest.json")["root_digest"]
