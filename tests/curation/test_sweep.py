"""A sweep counts what the run would have counted with other thresholds."""

import itertools
import json
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from omegaconf import OmegaConf

from curation.commands import sweep
from curation.passes.decide import decide
from curation.passes.filters import threshold_names, with_threshold
from curation.passes.gather import TABLE
from curation.publish.spread import Names, Spread
from curation.tables import read_rows
from dynamicrafter.errors import InputError
from dynamicrafter.files import read_json, write_json
from tests.curation import run_folders
from tests.curation.run_folders import FILTERS, HOSTILE

CONF = Path(__file__).parents[2] / "conf"
DISABLED = run_folders.OFFLINE | {"mode": "disabled"}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return run_folders.make_run(tmp_path_factory.mktemp("curate"), count=300)


def settings(run_folder, vary, **changes):
    none = dict.fromkeys(threshold_names())
    given = {"run": str(run_folder), "grid": False, "duplicates": "present", "tracking": DISABLED}
    return OmegaConf.create({**given, "vary": none | vary, **changes})


def swept(run_folder, folder, vary, **changes):
    folder.mkdir(exist_ok=True)
    sweep.run(settings(run_folder, vary, **changes), folder)
    return read_json(folder / "sweep.json")


def funnel_with(run_folder, folder, **thresholds):
    """What `curate` itself decides with other thresholds."""
    filters = FILTERS
    for name, value in thresholds.items():
        filters = with_threshold(filters, name, value)
    folder.mkdir()
    shutil.copy(run_folder / TABLE, folder)
    return decide(filters, frozenset(), folder)


def test_every_threshold_can_be_varied_without_a_plus():
    vary = OmegaConf.load(CONF / "sweep.yaml").vary
    assert list(vary) == threshold_names()
    assert set(vary.values()) == {None}


def test_the_present_setting_counts_what_the_run_counted(run, tmp_path):
    found = swept(run, tmp_path, {"min_sharpness": [50]})
    funnel = read_json(run / "funnel.json")
    present = found["present"]
    assert present["by_split"] == funnel["kept"]
    assert present["dropped"] == funnel["reasons"]
    assert {"near_duplicate", "not_video", "black", "still", "cgi"} <= set(present["dropped"])
    assert present["change"] == 0
    assert present["share"] == pytest.approx(present["survivors"] / 300)


VARY = {
    "min_object_motion": [0.001, 0.02, None],
    "max_black_share": [0.1],
    "drop_cgi": [False],
    "max_phash_distance": [0, 12, None],
}


def test_searched_duplicates_make_it_exact(run, tmp_path):
    found = swept(run, tmp_path / "sweep", VARY, duplicates="search")
    assert len(found["settings"]) == 8
    for i, one in enumerate(found["settings"]):
        funnel = funnel_with(run, tmp_path / str(i), **one["changes"])
        assert one["by_split"] == funnel["kept"], one["changes"]
        assert one["dropped"] == funnel["reasons"], one["changes"]
        assert one["change"] == one["survivors"] - found["present"]["survivors"]


def test_present_duplicates_are_those_of_the_run(run, tmp_path):
    vary = {"min_object_motion": [0.02, None], "max_black_share": [0.2], "min_sharpness": [9]}
    found = swept(run, tmp_path, vary)
    table = read_rows(run / TABLE)
    stored = [row["reason"] for row in run_folders.decisions(run)]
    bounds = {
        "min_object_motion": lambda row, value: row["object_motion"] < value,
        "max_black_share": lambda row, value: row["black_share"] > value,
        "min_sharpness": lambda row, value: row["sharpness"] < value,
    }
    for one in found["settings"]:
        ((name, value),) = one["changes"].items()
        own = run_folders.config()["filters"] | one["changes"]
        expected = 0
        for row, reason in zip(table, stored, strict=True):
            if row["reason"] or reason in ("near_duplicate", "duplicate_id"):
                continue
            drops = [
                own[bound] is not None and rule(row, own[bound]) for bound, rule in bounds.items()
            ]
            drops.append(row["cgi_caption"])
            camera, objects = row["camera_motion"], row["object_motion"]
            drops.append(camera > 0.25 and camera > 2 * objects)
            expected += not any(drops)
        assert one["survivors"] == expected, (name, value)


