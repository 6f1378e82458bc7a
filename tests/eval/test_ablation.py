"""`dynamicrafter eval ablation`: scores and differences by closed forms, every format, W&B."""

import csv
import json

import numpy as np
import pytest
from hydra import compose, initialize_config_module

from dynamicrafter import ablation
from dynamicrafter.ablation import Cell, Stage
from dynamicrafter.errors import InputError
from dynamicrafter.files import read_json
from eval import ablation as command
from eval.ablation_scores import evaluations, scores_of
from eval.ablation_tables import signed
from eval.metrics.intervals import fvd_difference
from tests.eval.ablation_folders import (
    HOSTILE,
    PROTOCOL,
    VIDEOS,
    features_of,
    make_matrix,
    pic_of,
    write_evaluation,
)
from tests.eval.test_report import Tree
from tests.test_tracking import read_back


def config_for(path, *overrides):
    with initialize_config_module("conf", version_base="1.3"):
        return compose("eval_ablation", [f"run={path}", "tracking=disabled", *overrides])


@pytest.fixture(scope="module")
def matrix(tmp_path_factory):
    return make_matrix(tmp_path_factory.mktemp("matrix"))


@pytest.fixture(scope="module")
def made(matrix, tmp_path_factory):
    folder = tmp_path_factory.mktemp("table")
    command.run(config_for(matrix), folder)
    return folder


@pytest.fixture(scope="module")
def scores(matrix):
    found = ablation.read(matrix)
    every = scores_of(found.arms, "full", evaluations(found, matrix.parent), seed=0)
    return {(one.arm, one.metric): one for one in every}


def test_what_was_written_is_read_back(matrix, tmp_path):
    found = ablation.read(matrix)
    ablation.write(tmp_path / "again.json", found)
    assert ablation.read(tmp_path / "again.json") == found
    assert found.arms == ["full", "wo_vdg", "wo_ctx"]
    assert [cell.seed for cell in found.whole("wo_ctx")] == [0]


def test_a_file_of_another_kind_is_refused(matrix, tmp_path):
    document = read_json(matrix)
    for change in ({"format": 0}, {"losses": [{"arm": "x"}]}, {"surplus": 1}):
        (tmp_path / "x.json").write_text(json.dumps({**document, **change}))
        with pytest.raises(InputError, match=r"x\.json .*run"):
            ablation.read(tmp_path / "x.json")


def test_a_shared_stage_counts_once_in_the_sum_and_in_full_for_an_arm():
    def cell(arm, *stages):
        return Cell(arm, 0, "t", "e", list(stages))

    shared, own = Stage("context", "k", 9, 7200.0, 28800.0), Stage("joint", "a", 9, 1800.0, 7200.0)
    other = Stage("joint", "b", 9, 3600.0, 0.0)
    cells = [cell("a", shared, own), cell("b", shared, other)]
    assert ablation.hours(cells) == pytest.approx(2 + 0.5 + 1)
    assert ablation.gpu_hours(cells) == pytest.approx(8 + 2)
    assert ablation.gpu_hours(cells[1:]) == pytest.approx(8)
    assert ablation.gpu_hours([cell("b", other)]) is None


def test_scores_are_means_over_seeds(scores):
    assert scores["full", "fvd"].value == pytest.approx(100.5)
    assert scores["wo_ctx", "fvd"].value == pytest.approx(110)  # of the one seed that is whole
    assert scores["full", "clip_sim"].value is None
    assert not scores["full", "kvd"].reliable
    assert scores["full", "pic"].gap is None


def test_differences_of_videos_are_paired_by_key_and_seed(scores):
    gap = scores["wo_vdg", "pic"].gap
    pairs = np.array([pic_of("wo_vdg", seed) - pic_of("full", seed) for seed in (0, 1)])
    assert gap.value == pytest.approx(pairs.mean())
    assert (gap.videos, gap.seeds) == (VIDEOS, [0, 1])
    assert gap.high - gap.low < 0.03  # luck of 0.01; unpaired, videos differ by 0.15
    assert gap.low < -0.2 < gap.high
    assert scores["wo_ctx", "pic"].gap.seeds == [0]


