"""`python -m tests.gpu.training_memory [CASE…]`: GPU memory of training, beside its estimate.

Every case trains a full-size model with random weights for a few optimizer steps, through the
trainer's own step and optimizer, in a process of its own. With a cap the process may not have more
GPU memory than a card of that size, and the settings are those that the plan names for it. Needs
torch, OmegaConf, open_clip and NumPy, no network and no data.
"""

import json
import subprocess
import sys
import time
from typing import Any

import numpy as np
import torch
from omegaconf import DictConfig, OmegaConf

from dynamicrafter.bench.weights import fill
from dynamicrafter.model.animation import AnimationConfig, AnimationModel
from dynamicrafter.model.pretrained import model_config
from dynamicrafter.ranks import Ranks
from train.data import Batch
from train.handover import choose_trainable
from train.optimizer import clip_gradients, gradient_norms, make_optimizer
from train.plan.advice import Card, fitting, workload
from train.plan.flops import model_flop
from train.plan.memory import GIB, Knobs, Workload, estimate
from train.stage import stage_model, stage_objective, stage_settings
from train.step import Fit, Step
from train.stopwatch import Stopwatch

STEPS = 4
TFLOPS = 989.4
# name → model, recipe, stage, clips a step, microbatch, recompute, offload, cap in GB (or None).
# With a cap, microbatch and recompute are the plan's.
CASES: dict[str, tuple] = {
    "256 context": ("dynamicrafter_256", "dynamicrafter", "context", 64, 64, "none", False, None),
    "256 adapt": ("dynamicrafter_256", "dynamicrafter", "adapt", 4, 4, "none", False, None),
    "256 joint": ("dynamicrafter_256", "dynamicrafter", "joint", 4, 2, "none", False, None),
    "256 joint s": ("dynamicrafter_256", "dynamicrafter", "joint", 8, 8, "selective", False, None),
    "256 joint f": ("dynamicrafter_256", "dynamicrafter", "joint", 16, 16, "full", True, None),
    "256 joint 1": ("dynamicrafter_256", "dynamicrafter", "joint", 1, 1, "none", False, None),
    "512 finetune": ("dynamicrafter_512", "finetune", "finetune", 2, 2, "selective", False, None),
    "512 in 24": ("dynamicrafter_512", "finetune", "finetune", 4, None, None, True, 24),
    "512 in 48": ("dynamicrafter_512", "finetune", "finetune", 16, None, None, False, 48),
    "512 in 80": ("dynamicrafter_512", "finetune", "finetune", 16, None, None, False, 80),
    "1024 finetune": ("dynamicrafter_1024", "finetune", "finetune", 1, 1, "full", True, None),
}


def main() -> None:
    """Run the named cases (all), each in a process of its own; print a line each."""
    for name in sys.argv[1:] or CASES:
        code = f"from tests.gpu.training_memory import show; show({name!r})"
        subprocess.run([sys.executable, "-c", code], check=False)


def show(name: str) -> None:
    """Print the result of one case."""
    print(json.dumps({"case": name, **run(*CASES[name])}), flush=True)  # noqa: T201


def config_of(model: str, recipe: str) -> DictConfig:
    """The train config as far as a stage needs it, without Hydra."""
    config = OmegaConf.load("conf/train.yaml")
    del config["defaults"]
    config.recipe = OmegaConf.load(f"conf/recipe/{recipe}.yaml")
    config.model = model_config(model)
    return config


def run(
    model: str,
    recipe: str,
    stage: str,
    clips: int,
    microbatch: int | None,
    recompute: str | None,
    offload: bool,
    cap: int | None,
) -> dict[str, Any]:
    """Train `stage` for a few steps of `clips` clips; returns its peak beside the estimate."""
    config = config_of(model, recipe)
    config.recipe[stage].batch = clips
    work = workload(config, stage, "bf16")
    knobs = Knobs(microbatch or clips, recompute or "none", offload)
    if cap:
        found = fitting(work, Card(cap, "", TFLOPS), knobs, mfu=0.2)
        if found is None:
            return {"cap_gib": cap, "fits": False}
        knobs = found.knobs
        free, total = torch.cuda.mem_get_info()
        allowed = min(cap * GIB - (total - free), total)
        torch.cuda.set_per_process_memory_fraction(allowed / total)
    expected = estimate(work, knobs)
    config.microbatch = knobs.microbatch
    seconds = _train(config, stage, work, knobs)
    peak = torch.cuda.max_memory_allocated()
    rate = clips / seconds
    return {
        "knobs": f"microbatch={knobs.microbatch} recompute={knobs.recompute} offload={offload}",
        "cap_gib": cap,
        "peak_gib": round(peak / GIB, 2),
        "estimate_gib": round(expected.peak / GIB, 2),
        "ratio": round(expected.peak / peak, 3),
        "reserved_gib": round(torch.cuda.max_memory_reserved() / GIB, 2),
        "needed_gib": round(expected.needed / GIB, 2),
        "phases_gib": {k: round(v / GIB, 2) for k, v in expected.phases.items()},
        "step_s": round(seconds, 3),
        "clips_per_s": round(rate, 2),
        "mfu": round(rate * model_flop(work) / TFLOPS / 1e12, 4),
        "device": torch.cuda.get_device_name(),
    }


def _train(config: DictConfig, stage: str, work: Workload, knobs: Knobs) -> float:
    """Take the steps; returns the seconds of the fastest one."""
    device, ranks = torch.device("cuda"), Ranks()
    settings = stage_settings(config, stage)
    model = _filled(AnimationConfig.from_dict(stage_model(config, stage)))
    choose_trainable(model, work.trainable)
    fit = Fit("bf16", knobs.recompute, knobs.offload)
    step = Step(model, stage_objective(config, stage), device, fit, ranks)
    optimizer = make_optimizer(step.trained, settings)
    torch.cuda.reset_peak_memory_stats()
    watch = Stopwatch(device)
    step.train()
    taken = []
    for number in range(STEPS):
        began = time.monotonic()
        batches = [
            _batch(model.config, number * work.batch + first, knobs.microbatch)
            for first in range(0, work.batch, knobs.microbatch)
        ]
        step.gradients(batches, settings.seed, stage, settings.batch, watch)
        norms = gradient_norms(step.trained, ranks)
        clip_gradients(step.trained, norms[""], settings.gradient_clip)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        torch.cuda.synchronize()
        taken.append(time.monotonic() - began)
    return min(taken)


def _filled(config: AnimationConfig) -> AnimationModel:
    """A model with random weights, made on the GPU in no time, in host memory."""
    with torch.device("meta"):
        model = AnimationModel(config)
    for part in model.children():
        fill(part.to_empty(device="cuda")).to("cpu")
        torch.cuda.empty_cache()
    return model


def _batch(config: AnimationConfig, first: int, clips: int) -> Batch:
    """Clips of noise."""
    chance = np.random.default_rng(first)
    frames = chance.integers(0, 255, (clips, config.frames, *config.resolution, 3), np.uint8)
    numbers = list(range(first, first + clips))
    return Batch(
        numbers=numbers,
        keys=[f"noise-{number}" for number in numbers],
        frames=torch.from_numpy(frames),
        captions=["waves roll onto the beach"] * clips,
        frame_stride=torch.full((clips,), 3),
        fps=torch.full((clips,), 8.0),
        replaced=[],
    )


if __name__ == "__main__":
    main()