def test_switching_near_duplicates_off_is_exact_without_a_search(run, tmp_path):
    found = swept(run, tmp_path / "sweep", {"max_phash_distance": [None]})
    funnel = funnel_with(run, tmp_path / "decided", max_phash_distance=None)
    assert found["settings"][0]["by_split"] == funnel["kept"]
    assert found["settings"][0]["survivors"] > found["present"]["survivors"]


def test_a_grid_takes_every_combination(run, tmp_path):
    vary = {"min_object_motion": [0.001, 0.02], "max_black_share": [0.1, 0.3, 0.5]}
    found = swept(run, tmp_path, vary, grid=True)
    expected = list(itertools.product([0.1, 0.3, 0.5], [0.001, 0.02]))
    changes = [one["changes"] for one in found["settings"]]
    assert [(one["max_black_share"], one["min_object_motion"]) for one in changes] == expected
    one = found["settings"][3]
    funnel = funnel_with(run, tmp_path / "decided", max_black_share=0.3, min_object_motion=0.02)
    assert one["survivors"] >= sum(funnel["kept"].values()) - 5
    assert one["dropped"]["black"] == funnel["reasons"]["black"]


def test_what_the_kept_are_made_of(run, tmp_path):
    found = swept(run, tmp_path, {"min_object_motion": [0.05]})
    table = read_rows(run / TABLE)
    kept = [row for row, own in zip(table, run_folders.decisions(run), strict=True) if own["kept"]]
    motion = np.array([row["object_motion"] for row in kept])
    edges = np.quantile(motion, [0.25, 0.5, 0.75])
    assert found["speed_edges"] == pytest.approx(edges.tolist())
    mix = found["present"]["mix"]
    assert mix["source"] == {
        name: sum(row["source"] == name for row in kept) for name in ("archive", "stock")
    }
    quarters = np.bincount(np.digitize(motion, edges), minlength=4)
    assert list(mix["speed"].values()) != []
    assert mix["speed"] == dict(zip(sweep.SPEEDS, quarters.tolist(), strict=True))
    stated = [json.loads(row["extra"]).get("dynamic_source_category") for row in kept]
    assert mix["category"] == {name: stated.count(name) for name in ("animal", "human")}
    faster = found["settings"][0]["mix"]["speed"]
    assert faster["slowest quarter"] == 0
    assert faster["fastest quarter"] == mix["speed"]["fastest quarter"]


def test_opted_out_clips_and_those_that_were_not_encoded_stay_out(run, tmp_path):
    folder = tmp_path / "curate"
    shutil.copytree(run, folder)
    kept = [i for i, row in enumerate(run_folders.decisions(folder)) if row["kept"]]
    keys = [row["key"] for row in run_folders.decisions(folder)]
    decide(FILTERS, frozenset([keys[kept[0]]]), folder)
    from curation.passes.decide import withdraw

    withdraw({kept[1]: ["timeout", "too slow"]}, folder)
    found = swept(folder, tmp_path, {"min_object_motion": [None]})
    for one in (found["present"], *found["settings"]):
        assert one["dropped"]["opted_out"] == 1
        assert one["dropped"]["timeout"] == 1
    assert found["present"]["by_split"] == read_json(folder / "funnel.json")["kept"]


def test_the_page_shows_it_and_believes_nobody(tmp_path):
    rows = run_folders.rows(120)
    for i, row in enumerate(rows):
        row["source"] = HOSTILE[0] if i % 2 else "stock"
        row["extra"] = json.dumps({"dynamic_source_category": f"{i % 3}{HOSTILE[0]}"})
    run_folders.write_tables(tmp_path / "curate", rows)
    write_json(tmp_path / "curate" / "run.json", {"config": run_folders.config()})
    vary = {"max_black_share": [0.1, 0.2, 0.3], "drop_cgi": [False]}
    found = swept(tmp_path / "curate", tmp_path / "sweep", vary)
    page = (tmp_path / "sweep" / "sweep.html").read_text()
    assert HOSTILE[0] not in page
    assert "&lt;/script&gt;&lt;img src=x" in page
    assert page.count("<script") == 1
    assert page.count('<figure class="chart">') == 1  # a flag has no line
    assert "max_black_share=0.2" in page
    assert "Duplicates are counted as the run found them" in page
    chart = page.split("<svg", 2)[1]
    first = found["settings"][0]["survivors"]
    assert f"kept ends at {found['present']['survivors']}" in chart
    assert first < found["present"]["survivors"]
    assert not any(word in page for word in (str(tmp_path), time.strftime("%Y-")))


