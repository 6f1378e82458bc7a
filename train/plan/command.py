"""`dynamicrafter plan train`: what the stages of a recipe cost, before any GPU is touched.

All settings of `dynamicrafter train` hold here too; give the same ones. Nothing is written.
"""

import json
import sys
from typing import Any

from omegaconf import DictConfig, OmegaConf

from dynamicrafter.command import compose, say
from dynamicrafter.errors import InputError
from train.plan.advice import Card, Fitting, fitting, what_would_fit, workload
from train.plan.counts import count_stage, tensors_of, without_missing
from train.plan.flops import flop_rows, model_flop
from train.plan.memory import GIB, Knobs, Workload, estimate
from train.plan.table import lines_of
from train.precision import choose_precision
from train.settings import stage_steps
from train.stage import check_stage, of_stage, stage_settings


def main() -> None:
    """Entry point of the verb."""
    compose("plan_train", _plan)


def _plan(config: DictConfig) -> None:
    found = plan(config)
    if config.json:
        sys.stdout.write(json.dumps(found) + "\n")
        return
    for line in lines_of(found):
        say(line)


def plan(config: DictConfig) -> dict[str, Any]:
    """What every stage of the composed config costs, and what fits which card.

    Raises:
        InputError: a stage cannot be built as the config says, or a setting of the plan is off.
    """
    if config.gpus < 1:
        raise InputError(f"gpus={config.gpus}; it must be 1 or more")
    if not 0 < config.mfu <= 1:
        raise InputError(f"mfu={config.mfu}; it is a share of the peak, 0 to 1")
    config = without_missing(config)
    stages, works = [], {}
    previous: dict[str, Any] = {}
    for name in config.recipe.stages:
        check_stage(config, name)
        settings = stage_settings(config, name)
        if settings.batch % config.gpus:
            raise InputError(
                f"stage {name}: batch={settings.batch} cannot be shared by gpus={config.gpus}; "
                "change one of them"
            )
        works[name] = work = workload(config, name, _precision(config.precision))
        counted = count_stage(config, name, previous)
        previous = tensors_of(config, name)
        recompute = of_stage(config.recompute, name) or "none"
        stages.append(
            {
                "name": name,
                "batch": settings.batch,
                "steps": settings.steps,
                "resolution": list(config.model.resolution),
                "frames": work.model["frames"],
                **counted,
                "recompute": recompute,
                "flop": flop_rows(work, recompute),
                "flop_for_mfu": model_flop(work),
                "as_given": _as_given(config, name, work, recompute),
            }
        )
    cards = [Card(**card) for card in OmegaConf.to_container(config.cards)]
    return {
        "stages": stages,
        "cards": [_card(config, card, works) for card in cards],
        "gpus": config.gpus,
        "precision": _precision(config.precision),
        "mfu": config.mfu,
    }


def _precision(name: str) -> str:
    """What a setting means on the GPUs that are planned for; all of them compute in bf16."""
    import torch

    return "bf16" if name == "auto" else choose_precision(name, torch.device("cpu"))


def _as_given(config: DictConfig, name: str, work: Workload, recompute: str) -> dict[str, Any]:
    """The memory that the settings need as they are."""
    knobs = Knobs(
        of_stage(config.microbatch, name) or work.batch // config.gpus,
        recompute,
        bool(config.offload),
        config.gpus,
        _parallel(config),
    )
    found = estimate(work, knobs)
    return {
        "microbatch": knobs.microbatch,
        "recompute": recompute,
        "offload": knobs.offload,
        "peak_gib": _gib(found.peak),
        "needed_gib": _gib(found.needed),
        "phases_gib": {phase: _gib(size) for phase, size in found.phases.items()},
    }


def _card(config: DictConfig, card: Card, works: dict[str, Workload]) -> dict[str, Any]:
    """The settings with which every stage fits a card soonest, or what would be needed."""
    found = None
    for offload in (False, True):
        knobs = Knobs(1, "none", offload, config.gpus, _parallel(config))
        fits = {name: fitting(work, card, knobs, config.mfu) for name, work in works.items()}
        if found is None or _hours(config, fits) < _hours(config, found):
            found = fits
    rows = {}
    for name, fit in found.items():
        if fit is None:
            rows[name] = {
                "fits": False,
                "ways": what_would_fit(name, works[name], card, config.gpus),
            }
            continue
        rows[name] = {
            "fits": True,
            "microbatch": fit.knobs.microbatch,
            "recompute": fit.knobs.recompute,
            "offload": fit.knobs.offload,
            "needed_gib": _gib(fit.needed),
            "clips_per_s": round(fit.clips_per_s, 3),
            "hours": round(_stage_hours(config, name, fit), 1),
        }
    return {
        "gigabytes": card.gigabytes,
        "like": card.like,
        "tflops": card.tflops,
        "usable_gib": _gib(card.usable),
        "stages": rows,
        "overrides": _overrides({n: fit.knobs for n, fit in found.items() if fit}),
    }


def _parallel(config: DictConfig) -> str:
    return "fsdp" if config.parallel == "fsdp" else "ddp"


def _hours(config: DictConfig, fits: dict[str, Fitting | None]) -> tuple[int, float]:
    """How many stages do not fit, then the hours of the others: less is better."""
    done = [_stage_hours(config, name, fit) for name, fit in fits.items() if fit]
    return len(fits) - len(done), sum(done)


def _stage_hours(config: DictConfig, name: str, fit: Fitting) -> float:
    clips = stage_steps(config, name) * config.recipe[name].batch
    return clips / fit.clips_per_s / 3600


def _overrides(knobs: dict[str, Knobs]) -> str:
    """Settings as words of a command line, quoted where a shell would read their braces."""
    if not knobs:
        return ""
    microbatch = ",".join(f"{name}:{knob.microbatch}" for name, knob in knobs.items())
    recompute = ",".join(f"{name}:{knob.recompute}" for name, knob in knobs.items())
    offload = any(knob.offload for knob in knobs.values())
    words = [f"microbatch={{{microbatch}}}", f"recompute={{{recompute}}}"]
    words = [f"'{word}'" if "," in word else word for word in words]
    return " ".join([*words, f"offload={str(offload).lower()}"])


def _gib(size: int) -> float:
    return round(size / GIB, 2)
