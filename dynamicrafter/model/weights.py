"""Weights: reading, writing, and loading them into a model that may differ from their own.

Foreign names are mapped to the official ones when a file is read (`names.py`), so that everything
after knows one set of names. Loading is strict but for what the caller names: a tensor may only
stay as initialised if its group is listed, and only two changes of shape are known.

Files are mapped, not copied: a tensor's bytes are read when they are used, and a model built on the
meta device takes the mapped tensors as its own, so loading needs the file's size in memory once.
"""

import pickle
import re
import warnings
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn

from dynamicrafter.errors import InputError
from dynamicrafter.files import atomic_path, write_tensors
from dynamicrafter.model.names import SCHEDULE_BUFFERS, parameter_group, to_official


class OtherModelError(InputError):
    """The weights are those of a model of another kind or shape."""


@dataclass(frozen=True)
class LoadReport:
    """What became of the tensors: names under each heading.

    Attributes:
        loaded: in the model now.
        missing: in the model, not in the weights; as initialised.
        unexpected: in the weights, not in the model; not used.
        reshaped: those of the loaded that were made to fit.
        schedule: buffers of the noise schedule in the weights; passed over, since it is computed.
    """

    loaded: tuple[str, ...]
    missing: tuple[str, ...]
    unexpected: tuple[str, ...]
    reshaped: tuple[str, ...]
    schedule: tuple[str, ...]

    def summary(self) -> str:
        """One line: how many tensors were loaded, which groups are new, what was left over."""
        new = Counter(parameter_group(name) for name in self.missing)
        groups = ", ".join(f"{group} ({count})" for group, count in sorted(new.items())) or "none"
        return (
            f"{len(self.loaded)} tensors loaded ({len(self.reshaped)} reshaped), "
            f"left as initialised: {groups}, not used: {len(self.unexpected)}"
        )


def read_state_dict(path: str | Path) -> dict[str, Tensor]:
    """Map a weight file under official names, onto the CPU.

    Takes safetensors, and torch files (`.ckpt`, `.pt`, `.pth`, `.bin`) that hold a state dict, one
    under `state_dict`, or DeepSpeed's under `module`; what a file is decides its content, not its
    name. Nothing but plain tensors is ever unpickled.

    Raises:
        InputError: the file is missing, damaged, or holds anything but weights.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"weights {path} do not exist")
    with path.open("rb") as file:
        head = file.read(512)
    if head.startswith(b"PK") or head.startswith(b"\x80"):
        tensors = _read_torch_file(path, mapped=head.startswith(b"PK"))
    elif head[8:9] == b"{":
        tensors = _read_safetensors(path)
    else:
        raise InputError(f"weights {path} {_what_it_is(head)}")
    if not isinstance(tensors, Mapping) or not all(
        isinstance(value, Tensor) for value in tensors.values()
    ):
        raise InputError(f"weights {path} hold no state dict; expected names and tensors")
    return to_official(tensors)


def _what_it_is(head: bytes) -> str:
    if not head:
        return "are an empty file; fetch them again"
    if head.lstrip().startswith(b"<"):
        return "are a web page; fetch the file itself, perhaps after signing in"
    if head.startswith(b"version https://git-lfs"):
        return "are a Git LFS pointer; run git lfs pull where it comes from"
    return "are neither safetensors nor a torch file, or damaged; fetch them again"


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    try:
        return safetensors.torch.load_file(path)
    except safetensors.SafetensorError as error:
        raise InputError(f"weights {path} are not a whole safetensors file: {error}") from None


def _read_torch_file(path: Path, mapped: bool) -> Any:
    if path.suffix == ".safetensors":  # torch.load would go by the name
        raise InputError(f"weights {path} are a torch file; give them the suffix .ckpt")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of pickles that are refused in a moment
            content = torch.load(path, map_location="cpu", weights_only=True, mmap=mapped)
    except pickle.UnpicklingError as error:
        named = re.search(r"GLOBAL (\S+)", str(error))
        what = f"Python objects ({named[1]})" if named else "no mere tensors, or are damaged,"
        raise InputError(
            f"weights {path} hold {what} and are not opened; "
            "convert them to safetensors where you trust them"
        ) from None
    except (RuntimeError, EOFError, ValueError, KeyError) as error:
        reason = str(error).split("\n")[0]
        raise InputError(
            f"weights {path} cannot be read, perhaps cut off ({reason}); fetch them again"
        ) from None
    if isinstance(content, Mapping):
        for wrapper in ("state_dict", "module"):
            if isinstance(content.get(wrapper), Mapping):
                return content[wrapper]
    return content


def save_weights(
    path: str | Path, state_dict: Mapping[str, Tensor], metadata: dict[str, str] | None = None
) -> None:
    """Write tensors atomically: safetensors, or a torch file with `state_dict` for `.ckpt`.

    `metadata` is free text by key, kept in safetensors alone.
    """
    if Path(path).suffix != ".ckpt":
        write_tensors(path, dict(state_dict), metadata)
        return
    with atomic_path(path) as temporary:
        own = {name: tensor.detach().cpu() for name, tensor in state_dict.items()}
        torch.save({"state_dict": own}, temporary)


def schedule_buffers(state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The noise schedule that a checkpoint carries: what loading passes over, for saving back."""
    return {name: state_dict[name] for name in state_dict if name in SCHEDULE_BUFFERS}


