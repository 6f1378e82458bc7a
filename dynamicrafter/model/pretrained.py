"""Models that can be had: a folder of ours, an official checkpoint, or a released model by name.

A folder holds `model.safetensors` beside the `model.yaml` that says what it is. A checkpoint file
says less of itself, so it is compared with the config that it is to fill: its names and shapes, and
the noise schedule that it carries.
"""

import functools
import math
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import torch
from omegaconf import OmegaConf
from torch import Tensor

from dynamicrafter import files
from dynamicrafter.diffusion.schedule import Schedule, official_buffers
from dynamicrafter.errors import InputError
from dynamicrafter.model.animation import AnimationConfig, AnimationModel
from dynamicrafter.model.names import PART_GROUPS, UNET_PREFIX, parameter_group
from dynamicrafter.model.weights import (
    LoadReport,
    OtherModelError,
    load_weights,
    read_state_dict,
    save_weights,
)

WEIGHTS, CONFIG = "model.safetensors", "model.yaml"
RELEASED = {  # the authors' checkpoints: repository of the model hub; the config of that name
    "dynamicrafter_256": "Doubiiu/DynamiCrafter",
    "dynamicrafter_512": "Doubiiu/DynamiCrafter_512",
    "dynamicrafter_1024": "Doubiiu/DynamiCrafter_1024",
    "dynamicrafter_512_interp": "Doubiiu/DynamiCrafter_512_Interp",
}
RELEASED_FILE = "model.ckpt"
SCHEDULE_TOLERANCE = 1e-4
COMPARED_BUFFERS = ("alphas_cumprod", "scale_arr")


@dataclass(frozen=True)
class Pretrained:
    """Where a model's weights lie and what they are: a plain config as in conf/model."""

    weights: Path
    config: dict[str, Any]

    @property
    def digest(self) -> str:
        """Digest of weights and config; the file is read once for it."""
        stat = self.weights.stat()
        return files.sha256_json(
            [_sha256(self.weights, stat.st_mtime_ns, stat.st_size), self.config]
        )


@functools.cache
def _sha256(path: Path, mtime_ns: int, size: int) -> str:
    return files.sha256_file(path)


def find(source: str | Path, kind: str | None = None) -> Pretrained:
    """The weights and the config that `source` names.

    Args:
        source: a model folder, a checkpoint file, or the name of a released model, which is taken
            from the model hub.
        kind: what a checkpoint file is: a name of conf/model, or a YAML file of that form. None
            asks the file, which mostly tells.

    Raises:
        InputError: there is no such thing, or it does not tell what it is.
        MachineError: the hub cannot be reached.
    """
    path = Path(source)
    if path.is_dir():
        return _in_folder(path, kind)
    if path.is_file():
        return Pretrained(path, model_config(kind or _recognise(path)))
    if str(source) in RELEASED:
        from dynamicrafter.assets.hub import download_released

        weights = download_released(RELEASED[str(source)], RELEASED_FILE)
        return Pretrained(weights, model_config(kind or str(source)))
    raise InputError(
        f"pretrained={source}: no such model folder or checkpoint, and no released model "
        f"({', '.join(RELEASED)})"
    )


def _in_folder(folder: Path, kind: str | None) -> Pretrained:
    for name in (CONFIG, WEIGHTS):
        if not (folder / name).is_file():
            raise InputError(f"{folder} is no model folder: {name} is missing")
    if kind is not None:
        raise InputError(f"{folder} says itself what it is ({CONFIG}); leave kind={kind} away")
    return Pretrained(folder / WEIGHTS, _read_yaml(folder / CONFIG))


def model_config(kind: str) -> dict[str, Any]:
    """The plain config of a model: a name of conf/model, or the path of a YAML file.

    Raises:
        InputError: there is none.
    """
    shipped = resources.files("conf").joinpath("model")
    names = sorted(Path(item.name).stem for item in shipped.iterdir() if item.name[-5:] == ".yaml")
    if kind in names:
        text = shipped.joinpath(f"{kind}.yaml").read_text(encoding="utf-8")
        return OmegaConf.to_container(OmegaConf.create(text))
    if Path(kind).is_file():
        return _read_yaml(Path(kind))
    raise InputError(f"kind={kind}: no YAML file, and not one of {', '.join(names)}")


def _read_yaml(path: Path) -> dict[str, Any]:
    import yaml

    try:
        config = OmegaConf.to_container(OmegaConf.load(path))
    except (yaml.YAMLError, UnicodeDecodeError, OSError) as error:
        raise InputError(f"{path} is no YAML file: {error}") from None
    if not isinstance(config, dict):
        raise InputError(f"{path} holds no settings by name")
    return config


