"""What a curate run tells W&B, read back from its offline files."""

import json

import numpy as np
import pytest

from curation.passes.gather import TABLE
from curation.publish import logged
from curation.tables import read_rows
from dynamicrafter.files import read_json
from tests.curation import run_folders
from tests.test_tracking import read_back


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return run_folders.make_run(tmp_path_factory.mktemp("run") / "curate", count=120)


@pytest.fixture
def told(monkeypatch):
    """What is logged, without W&B."""
    calls = []

    class Run:
        def __getattr__(self, name):
            return lambda *args: calls.append((name, *args))

    class Opened:
        def __init__(self, *args):
            calls.append(("open", *args))

        def __enter__(self):
            return Run()

        def __exit__(self, *details):
            pass

    monkeypatch.setattr(logged.tracking, "open_run", Opened)
    return calls


def log(run, clips_may_leave=False, **changes):
    config = run_folders.config() | changes
    logged.log_run(config, run, read_json(run / "summary.json"), clips_may_leave)


def test_tables_tell_the_funnel_the_reasons_and_the_captions(run, told):
    log(run)
    tables = {call[1]: call[2:] for call in told if call[0] == "table"}
    funnel = read_json(run / "funnel.json")
    columns, rows = tables["funnel"]
    assert columns == ["step", "in", "dropped", "out", "unknown"]
    assert [dict(zip(columns, row, strict=True)) for row in rows] == [
        {**{name: step[name] for name in columns[1:]}, "step": step["name"]}
        for step in funnel["steps"]
    ]
    assert dict(tables["reasons"][1]) == funnel["reasons"]
    columns, rows = tables["captions"]
    assert len(columns) == 8
    assert len(rows) == sum(funnel["kept"].values())
    (summary,) = [call[1] for call in told if call[0] == "summary"]
    assert summary["kept"] == funnel["kept"]


def test_captions_are_bounded_and_spread(run, told, monkeypatch):
    monkeypatch.setattr(logged, "MOST_CAPTIONS", 10)
    log(run)
    (rows,) = [call[3] for call in told if call[:2] == ("table", "captions")]
    keys = [row[0] for row in rows]
    every = [
        key
        for split in ("train", "test")
        for key in logged.ShardReader(run / "dataset" / split).keys
    ]
    assert len(keys) == len(set(keys)) == 10
    assert keys == [every[i * len(every) // 10] for i in range(10)]


def test_histograms_count_every_clip_that_was_measured(run, told):
    log(run)
    found = {call[1]: call[2:] for call in told if call[0] == "histogram"}
    rows = [row for row in read_rows(run / TABLE) if row["reason"] is None]
    kept = sum(row["kept"] for row in run_folders.decisions(run))
    assert len(rows) > kept
    for name in ("object_motion", "sharpness", "letterbox_share", "cgi_caption"):
        counts, edges = found[f"measures/{name}"]
        values = [float(row[name]) for row in rows if row[name] is not None]
        assert sum(counts) == len(values)
        expected, _ = np.histogram(values, edges)
        assert counts == expected.tolist()
        assert edges[0] == min(values)
        assert len(edges) == 65
    assert "measures/action_probability" not in found  # nothing is known of it
    (rows_of,) = [call[3] for call in told if call[:2] == ("table", "measures")]
    table = {row[0]: row[1:] for row in rows_of}
    unknown = sum(row["letterbox_share"] is None for row in rows)
    assert table["letterbox_share"][-2:] == [len(rows) - unknown, unknown]
    assert table["action_probability"] == ["0 to 1", None, None, 0, len(rows)]
    assert table["object_motion"][0] == "frame diagonals/s"


@pytest.mark.parametrize(
    ("source_says", "may_leave", "allow", "count"),
    [
        (True, True, False, 3),
        (True, False, True, 0),
        (False, True, False, 0),
        (False, True, True, 3),
    ],
)
def test_clips_leave_only_where_they_may(tmp_path, told, source_says, may_leave, allow, count):
    run = run_folders.make_run(tmp_path, count=40, may_be_passed_on=source_says)
    log(run, may_leave, allow_media=allow)
    videos = [call for call in told if call[0] == "video"]
    assert len(videos) == count
    for _, name, _, caption in videos:
        assert name.startswith("clips/clip-")
        assert "motion" in caption


def test_wandb_gets_it_offline_and_shows_no_machine(run, capfd):
    log(run, clips_may_leave=True)
    text = json.dumps(read_back(run))
    for name in ("funnel", "reasons", "captions", "measures/object_motion", "clips/clip-"):
        assert name in text
    assert list(run.glob("wandb/offline-run-*/files/media/videos/clips/*.mp4"))
    assert capfd.readouterr().err == ""


def test_disabled_reads_nothing(tmp_path, told):
    logged.log_run(
        run_folders.config() | {"tracking": {"mode": "disabled"}}, tmp_path / "absent", {}, True
    )
    assert told == []
