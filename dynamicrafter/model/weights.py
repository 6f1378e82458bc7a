"""Weights: reading, writing, and loading them into a model that may differ from their own.

Foreign names are mapped to the official ones when a file is read, so that everything after knows
one set of names. Loading is strict but for what the caller names: a tensor may only stay as
initialised if its group is listed, and only two changes of shape are known.
"""

import pickle
import re
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn

from dynamicrafter.diffusion.schedule import Schedule, ScheduleConfig, official_buffers
from dynamicrafter.errors import InputError
from dynamicrafter.files import write_tensors

UNET_PREFIX = "model.diffusion_model."
DEEPSPEED_PREFIX = "_forward_module."
PART_GROUPS = {
    "image_proj_model.": "image_projector",
    "first_stage_model.": "autoencoder",
    "cond_stage_model.": "text_encoder",
    "embedder.": "image_encoder",
}
UNET_GROUPS = (  # the first pattern that is found in a name decides; anything else is spatial
    (re.compile(r"^time_embed\."), "time_embed"),
    (re.compile(r"^fps_embedding\."), "fs_embedding"),
    (re.compile(r"^init_attn\."), "temporal_init_attn"),
    (re.compile(r"\.temopral_conv\."), "temporal_conv"),
    (re.compile(r"^(middle_block|(input|output)_blocks\.\d+)\.2\."), "temporal_transformer"),
    (re.compile(r"\.to_[kv]_ip\.weight$"), "image_cross_attention_kv"),
    (re.compile(r"\.alpha$"), "lambda_alpha"),
)
GROUPS = {"spatial", *PART_GROUPS.values(), *(group for _, group in UNET_GROUPS)}
RENAMES = (
    # The released 256 checkpoint's name for the fs embedding.
    (re.compile(r"\bframestride_embed\."), "fps_embedding."),
    # Image U-Nets (SD 2.1) have no temporal transformer before these two.
    (re.compile(r"\bmiddle_block\.2\.(in_layers|emb_layers|out_layers)\."), r"middle_block.3.\1."),
    (re.compile(r"\b(output_blocks\.\d+)\.2\.conv\."), r"\1.3.conv."),
)
# Official checkpoints carry the noise schedule too; it is computed here, so these are passed over.
SCHEDULE_BUFFERS = frozenset(official_buffers(Schedule(ScheduleConfig(base_scale=1.0))))


@dataclass(frozen=True)
class LoadReport:
    """What became of the tensors: names under each heading."""

    loaded: tuple[str, ...]
    missing: tuple[str, ...]
    unexpected: tuple[str, ...]
    reshaped: tuple[str, ...]

    def summary(self) -> str:
        """One line: how many tensors were loaded, which groups are new, what was left over."""
        new = Counter(parameter_group(name) for name in self.missing)
        groups = ", ".join(f"{group} ({count})" for group, count in sorted(new.items())) or "none"
        return (
            f"{len(self.loaded)} tensors loaded ({len(self.reshaped)} reshaped), "
            f"left as initialised: {groups}, not used: {len(self.unexpected)}"
        )


def parameter_group(name: str) -> str:
    """The group of a parameter, by its official name with or without the U-Net's prefix.

    Groups of the U-Net: spatial, time_embed, fs_embedding, temporal_transformer, temporal_conv,
    temporal_init_attn, image_cross_attention_kv, lambda_alpha. The other parts of the model are a
    group each: image_projector, autoencoder, text_encoder, image_encoder.
    """
    for prefix, group in PART_GROUPS.items():
        if name.startswith(prefix):
            return group
    name = name.removeprefix(UNET_PREFIX)
    return next((group for pattern, group in UNET_GROUPS if pattern.search(name)), "spatial")


def official_name(name: str) -> str:
    """The official name of a tensor in a foreign or wrapped checkpoint; official names stay."""
    name = name.removeprefix(DEEPSPEED_PREFIX)
    for pattern, replacement in RENAMES:
        name = pattern.sub(replacement, name)
    return name