def load_model(
    source: str | Path | Pretrained, device: torch.device | str = "cpu", kind: str | None = None
) -> AnimationModel:
    """Load a model, ready to sample from; on the CPU its weights stay mapped to the file.

    `source` and `kind` are as for `find`.

    Raises:
        InputError: no such model, or its weights are not what the config says.
    """
    found = source if isinstance(source, Pretrained) else find(source, kind)
    loaded, _ = build(found)
    return loaded.to(device)


def build(found: Pretrained) -> tuple[AnimationModel, LoadReport]:
    """The model of `found` on the CPU, in evaluation mode and frozen, and what was loaded.

    Raises:
        InputError: the weights are not what the config says; the message says what they look like.
    """
    config = AnimationConfig.from_dict(found.config)
    with torch.device("meta"):
        model = AnimationModel(config)
    tensors = read_state_dict(found.weights)
    try:
        _check_schedule(tensors, model.schedule)
        report = load_weights(model, tensors)
    except OtherModelError as error:
        raise InputError(f"{found.weights}: {error}; {_looks_like(tensors)}") from None
    except InputError as error:
        raise InputError(f"{found.weights}: {error}") from None
    return model.eval().requires_grad_(False), report


def _check_schedule(tensors: Mapping[str, Tensor], schedule: Schedule) -> None:
    expected = official_buffers(schedule)
    for name in COMPARED_BUFFERS:
        if name not in tensors:
            continue
        stored = tensors[name].float()
        length = min(len(stored), 1000)
        wanted = expected.get(name, torch.ones(length))[:length]
        if not torch.allclose(stored[:length], wanted, rtol=0, atol=SCHEDULE_TOLERANCE):
            raise OtherModelError(
                f"its noise schedule is not that of the config: {name} ends at "
                f"{stored[length - 1]:.4g} and not at {wanted[-1]:.4g}"
            )


def released_name(tensors: Mapping[str, Tensor]) -> str | None:
    """Which released model the weights are, as far as names and buffers tell; else None.

    The 256 model alone has learned gates; the others tell by the base of the dynamic rescale. The
    interpolation model cannot be told from the 512 one.
    """
    video = any(".temopral_conv." in name for name in tensors)
    if not (video and "image_proj_model.latents" in tensors):
        return None
    if any(name.endswith(".alpha") for name in tensors):
        return "dynamicrafter_256"
    if "scale_arr" in tensors:
        base = float(tensors["scale_arr"][-1])
        bases = {0.7: "dynamicrafter_512", 0.3: "dynamicrafter_1024"}
        return next((name for value, name in bases.items() if abs(base - value) < 1e-3), None)
    return None


def _recognise(path: Path) -> str:
    tensors = read_state_dict(path)
    name = released_name(tensors)
    if name is None:
        raise InputError(
            f"{path} does not tell which model it is ({_looks_like(tensors)}); "
            "pass kind=dynamicrafter_256, _512 or _1024, or a YAML file"
        )
    return name


def _looks_like(tensors: Mapping[str, Tensor]) -> str:
    """What weights look like, in a few words for an error message."""
    name = released_name(tensors)
    if name:
        return f"the file looks like kind={name}"
    prefixes = {UNET_PREFIX: "image U-Net", **PART_GROUPS}
    if any(parameter_group(tensor) == "temporal_transformer" for tensor in tensors):
        prefixes[UNET_PREFIX] = "video U-Net"
    parts = [
        part.replace("_", " ")
        for prefix, part in prefixes.items()
        if any(tensor.startswith(prefix) for tensor in tensors)
    ]
    return f"the file holds: {', '.join(parts) or 'no part of such a model'}"


def save_model(folder: Path, model: AnimationModel, config: dict[str, Any]) -> None:
    """Write a model and the plain config that it was built from; see `save_state`."""
    save_state(folder, model.state_dict(), config)


def save_state(folder: Path, state: Mapping[str, Tensor], config: dict[str, Any]) -> None:
    """Write the weights of a model and the plain config that it is built from.

    Raises:
        InputError: the scale of the latents is no positive number.
    """
    if not (math.isfinite(config["scale_factor"]) and config["scale_factor"] > 0):
        raise InputError(f"scale_factor is {config['scale_factor']}; the autoencoder has collapsed")
    files.write_text(folder / CONFIG, OmegaConf.to_yaml(config))
    save_weights(folder / WEIGHTS, state)
