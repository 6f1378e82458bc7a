"""Checkpoints: a folder per step that is whole or absent; the newest whole one wins.

    step-00000040/weights.safetensors      every tensor of the model
                  optimizer.safetensors    <parameter>.exp_avg and so on
                  state.json               step, sample number, W&B run, digests; written last

No generator state is saved: there is none (see `dynamicrafter.draws`).
"""

import shutil
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file

from dynamicrafter import files

WEIGHTS, OPTIMIZER = "weights.safetensors", "optimizer.safetensors"
KEEP = 2  # whole checkpoints kept per stage


def save(
    folder: Path,
    step: int,
    model: torch.nn.Module,
    optimizer: torch.optim.Optimizer,
    names: list[str],
    state: dict[str, Any],
) -> Path:
    """Write the checkpoint of `step` below `folder` and prune older ones.

    Args:
        folder: the stage's checkpoint folder.
        step: steps taken so far.
        model: all its tensors are saved.
        optimizer: its state is saved by parameter name.
        names: names of the optimizer's parameters, in its order.
        state: whatever else resuming needs, JSON.
    """
    target = folder / f"step-{step:08d}"
    if target.exists() and target not in whole(folder):
        shutil.rmtree(target)  # damaged since it was written
    with files.atomic_folder(target) as partial:
        files.write_tensors(partial / WEIGHTS, model.state_dict())
        files.write_tensors(partial / OPTIMIZER, _optimizer_tensors(optimizer, names))
        files.write_json(partial / "state.json", {**state, "step": step})
    for old in whole(folder)[:-KEEP]:
        shutil.rmtree(old)
    return target


def whole(folder: Path) -> list[Path]:
    """The whole checkpoints below `folder`, oldest first; damaged ones are passed over."""
    return sorted(path for path in folder.glob("step-*") if _is_whole(path))


def _is_whole(checkpoint: Path) -> bool:
    try:
        for name in (WEIGHTS, OPTIMIZER):
            with safe_open(checkpoint / name, framework="pt"):  # compares header and length
                pass
    except (SafetensorError, OSError):
        return False
    return (checkpoint / "state.json").exists()


def restore(
    checkpoint: Path,
    model: torch.nn.Module,
    optimizer: torch.optim.Optimizer,
    names: list[str],
) -> dict[str, Any]:
    """Load a checkpoint into `model` and `optimizer`; returns its `state.json`."""
    model.load_state_dict(load_file(checkpoint / WEIGHTS))
    tensors = load_file(checkpoint / OPTIMIZER)
    saved = optimizer.state_dict()
    saved["state"] = {}
    for number, name in enumerate(names):
        fields = {key[len(name) + 1 :]: key for key in tensors if key.startswith(f"{name}.")}
        own = {field: tensors[key] for field, key in fields.items() if "." not in field}
        if own:
            saved["state"][number] = own
    optimizer.load_state_dict(saved)
    return files.read_json(checkpoint / "state.json")


def _optimizer_tensors(
    optimizer: torch.optim.Optimizer, names: list[str]
) -> dict[str, torch.Tensor]:
    state = optimizer.state_dict()["state"]
    return {
        f"{names[number]}.{field}": tensor
        for number, fields in state.items()
        for field, tensor in fields.items()
    }