def load_weights(
    module: nn.Module, state_dict: Mapping[str, Tensor], *, may_miss: Collection[str] = ()
) -> LoadReport:
    """Bring weights into `module` (the whole model or its U-Net), and report.

    They are copied, but a module on the meta device takes the tensors as its own. Two changes of
    shape are made where they are needed: the first convolution takes further input channels (old
    ones bit-equal, new ones zero), and the queries of an image model are repeated for every frame.

    Args:
        module: its names decide what is loaded, its dtypes how it is kept.
        state_dict: from `read_state_dict`.
        may_miss: parameter groups whose tensors may be absent and then stay as initialised; none
            on the meta device.

    Raises:
        OtherModelError: tensors of another group are absent, or a shape does not fit.
        InputError: a value is not finite.
    """
    own = module.state_dict()
    on_meta = any(tensor.is_meta for tensor in own.values())
    accepted, report = match_weights(own, state_dict)
    for name, tensor in accepted.items():
        _check_finite(name, tensor)
        accepted[name] = tensor.to(own[name].dtype)
    _refuse_missing(report.missing, () if on_meta else may_miss)
    module.load_state_dict(accepted, strict=False, assign=on_meta)
    return report


def match_weights(
    own: Mapping[str, Tensor], state_dict: Mapping[str, Tensor]
) -> tuple[dict[str, Tensor], LoadReport]:
    """The tensors of `state_dict` that a model with the tensors `own` takes, and the report.

    Looks at names and shapes of `own` alone.

    Raises:
        OtherModelError: a shape does not fit.
    """
    accepted, reshaped = {}, []
    for name in own:
        if name not in state_dict:
            continue
        tensor = state_dict[name]
        if tensor.shape != own[name].shape:
            tensor = _reshape(name, tensor, own[name].shape)
            reshaped.append(name)
        accepted[name] = tensor
    report = LoadReport(
        loaded=tuple(accepted),
        missing=tuple(name for name in own if name not in accepted),
        unexpected=tuple(
            name for name in state_dict if name not in own and name not in SCHEDULE_BUFFERS
        ),
        reshaped=tuple(reshaped),
        schedule=tuple(schedule_buffers(state_dict)),
    )
    return accepted, report


def _refuse_missing(missing: Sequence[str], may_miss: Collection[str]) -> None:
    refused = [name for name in missing if parameter_group(name) not in may_miss]
    if refused:
        raise OtherModelError(
            f"the weights lack {len(refused)} tensors that the model needs, such as {refused[0]} "
            f"(group {parameter_group(refused[0])}); use weights of this kind of model, or allow "
            "the group to start as initialised"
        )


def _check_finite(name: str, tensor: Tensor) -> None:
    if tensor.is_floating_point() and tensor.numel():
        low, high = torch.aminmax(tensor)  # both are NaN where one value is
        if not (torch.isfinite(low) and torch.isfinite(high)):
            raise InputError(f"the weights are broken: {name} holds NaN or infinite values")


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
    raise OtherModelError(
        f"{name} is {list(tensor.shape)} in the weights and {list(shape)} in the model; "
        "the two are of different configurations"
    )


def _differs_in(axis: int, old: torch.Size, new: torch.Size) -> bool:
    """Whether the new shape is the old one but for a longer axis."""
    same = old[:axis] + old[axis + 1 :] == new[:axis] + new[axis + 1 :]
    return len(old) == len(new) and same and old[axis] < new[axis]
