"""A model in a folder: `model.safetensors` beside the `model.yaml` that says what it is."""

import math
from pathlib import Path
from typing import Any

import torch
from omegaconf import OmegaConf

from dynamicrafter import files
from dynamicrafter.errors import InputError
from dynamicrafter.model.animation import AnimationConfig, AnimationModel
from dynamicrafter.model.weights import load_weights, read_state_dict, save_weights

WEIGHTS, CONFIG = "model.safetensors", "model.yaml"


def save_model(folder: Path, model: AnimationModel, config: dict[str, Any]) -> None:
    """Write a model and the plain config that it was built from.

    Raises:
        InputError: the scale of the latents is no positive number.
    """
    if not (math.isfinite(config["scale_factor"]) and config["scale_factor"] > 0):
        raise InputError(f"scale_factor is {config['scale_factor']}; the autoencoder has collapsed")
    files.write_text(folder / CONFIG, OmegaConf.to_yaml(config))
    save_weights(folder / WEIGHTS, model.state_dict())


def load_model(folder: str | Path, device: torch.device | str = "cpu") -> AnimationModel:
    """Load a model folder, ready to sample from.

    Raises:
        InputError: it is no model folder, or its weights do not fit its config.
    """
    folder = Path(folder)
    for name in (CONFIG, WEIGHTS):
        if not (folder / name).is_file():
            raise InputError(f"{folder} is no model folder: {name} is missing")
    config = OmegaConf.to_container(OmegaConf.load(folder / CONFIG))
    model = AnimationModel(AnimationConfig.from_dict(config))
    load_weights(model, read_state_dict(folder / WEIGHTS))
    return model.to(device).eval().requires_grad_(False)