@pytest.mark.parametrize(
    ("vary", "changes", "message"),
    [
        ({}, {}, "nothing is varied"),
        ({"min_sharpness": ["sharp"]}, {}, r"vary\.min_sharpness: 'sharp' is not a number"),
        ({"drop_cgi": [0.5]}, {}, r"vary\.drop_cgi: 0\.5 is not true or false"),
        ({"min_sharpness": [True]}, {}, "True is not a number"),
        ({"camera_dominance": [None]}, {}, "set max_camera_motion to null"),
        ({"max_phash_distance": [3]}, {}, "needs duplicates=search"),
        ({"max_phash_distance": [99]}, {"duplicates": "search"}, "from 0 to 62"),
        ({"min_sharpness": [1]}, {"duplicates": "maybe"}, "duplicates=maybe; choose one of"),
        ({"sharp": [1]}, {}, "there is no such threshold"),
        ({"min_sharpness": list(range(300))}, {}, "300 settings are more than 200"),
        ({"min_sharpness": [1]}, {"run": "nowhere"}, r"run=nowhere has no measures\.parquet"),
    ],
)
def test_what_cannot_be_swept(run, tmp_path, vary, changes, message):
    with pytest.raises(InputError, match=message):
        swept(run, tmp_path, vary, **changes)


def test_a_measure_that_was_not_taken_is_named(run, tmp_path):
    folder = tmp_path / "curate"
    shutil.copytree(run, folder)
    content = read_json(folder / "run.json")
    content["config"]["filters"]["on_missing"] = "refuse"
    write_json(folder / "run.json", content)
    with pytest.raises(InputError, match=r"filters\.min_aesthetic needs the measure aesthetic"):
        swept(folder, tmp_path, {"min_aesthetic": [5]})
    del content["config"]["filters"]["min_sharpness"]
    write_json(folder / "run.json", content)
    with pytest.raises(InputError, match=r"does not state filters\.min_sharpness"):
        swept(folder, tmp_path, {"min_aesthetic": [5]})


def test_the_commands_from_the_command_line(run, tmp_path):
    own = tmp_path / "curate"
    shutil.copytree(run, own)
    (tmp_path / "ids.txt").write_text("film 1\n")
    code = """
import runpy, sys
from dynamicrafter.command import exit_code
from importlib import import_module
def call(module, *arguments):
    sys.argv = [module, *arguments]
    assert exit_code(import_module(module).main) == 0
call("curation.commands.sweep", "run=curate", "run_dir=sweep",
     "vary.min_object_motion=[0.001,0.01]",
     "vary.drop_cgi=false")
call("curation.commands.export_csv", "dataset=curate", "output=all.csv", "min_confidence=40")
call("curation.commands.opt_out", "ids=ids.txt", "run=curate")
"""
    answer = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True
    )
    assert answer.returncode == 0, answer.stderr
    said = answer.stderr
    assert "min_object_motion=0.001" in said
    assert "drop_cgi=false" in said
    assert "all.csv: " in said
    assert "opted out by 1 ids: " in said
    assert read_json(tmp_path / "sweep" / "done.json")["summary"]["settings"] == 3
    assert (tmp_path / "all.csv").exists()
    assert list(tmp_path.glob("sweep/wandb/offline-run-*"))
    assert not list(tmp_path.glob("*.log"))


def test_quantiles_of_a_stream():
    rng = np.random.default_rng(0)
    few, many = Spread(), Spread(limit=1000)
    values = rng.exponential(size=100_000)
    few.add(values[:500])
    few.add(np.array([np.nan, np.inf]))
    assert few.count == 500
    assert few.quantiles([0.05, 0.5]) == np.quantile(values[:500], [0.05, 0.5]).tolist()
    for part in np.array_split(values, 37):
        many.add(part)
    assert many.count == 100_000
    assert len(many._values) <= 1000
    assert many.quantiles([0.5])[0] == pytest.approx(np.median(values), rel=0.15)
    alternating = Spread(limit=1000)  # two shots a video: no period is taken for the whole
    alternating.add(np.tile([0.0, 1.0], 50_000))
    assert alternating._values.mean() == pytest.approx(0.5, abs=0.06)
    assert Spread().quantiles([0.5]) is None


def test_names_of_a_stream_are_bounded():
    names = Names(most=3)
    names.add(["b", "a", None, "c", "d", "e", "a"])
    assert names.most_common(9) == [("a", 2), ("other names", 2), ("b", 1), ("c", 1)]
