"""The tensors of a stage: trained, frozen, and new, which are in no weights that it starts from."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf
from torch import Tensor

from dynamicrafter.model.animation import AnimationConfig, AnimationModel
from dynamicrafter.model.names import GROUPS, parameter_group
from dynamicrafter.model.pretrained import RELEASED
from dynamicrafter.model.weights import read_state_dict
from train.handover import PREVIOUS, choose_trainable, locate, of_groups
from train.stage import stage_model

_IMAGE_MODEL = {"spatial", "time_embed", "autoencoder", "text_encoder"}
_TEMPORAL = {"temporal_transformer", "temporal_conv", "temporal_init_attn", "fs_embedding"}
ASSUMED = {  # groups in weights that are not at hand, by the recipe's name for them
    "image_model": _IMAGE_MODEL,
    "video_model": _IMAGE_MODEL | _TEMPORAL,
    "encoders": {"text_encoder", "image_encoder"},
}


def without_missing(config: DictConfig) -> DictConfig:
    """The config with a word in the place of every base weight that is not given."""
    config = config.copy()
    base = config.recipe.get("base", {})
    for name in base:
        if OmegaConf.is_missing(base, name):
            base[name] = f"<recipe.base.{name}>"
    return config


def tensors_of(config: DictConfig, name: str) -> dict[str, Tensor]:
    """All tensors of stage `name`, without bytes, by their official names."""
    with torch.device("meta"):
        model = AnimationModel(AnimationConfig.from_dict(stage_model(config, name)))
    choose_trainable(model, list(config.recipe[name].trainable))
    return model.state_dict(keep_vars=True)


def count_stage(config: DictConfig, name: str, previous: Mapping[str, Tensor]) -> dict[str, Any]:
    """Count the tensors of a stage.

    Args:
        config: the composed train config, nothing missing in `recipe.base`.
        name: the stage.
        previous: tensors of the stage before; empty for the first one.

    Returns:
        `groups`: by group, `tensors`, `parameters`, `trained`, and `new`, the number of tensors in
        no source; `new`: their names; `sources`: by source, what is known of it, in words.

    Raises:
        InputError: a group that does not exist, or a source that cannot be read.
    """
    own = tensors_of(config, name)
    held: set[str] = set()
    sources = {}
    for source in OmegaConf.to_container(config.recipe[name].start, resolve=True):
        names, words = _names(config, source["from"], own, previous)
        held.update(of_groups(dict.fromkeys(names), source.get("groups")))
        sources[source["from"]] = words
    groups: dict[str, dict[str, Any]] = {}
    for tensor_name, tensor in own.items():
        group = groups.setdefault(
            parameter_group(tensor_name),
            {"tensors": 0, "parameters": 0, "trained": False, "new": 0},
        )
        group["tensors"] += 1
        group["parameters"] += tensor.numel()
        group["trained"] |= tensor.requires_grad
        group["new"] += tensor_name not in held
    new = [tensor_name for tensor_name in own if tensor_name not in held]
    return {"groups": groups, "new": new, "sources": sources}


def _names(
    config: DictConfig, source: str, own: Mapping[str, Tensor], previous: Mapping[str, Tensor]
) -> tuple[list[str], str]:
    """Names of the tensors that a source holds, or would, and how that is known."""
    if source == PREVIOUS:
        return list(previous), "the stage before"
    if Path(source).exists():
        return list(read_state_dict(locate(source))), "read"
    base = config.recipe.get("base", {})
    role = next((key for key in base if base[key] == source), None)
    groups = GROUPS if source in RELEASED else ASSUMED.get(role, GROUPS)
    words = "all that it needs" if groups is GROUPS else f"all of {', '.join(sorted(groups))}"
    return list(of_groups(own, list(groups))), f"not at hand: assumed to hold {words}"
