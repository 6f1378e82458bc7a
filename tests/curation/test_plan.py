"""The estimate of a curation: its arithmetic, its probe, and how near it comes to the truth."""

import json
import time

import cv2
import numpy as np
import pytest

from curation.clip import Clip
from curation.commands import estimate as arithmetic
from curation.commands import meter, plan
from curation.commands.estimate import DRAWS, Draws, Fleet, Load, estimate, figure
from curation.commands.probe import draw
from dynamicrafter.command import run_in_folder
from dynamicrafter.errors import InputError, MediaError
from dynamicrafter.files import read_json
from dynamicrafter.media.isolation import STRIKES, Isolation
from tests.curation.whole_run import CLIPS, PROBED, config, curate_all, write_corpus

FLEET = Fleet(10, 0.05, 2, 3.0, 20.0, 6.3)


def probe_of(clips, seed=0, **more):
    """Made-up costs: encode for every second clip, a measure on a GPU that takes a tenth of all."""
    draws = np.random.default_rng(seed)
    measure = draws.lognormal(0, 0.8, clips)
    kept = np.arange(clips) % 2
    cpu = {"list": 0.001, "inspect": 0.02, "measure": measure, "decide": 0.002}
    cpu |= {"encode": kept * draws.lognormal(0, 0.5, clips), "pack": 0.01 * kept}
    ones = np.ones(clips)
    return {
        "per_clip": {
            "outcome": ["kept" if one else "still" for one in kept],
            "kept_shots": kept * 1.0,
            "cpu_s": {name: values * ones for name, values in cpu.items()},
            "measure_cpu_s": {"text": 0.3 * measure, "motion": 0.2 * measure},
            "measure_wall_s": {"text": 0.3 * measure, "motion": 0.2 * measure},
            "read_bytes": {"inspect": 2e6 * ones, "measure": 2e6 * ones},
            "dataset_bytes": 4e5 * kept,
            "folder_bytes": 9e5 * kept,
        },
        "gpu_measures": [],
        "optional_measures": ["text"],
        "pairs": [],
        "told_by_the_table": [],
        "thresholds_of_the_table": [],
        **more,
    }


def test_totals_are_means_times_the_number_and_sums_hold():
    probe = probe_of(40)
    found = estimate(probe, 4000, FLEET)
    core_s = sum(values.mean() for values in probe["per_clip"]["cpu_s"].values()) * 4000
    assert found["core_hours"]["value"] * 3600 == pytest.approx(core_s)
    by_pass = found["core_hours_by_pass"]
    assert sum(one["value"] for one in by_pass.values()) * 3600 == pytest.approx(core_s)
    assert found["terabytes"]["read"]["value"] == pytest.approx(4000 * 4e6 / 1e12)
    assert found["terabytes"]["dataset"]["value"] == pytest.approx(2000 * 4e5 / 1e12)
    assert found["kept_shots"]["low"] < 2000 < found["kept_shots"]["high"]
    gpu_s = 2000 / 6.3
    assert found["gpu_hours"]["value"] * 3600 == pytest.approx(gpu_s)
    assert found["cost"]["value"] * 3600 == pytest.approx(core_s * 0.05 + gpu_s * 3)
    assert found["hours_by_pass"]["list"]["value"] * 3600 == pytest.approx(4)  # one process
    assert found["hours_by_pass"]["inspect"]["value"] * 3600 == pytest.approx(0.02 * 4000 / 10)


def test_a_probe_of_all_knows_all():
    found = estimate(probe_of(40), 40, FLEET)
    for one in (found["core_hours"], *found["terabytes"].values()):
        assert one["low"] == pytest.approx(one["value"])
        assert one["high"] == pytest.approx(one["value"])


def test_the_intervals_hold_the_truth_as_often_as_they_say():
    draws = np.random.default_rng(1)
    costs = draws.gamma(4, 1, 5000)  # as skewed as the lengths of ordinary clips
    held = 0
    for seed in range(200):
        chosen = np.random.default_rng(seed).choice(costs, 64, replace=False)
        found = figure(Draws(64, 5000).total(chosen), "s")
        held += found["low"] <= costs.sum() <= found["high"]
    assert 167 <= held <= 193  # 180 are expected; beyond has a chance of 0.3 %


def test_the_assumed_captioner_is_marked_and_can_be_left_out():
    found = estimate(probe_of(40), 4000, FLEET)
    assert "not probed" in found["assumed"]["vlm_caption"]
    hours = found["gpu_hours_by_pass"]["vlm_caption"]
    assert hours["low"] < 2000 / 12 / 3600
    assert hours["high"] > 2000 / 3.6 / 3600
    for fleet in (Fleet(10, 0.05, 2, 3.0, 20.0, None), Fleet(10, 0.05, 0, 3.0, 20.0, 6.3)):
        without = estimate(probe_of(40), 4000, fleet)
        assert without["assumed"] == {}
        assert without["gpu_hours"]["value"] == 0
        assert "vlm_caption" not in without["hours_by_pass"]