def test_a_difference_of_fvd_has_the_mean_error_of_its_seeds(scores):
    gap = scores["wo_vdg", "fvd"].gap
    assert gap.value == pytest.approx(20)
    errors = []
    for seed in (0, 1):
        ours, theirs = features_of("wo_vdg", seed), features_of("full", seed)
        found = fvd_difference(ours["real"], ours["generated"], theirs["generated"])
        errors.append(found.standard_error)
    reach = 2.0687 * np.mean(errors)  # Student, 23 degrees of freedom
    assert (gap.low, gap.high) == pytest.approx((20 - reach, 20 + reach), rel=1e-4)
    assert scores["wo_vdg", "kvd"].gap.low is None


def test_other_inputs_are_not_paired(tmp_path):
    path = make_matrix(tmp_path)
    (tmp_path / "full/seed-0/eval").rename(tmp_path / "old")
    write_evaluation(tmp_path / "full/seed-0/eval", "full", 0, inputs="other")
    found = ablation.read(path)
    every = scores_of(found.arms, "full", evaluations(found, tmp_path), seed=0)
    gap = next(one.gap for one in every if (one.arm, one.metric) == ("wo_vdg", "pic"))
    assert gap.seeds == [1]


def test_another_protocol_is_refused(tmp_path):
    path = make_matrix(tmp_path)
    (tmp_path / "wo_vdg/seed-1/eval").rename(tmp_path / "old")
    other = {**PROTOCOL, "name": "else", "digest": "e" * 64}
    write_evaluation(tmp_path / "wo_vdg/seed-1/eval", "wo_vdg", 1, protocol=other)
    with pytest.raises(InputError, match=r"evaluated under else .* and .* under demo"):
        command.run(config_for(path), tmp_path / "table")


def test_the_table_names_every_variant_its_differences_and_what_failed(made):
    text = (made / "ablation.md").read_text()
    lines = text.splitlines()
    assert lines[0] == "Protocol: demo (dddddddddddd)"
    head = lines[2].split(" | ")
    assert "CLIP-SIM ↑" not in head  # no arm has it
    full, worse, failed = (dict(zip(head, line.split(" | "), strict=True)) for line in lines[4:7])
    assert [row["| Variant"] for row in (full, worse, failed)] == [
        "| Ours",
        "| w/o VDG",
        "| w/o ctx",
    ]
    assert full["FVD ↓"] == "100.5"
    assert full["Δ FVD"] == "—"
    assert worse["Δ FVD"].startswith("+20.00 [")
    assert (worse["KVD ↓"], worse["Δ KVD"]) == ("5.2000 (?)", "+0.2000 (?)")
    assert worse["Δ loss, paired"] == "+0.2000 [+0.1900, +0.2100]"
    assert worse["Δ loss, unpaired"] == "[−0.2000, +0.6000]"
    assert failed["Seeds"] == "1"
    assert "| w/o VDG | text and image | 0.7000 [0.4000, 1.0000] |" in text
    assert "| +0.2, +0.2 |" in text
    assert "w/o ctx, seed 1: no result: train: no &lt;b>weights" in text
    assert "An interval under a single seed" in text
    assert "no GPU-hours" in text
    assert "none for these variants" in text


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0, "0.0000"), (0.2, "+0.2000"), (-12.5, "−12.50"), (0.00034, "+0.000340"),
     (-0.0094999, "−0.00950"), (0.00999999, "+0.01000")],
)  # fmt: skip
def test_small_differences_keep_their_digits(value, text):
    assert signed(value) == text


def test_gpu_hours_stand_in_the_table_where_there_were_gpus(tmp_path):
    command.run(config_for(make_matrix(tmp_path, gpus=2)), tmp_path / "table")
    lines = (tmp_path / "table/ablation.md").read_text().splitlines()
    assert [line.split(" | ")[-1] for line in lines[4:7]] == ["6.0000 |", "6.0000 |", "3.0000 |"]
    # two contexts, five joints, on two GPUs
    assert any("Together 9.0000 GPU-hours" in line for line in lines)


