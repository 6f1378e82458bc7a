"""The matrix: which commands a cell is made of, and what is read from the run folders."""

import json

import pytest
from hydra import compose, initialize_config_module

from dynamicrafter import ablation
from dynamicrafter.errors import FailedShareError, InputError
from tests.train.test_ablate_statistics import rows
from train.ablation import matrix
from train.ablation.cells import Job
from train.ablation.collect import collect


def config_for(folder, *overrides):
    given = [f"run_dir={folder}", f"data={folder}/data", f"validation={folder}/held-out"]
    with initialize_config_module("conf", version_base="1.3"):
        return compose("ablate", [*given, "tracking=disabled", *overrides])


def test_every_arm_meets_every_seed_and_the_cells_of_an_arm_stand_together(tmp_path):
    config = config_for(tmp_path, "arms=[full,wo_vdg]", "seeds=[0,7]")
    jobs = matrix.jobs_of(config, tmp_path)
    assert [(job.arm, job.seed) for job in jobs] == [
        ("full", 0), ("full", 7), ("wo_vdg", 0), ("wo_vdg", 7),
    ]  # fmt: skip
    assert jobs[3].folder == tmp_path / "wo_vdg" / "seed-7"
    train, animate, evaluate = jobs[3].phases.values()
    assert {"+ablation=wo_vdg", "seed=7", f"stage_store={tmp_path}/stages"} < set(train)
    assert f"encoded.folder={tmp_path}/encoded" in train
    assert f"pretrained={jobs[3].folder}/train/model" in animate
    assert {f"generated={jobs[3].folder}/animate", "method=wo_vdg"} < set(evaluate)
    for name, command in jobs[3].phases.items():
        assert f"tracking.name=wo_vdg-seed-7-{name}" in command


def test_arms_differ_in_their_name_alone(tmp_path):
    jobs = matrix.jobs_of(config_for(tmp_path, "arms=[full,wo_vdg]"), tmp_path)
    one, other = (json.dumps(job.phases) for job in jobs)
    assert one.replace("full", "wo_vdg") == other


def test_extra_settings_win_over_ours_but_not_over_what_makes_the_cell(tmp_path):
    extra = 'extra={train: ["seed=9", "on_change=restart"], animate: ["image=x"], eval: []}'
    (job,) = matrix.jobs_of(config_for(tmp_path, "arms=[full]", extra), tmp_path)
    train = job.phases["train"]
    assert train.index("on_change=refuse") < train.index("on_change=restart")
    assert train.index("seed=9") < train.index("seed=0")
    animate = job.phases["animate"]
    assert animate.index(f"image={tmp_path}/held-out") < animate.index("image=x")


def test_no_store_and_no_cache_where_they_are_null(tmp_path):
    config = config_for(tmp_path, "arms=[full]", "stages=null", "encoded=null")
    (job,) = matrix.jobs_of(config, tmp_path)
    assert not [one for one in job.phases["train"] if one.startswith(("stage_store", "encoded"))]


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("arms=[full,wo_hat]", r"there is no wo_hat; choose from .*wo_vdg"),
        ("arms=[]", r"name at least one"),
        ("seeds=[1,1]", r"each once"),
        ("baseline=stock_captions", r"baseline=stock_captions is none of the arms"),
        ("gpus=0", r"gpus=0"),
        ("launcher=ray", r"choose local or submitit"),
    ],
)
def test_what_no_matrix_can_be_made_of_is_found_before_anything_runs(tmp_path, override, words):
    with pytest.raises(InputError, match=words):
        matrix.inputs(config_for(tmp_path, override))