def test_a_pass_takes_as_long_as_its_gpus_need():
    probe = probe_of(40, gpu_measures=["text"])
    text_s = 0.3 * np.mean(probe["per_clip"]["cpu_s"]["measure"]) * 4000
    many, few = (estimate(probe, 4000, Fleet(n, 0.05, 1, 3.0, 20.0, None)) for n in (1000, 1))
    assert many["hours_by_pass"]["measure"]["value"] * 3600 == pytest.approx(text_s)
    assert few["hours_by_pass"]["measure"]["value"] * 3600 == pytest.approx(text_s / 0.3)
    assert many["bottleneck"] == "measure"
    with pytest.raises(InputError, match=r"fleet.gpus is 0"):
        estimate(probe, 4000, Fleet(10, 0.05, 0, 3.0, 20.0, None))


def test_the_knob_that_saves_most_comes_first():
    pairs = [
        {
            "setting": "encode.preset=ultrafast",
            "loses": "larger shards",
            "pass": "encode",
            "base_cpu_s": [1.0, 3.0],
            "other_cpu_s": [0.5, 1.5],
            "base_bytes": [100, 100],
            "other_bytes": [150, 150],
        },
        {
            "setting": "measure.short_side=128",
            "loses": "detail",
            "pass": "measure",
            "base_cpu_s": [1.0],
            "other_cpu_s": [1.2],
        },
    ]
    probe = probe_of(
        40, pairs=pairs, told_by_the_table=["still"], thresholds_of_the_table=["filters.drop_cgi"]
    )
    found = estimate(probe, 4000, FLEET)
    knobs = {knob["setting"].split("=")[0]: knob for knob in found["knobs"]}
    assert [*knobs][-1] != "measure.short_side"  # it would cost more here, so it is not named
    assert "measure.short_side" not in knobs
    saved = [knob["saves"]["value"] for knob in found["knobs"]]
    assert saved == sorted(saved, reverse=True)
    hours = found["hours_by_pass"]
    encode = knobs["encode.preset"]
    assert encode["saves"]["value"] == pytest.approx(hours["encode"]["value"] / 2)
    assert encode["dataset"]["value"] == pytest.approx(1.5 * found["terabytes"]["dataset"]["value"])
    text = knobs["measures.text.use"]["saves"]["value"]
    assert text == pytest.approx(0.3 * hours["measure"]["value"])
    table = next(knob for name, knob in knobs.items() if name.startswith("leave the rows"))
    still = np.mean(probe["per_clip"]["cpu_s"]["measure"] * (np.arange(40) % 2 == 0)) + 0.01
    assert table["saves"]["value"] * 3600 == pytest.approx(4000 * still / 10)


def test_a_load_without_more_than_it_has_is_nothing():
    load = Load({"measure": np.ones(1 + DRAWS)}, {})
    assert load.less({"measure": 2 * np.ones(1 + DRAWS)}).hours(FLEET)["measure"].max() == 0


def test_the_draw_depends_on_names_alone():
    clips = [Clip(f"clip {i}", "s", "/", f"{i}.mp4") for i in range(500)]
    chosen, total, _ = draw(iter(clips), 50)
    assert total == 500
    assert [int(clip.clip_id.split()[1]) for clip in chosen] == sorted(
        int(clip.clip_id.split()[1]) for clip in chosen
    )
    backwards, _, _ = draw(reversed(clips), 50)
    assert backwards[::-1] == chosen
    assert all(clip in chosen for clip in draw(clips, 20)[0])
    assert 150 < np.mean([int(clip.clip_id.split()[1]) for clip in chosen]) < 350
    assert draw(clips[:3], 50)[0] == clips[:3]


def work(clip):
    if clip.path == "hang":
        time.sleep(60)
    if clip.path == "bad":
        raise MediaError("unreadable", "no video")
    end = time.process_time() + (0.3 if meter._warm else 1.0)  # the first call is dear
    while time.process_time() < end:
        pass
    return clip.path


def test_the_meter_leaves_out_what_a_process_pays_once():
    with Isolation(1, 60.0) as isolated:
        metered = meter.Meter(isolated, 60.0)
        assert metered(work, Clip("a", "s", "/", "good")) == "good"
        with pytest.raises(MediaError, match="no video"):
            metered(work, Clip("b", "s", "/", "bad"))
    first, bad = metered.calls
    assert 0.25 < first["cpu_s"] < 0.7
    assert (first["function"], first["clip_id"]) == ("work", "a")
    assert bad["cpu_s"] < 0.2
    with Isolation(1, 0.5) as isolated:
        metered = meter.Meter(isolated, 0.5)
        with pytest.raises(MediaError, match="not done in"):
            metered(work, Clip("c", "s", "/", "hang"))
    assert metered.calls[0]["cpu_s"] == STRIKES * 0.5


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """The small films, and one page among them twice."""
    folder = tmp_path_factory.mktemp("corpus")
    write_corpus(folder)
    return folder