def test_the_table_for_papers_compiles_in_any_case(made):
    text = (made / "ablation.tex").read_text()
    body = [line for line in text.splitlines() if not line.startswith("%")]
    assert body[0].startswith(r"\begin{tabular}{lrrr")
    assert r"FVD $\downarrow$ & $\Delta$ FVD" in text
    rows = [line for line in body if line.endswith(r"\\")]
    assert {line.count(" & ") for line in rows} == {11}
    assert all(ord(character) < 128 for line in body for character in line)


def test_the_figures_are_all_there(made):
    with (made / "losses.csv").open(encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["variant"] == "w/o VDG"]
    assert [row["timesteps"] for row in rows] == ["all", "0-499", "500-999"]
    assert float(rows[1]["unpaired_high"]) == pytest.approx(0.6)
    with (made / "ablation.csv").open(encoding="utf-8") as file:
        fvd = next(row for row in csv.DictReader(file) if row["metric"] == "fvd")
    assert float(fvd["value"]) == pytest.approx(100.5)
    assert read_json(made / "table.json")["ablation"]["baseline"] == "full"


def test_the_page_shows_curves_and_videos_and_nothing_runs(made):
    page = (made / "ablation.html").read_text()
    tree = Tree(page)
    assert len(tree.all("script")) == 1
    assert "<b>weights" not in page
    assert "w/o VDG minus Ours, in thousandths" in tree.text
    assert tree.text.count(HOSTILE) == 2  # the first of three inputs may not be passed on
    assert len(tree.all("video")) == 2 * 3
    assert "(1 − " not in tree.text


def test_published_values_come_from_the_file_alone(matrix, tmp_path):
    own = tmp_path / "own.csv"
    own.write_text(
        "benchmark,method,metric,value,protocol,source,verified\n"
        "msrvtt,w/o VDG,fvd,12.5,as in the paper,a paper,false\n"
        "ucf101,w/o VDG,fvd,99.5,as in the paper,a paper,false\n"
        "msrvtt,Somebody,fvd,77.5,as in the paper,a paper,true\n"
    )
    command.run(config_for(matrix, f"published={own}"), tmp_path / "table")
    for name in ("ablation.md", "ablation.tex", "ablation.html"):
        text = (tmp_path / "table" / name).read_text()
        assert "12.5" in text
        assert "a paper" in text
        assert "not checked against the paper itself" in text
        assert "77.5" not in text
        assert "99.5" not in text


def test_the_shipped_values_speak_of_no_ablation(matrix, tmp_path):
    """None of Table 3 could be found in a public source; what is shown is the model's own row."""
    command.run(config_for(matrix, "published=known"), tmp_path / "table")
    shown = read_json(tmp_path / "table/table.json")["published"]
    assert {one["method"] for one in shown} == {"DynamiCrafter"}
    assert not any(one["verified"] for one in shown)


def test_the_same_matrix_gives_the_same_bytes(matrix, made, tmp_path):
    command.run(config_for(matrix), tmp_path / "table")
    for name in ("ablation.md", "ablation.tex", "ablation.html", "ablation.csv", "losses.csv"):
        assert (made / name).read_bytes() == (tmp_path / "table" / name).read_bytes()


def test_tables_and_videos_reach_wandb(matrix, tmp_path):
    folder = tmp_path / "table"
    command.run(config_for(matrix, "tracking=offline"), folder)
    records = json.dumps(read_back(folder))
    for name in ("ablation", "scores", "losses", "costs", "published", "samples/0/wo_vdg"):
        assert f'"{name}._' in records, name
    (media,) = folder.glob("wandb/offline-run-*/files/media")
    (table,) = media.glob("table/ablation_*.json")
    logged = json.loads(table.read_text())
    row = dict(zip(logged["columns"], logged["data"][1], strict=True))
    assert row["Δ loss, paired"] == "+0.2000 [+0.1900, +0.2100]"
    videos = list(media.glob("videos/samples/*/*.mp4"))
    assert len(videos) == 2 * 3


def test_changed_evaluations_change_the_inputs(tmp_path):
    path = make_matrix(tmp_path)
    before = command.inputs(config_for(path))
    (tmp_path / "full/seed-1/eval/results.json").write_text("{}")
    after = command.inputs(config_for(path))
    assert [key for key in before if before[key] != after[key]] == ["full/seed-1/eval"]
