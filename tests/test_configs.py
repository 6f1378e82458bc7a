"""Every command composes, and none leaves a log file where it was started."""

from pathlib import Path

import pytest
from hydra import compose, initialize_config_module
from omegaconf import OmegaConf

CONF = Path(__file__).parents[1] / "conf"
NEEDED = {
    "curate": ["source=demo"],
    "purity": ["run=r"],
    "review": ["run=r"],
    "review_score": ["answers=a"],
    "train": ["data=d", "recipe.base={image_model: a, video_model: b, encoders: c}"],
    "animate": ["pretrained=p", "image=i"],
    "gates": ["pretrained=p"],
    "eval": [],
    "eval_select": ["benchmark=ucf101", "benchmark.root=r"],
    "eval_generate": ["pretrained=p", "items=i"],
    "eval_benchmark": ["benchmark.root=r", "pretrained=p"],
    "eval_compare": ["runs=[a]"],
    "ablate": ["data=d", "validation=v"],
    "eval_ablation": ["run=r"],
    "eval_sensitivity": [],
    "eval_study": ["methods={a: b, c: d}"],
    "eval_study_score": ["answers=a"],
    "report": [],
    "demo": [],
    "verify_source": ["source=demo"],
    "status": ["run=r"],
    "plan_curate": ["source=demo"],
    "plan_train": ["recipe.base={image_model: a, video_model: b, encoders: c}"],
    "which_clips": ["run_dir=r", "stage=s", "step=1"],
    "export_csv": ["dataset=d"],
    "opt_out": ["ids=i"],
    "recaption": ["dataset=d", "run_dir=r"],
    "sweep": ["run=r"],
    "bench": [],
}
WITHOUT_RUN_FOLDER = {"demo", "eval_benchmark", "export_csv", "opt_out", "status", "which_clips"}


def composed(name: str, *overrides: str, hydra: bool = False):
    with initialize_config_module("conf", version_base="1.3"):
        return compose(name, [*NEEDED[name], *overrides], return_hydra_config=hydra)


def test_every_primary_config_is_covered():
    assert {path.stem for path in CONF.glob("*.yaml")} - {"command"} == set(NEEDED)


@pytest.mark.parametrize("name", sorted(NEEDED))
def test_it_composes_and_hydra_writes_no_files(name):
    config = composed(name, hydra=True)
    assert config.hydra.output_subdir is None
    assert "file" not in config.hydra.job_logging.get("handlers", {})
    OmegaConf.to_container(composed(name), resolve=True, throw_on_missing=True)


@pytest.mark.parametrize("name", sorted(set(NEEDED) - WITHOUT_RUN_FOLDER))
def test_settings_that_do_not_change_the_result_exist(name):
    config = composed(name)
    assert set(config.resume_ignores) <= set(config)
    assert {"run_dir", "tracking"} <= set(config.resume_ignores)


@pytest.mark.parametrize("path", sorted(CONF.glob("experiment/demo/*.yaml")), ids=lambda p: p.stem)
def test_the_demo_experiments_only_change_what_exists(path):
    config = composed(path.stem, f"+experiment=demo/{path.stem}")
    base = composed(path.stem)
    assert set(config) == set(base)
    assert config != base