@pytest.fixture(scope="module")
def planned(corpus, tmp_path_factory):
    folder = tmp_path_factory.mktemp("plan")
    run_in_folder(config(corpus, folder), "curation.commands.plan")
    return folder, read_json(folder / plan.PLAN)


def test_a_third_of_the_clips_foretells_what_all_take(corpus, planned, tmp_path):
    """Within 30 % in bytes; of seconds only the shape (`tests/bench/plan.py`)."""
    cv2.setNumThreads(1)
    _, found = planned
    seconds, dataset_bytes, read_bytes = curate_all(config(corpus, tmp_path), tmp_path / "all")
    foretold = {name: one["value"] for name, one in found["core_hours_by_pass"].items()}
    assert foretold.keys() == seconds.keys() - {"caption"}
    assert all(value > 0 for value in foretold.values())
    assert max(foretold, key=foretold.get) == max(seconds, key=seconds.get) == "measure"
    told = f"{found['terabytes']} of {dataset_bytes}, {read_bytes}"
    size = found["terabytes"]["dataset"]["value"] * 1e12
    assert size == pytest.approx(dataset_bytes, rel=0.3), told
    read = found["terabytes"]["read"]["value"] * 1e12
    assert not read_bytes or read == pytest.approx(read_bytes, rel=0.3), told


def test_the_plan_tells_where_and_what(planned, capsys):
    folder, found = planned
    assert (found["clips"], found["probed"]) == (CLIPS, PROBED)
    shares = [one["value"] for one in found["outcomes"].values()]
    assert sum(shares) == pytest.approx(1)
    assert 0.5 < found["outcomes"]["kept"]["value"] < 0.95
    assert found["machine"]["cores"] >= 1
    assert {knob["setting"] for knob in found["knobs"]} & {
        "encode.preset=ultrafast",
        "measure.short_side=36",
    }
    lines = plan.lines_of(found)
    assert any("probed on" in line and found["machine"]["cpu"] in line for line in lines)
    assert any(line.startswith("bottleneck: ") for line in lines)
    assert any(line.startswith("cheapest knob: ") for line in lines)
    assert any("vlm_caption" in line and "ASSUMED" in line for line in lines)
    assert json.dumps(found, allow_nan=False)
    assert not list(folder.glob(".probe-*"))


def test_another_fleet_probes_nothing_again(corpus, planned, monkeypatch):
    folder, before = planned
    monkeypatch.setattr(plan, "probe_clips", None)
    changes = ["fleet.cores=1", "fleet.gpus=0", "total_clips=6000000", "currency=EUR"]
    run_in_folder(config(corpus, folder, *changes), "curation.commands.plan")
    after = read_json(folder / plan.PLAN)
    ratio = after["core_hours"]["value"] / before["core_hours"]["value"]
    assert ratio == pytest.approx(6_000_000 / CLIPS)
    assert after["hours"]["value"] == pytest.approx(after["core_hours"]["value"])
    assert after["core_hours"]["low"] < after["core_hours"]["value"] < after["core_hours"]["high"]
    assert any("EUR" in line for line in plan.lines_of(after))


def test_a_broken_source_is_probed_as_it_is(tmp_path):
    (tmp_path / "videos").mkdir()
    for number in range(3):
        (tmp_path / "videos" / f"{number}.mp4").write_text("<html>")
    run_in_folder(config(tmp_path / "videos", tmp_path / "run"), "curation.commands.plan")
    found = read_json(tmp_path / "run" / plan.PLAN)
    assert found["outcomes"]["not_video"]["value"] == 1
    assert found["outcomes"]["kept"]["value"] == 0
    assert found["terabytes"]["dataset"]["value"] == 0
    assert plan.lines_of(found)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("probe=1", "2 clips at least"),
        ("total_clips=0", "1 or more"),
        ("fleet.cores=0", "fleet.cores=0"),
        ("fleet.caption_clips_per_gpu_second=0", "above 0"),
        ("filters.max_text_share=0.1", "max_text_share needs the measure"),
    ],
)
def test_what_cannot_be_planned_is_refused(corpus, planned, tmp_path, change, message, monkeypatch):
    if change == "total_clips=0":  # shows after the probe
        monkeypatch.setattr(plan, "_probe", lambda *args: {"listed": 3, "load_average": None})
    with pytest.raises(InputError, match=message):
        run_in_folder(config(corpus, tmp_path, change), "curation.commands.plan")
    assert arithmetic.SERIAL


def test_clips_that_are_opted_out_are_not_opened(corpus, tmp_path):
    (tmp_path / "ids").write_text("\n".join(f"{number:02d}.mp4" for number in range(CLIPS)))
    changes = [f"opt_out={tmp_path / 'ids'}", "probe=4"]
    run_in_folder(config(corpus, tmp_path / "run", *changes), "curation.commands.plan")
    outcomes = read_json(tmp_path / "run" / plan.PLAN)["outcomes"]
    assert outcomes["opted_out"]["clips"] + outcomes.get("not_video", {"clips": 0})["clips"] == 4