def read_state_dict(path: str | Path) -> dict[str, Tensor]:
    """Read a weight file under official names, onto the CPU.

    Takes safetensors, and torch files (`.ckpt`, `.pt`, `.pth`) that hold a state dict, one under
    `state_dict`, or DeepSpeed's under `module`. Nothing but plain tensors is ever unpickled.

    Raises:
        InputError: the file is missing, damaged, or holds anything but weights.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"weights {path} do not exist")
    if path.suffix == ".safetensors":
        try:
            tensors: Any = safetensors.torch.load_file(path)
        except safetensors.SafetensorError as error:
            raise InputError(f"weights {path} are not a whole safetensors file: {error}") from None
    else:
        tensors = _read_torch_file(path)
    if not isinstance(tensors, Mapping) or not all(
        isinstance(value, Tensor) for value in tensors.values()
    ):
        raise InputError(f"weights {path} hold no state dict; expected names and tensors")
    return {official_name(name): tensor for name, tensor in tensors.items()}


def _read_torch_file(path: Path) -> Any:
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        raise InputError(
            f"weights {path} hold Python objects besides tensors and are not opened; "
            "convert them to safetensors where you trust them"
        ) from None
    except (RuntimeError, EOFError, ValueError) as error:
        raise InputError(f"weights {path} cannot be read: {error}") from None
    if isinstance(content, Mapping):
        for wrapper in ("state_dict", "module"):
            if isinstance(content.get(wrapper), Mapping):
                return content[wrapper]
    return content


def save_weights(
    path: str | Path, state_dict: Mapping[str, Tensor], metadata: dict[str, str] | None = None
) -> None:
    """Write tensors as safetensors, atomically; metadata is free text by key."""
    write_tensors(path, dict(state_dict), metadata)


def load_weights(
    module: nn.Module, state_dict: Mapping[str, Tensor], *, may_miss: Collection[str] = ()
) -> LoadReport:
    """Copy weights into `module` (the whole model or its U-Net), and report.

    Two changes of shape are made where they are needed: the first convolution takes further input
    channels (old ones bit-equal, new ones zero), and the queries of an image model are repeated for
    every frame.

    Args:
        module: its names decide what is loaded.
        state_dict: from `read_state_dict`.
        may_miss: parameter groups whose tensors may be absent and then stay as initialised.

    Raises:
        InputError: tensors of another group are absent, or a shape does not fit.
    """
    own = module.state_dict()
    accepted, reshaped = {}, []
    for name in own.keys() & state_dict.keys():
        tensor = state_dict[name]
        if tensor.shape != own[name].shape:
            tensor = _reshape(name, tensor, own[name].shape)
            reshaped.append(name)
        accepted[name] = tensor
    missing = [name for name in own if name not in accepted]
    refused = [name for name in missing if parameter_group(name) not in may_miss]
    if refused:
        raise InputError(
            f"the weights lack {len(refused)} tensors that the model needs, such as {refused[0]} "
            f"(group {parameter_group(refused[0])}); use weights of this kind of model, or allow "
            "the group to start as initialised"
        )
    module.load_state_dict(accepted, strict=False)
    unexpected = (name for name in state_dict if name not in own and name not in SCHEDULE_BUFFERS)
    return LoadReport(
        loaded=tuple(name for name in own if name in accepted),
        missing=tuple(missing),
        unexpected=tuple(unexpected),
        reshaped=tuple(sorted(reshaped)),
    )


def _reshape(name: str, tensor: Tensor, shape: torch.Size) -> Tensor:
    """Make a tensor of another shape fit, in one of the two known ways."""
    if name.endswith("input_blocks.0.0.weight") and _differs_in(1, tensor.shape, shape):
        widened = tensor.new_zeros(shape)
        widened[:, : tensor.shape[1]] = tensor
        return widened
    if name.endswith("latents") and _differs_in(1, tensor.shape, shape):
        frames, rest = divmod(shape[1], tensor.shape[1])
        if rest == 0:
            return tensor.repeat(1, frames, 1)
    raise InputError(
        f"{name} is {list(tensor.shape)} in the weights and {list(shape)} in the model; "
        "the two are of different configurations"
    )


def _differs_in(axis: int, old: torch.Size, new: torch.Size) -> bool:
    """Whether the new shape is the old one but for a longer axis."""
    same = old[:axis] + old[axis + 1 :] == new[:axis] + new[axis + 1 :]
    return len(old) == len(new) and same and old[axis] < new[axis]