def write_cell(folder, arm, seed, found, on_gpu=True):
    """A cell as `train` leaves it: a shared stage and one of its own."""
    place = folder / arm / f"seed-{seed}"
    stages = [("context", f"c{seed}", 7200.0), ("joint", f"j{arm}{seed}", 3600.0)]
    for number, (name, key, seconds) in enumerate(stages, 1):
        stage = place / "train/stages" / f"{number:02d}-{name}"
        stage.mkdir(parents=True)
        told = {"name": name, "key": key, "steps": 4, "seconds": seconds}
        (stage / "stage.json").write_text(json.dumps({**told, "device_seconds": 2 * seconds}))
        row = {"step": 4, **({"peak_gigabytes": 1.5} if on_gpu else {})}
        (stage / "metrics.jsonl").write_text(json.dumps(row) + "\n")
    first = {"step": 0, "rows": [{**row, "loss": 99.0} for row in found]}
    last = {"step": 4, "rows": found}
    if found:
        text = "".join(json.dumps(one) + "\n" for one in (first, last))
        (stage / "validation.jsonl").write_text(text)
    summary = {"stages": [{"name": name} for name, _, _ in stages]}
    (place / "train/summary.json").write_text(json.dumps(summary))
    return Job(arm, seed, place, {}, 2)


def test_what_is_collected(tmp_path):
    base, worse = rows(0.0, [0, 1]), rows(0.3, [0, 1])
    jobs = [write_cell(tmp_path, "full", seed, base[seed]) for seed in (0, 1)]
    jobs += [write_cell(tmp_path, "wo_vdg", seed, worse[seed]) for seed in (0, 1)]
    jobs += [Job("ours_g", 0, tmp_path / "ours_g/seed-0", {}, 2)]
    found = collect(tmp_path, jobs, [None] * 4 + ["train: no weights"], "full", 0)
    assert found.arms == ["full", "wo_vdg", "ours_g"]
    assert found.cells[3].train == "wo_vdg/seed-1/train"
    assert found.loss("wo_vdg", "full").difference.value == pytest.approx(0.3)  # of the last rows
    assert found.loss("full", "full").difference is None
    assert found.unpaired == {"ours_g": "no seed of it is whole"}
    assert ablation.hours(found.cells) == pytest.approx(2 * 2 + 4 * 1)
    assert ablation.gpu_hours(found.cells) == pytest.approx(2 * (2 * 2 + 4 * 1))
    assert ablation.gpu_hours(found.whole("full")) == pytest.approx(2 * 2 * (2 + 1))


def test_on_a_cpu_there_are_no_gpu_hours(tmp_path):
    job = write_cell(tmp_path, "full", 0, rows(0.0, [0])[0], on_gpu=False)
    found = collect(tmp_path, [job], [None], "full", 0)
    assert ablation.gpu_hours(found.cells) is None
    assert ablation.hours(found.cells) == pytest.approx(3)


def test_without_validation_or_without_the_baseline_there_is_no_difference(tmp_path):
    jobs = [
        write_cell(tmp_path, "full", 0, []),
        write_cell(tmp_path, "wo_vdg", 0, rows(0.3, [0])[0]),
    ]
    found = collect(tmp_path, jobs, [None, None], "full", 0)
    assert found.unpaired["full"] == "no validation loss"
    assert "has no validation loss" in found.unpaired["wo_vdg"]
    assert found.loss("wo_vdg", "full").difference is None


def test_cells_that_failed_end_the_command_with_their_names(tmp_path, monkeypatch):
    tables = []
    monkeypatch.setattr(matrix, "_launch", lambda config: lambda jobs: [None, "train: no weights"])
    monkeypatch.setattr(matrix, "run_phases", lambda phases, gpus: tables.append(phases["table"]))
    write_cell(tmp_path, "full", 0, rows(0.0, [0])[0])
    with pytest.raises(FailedShareError, match=r"1 of 2 cells .*: wo_vdg \(seed 0\); .*weights"):
        matrix.run(config_for(tmp_path, "arms=[full,wo_vdg]"), tmp_path)
    assert FailedShareError.exit_code == 3
    assert tables[0][:2] == ["eval", "ablation"]
    assert ablation.read(tmp_path / "ablation.json").cells[1].reason == "train: no weights"
