"""Weight files of feature networks, as others have published them: into plain tensors.

safetensors, or torch files of tensors alone; no code in a file is ever run.
"""

import pickle
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import safetensors

from dynamicrafter.assets import load_manifest
from dynamicrafter.features import MissingWeights
from dynamicrafter.files import file_digest

if TYPE_CHECKING:
    from torch import Tensor, nn

WRAPPERS = ("state_dict", "model", "module")  # under which a training's checkpoint keeps weights


def read_tensors(path: str | Path, network: str) -> "dict[str, Tensor]":
    """The tensors of a weight file by name, on the CPU; a torch file is mapped, not copied.

    Args:
        path: the file.
        network: whose weights it should hold, for the message.

    Raises:
        MissingWeights: there is no such file, or it does not hold tensors alone.
    """
    from torch import Tensor

    path = Path(path)
    require_file(path, network)
    if _is_torchscript(path):
        raise MissingWeights(
            f"{path} is a TorchScript archive, a program, and is not run; where you trust it, "
            "write its tensors to another file: "
            "safetensors.torch.save_file(dict(torch.jit.load(FILE).state_dict()), OUT)"
        )
    try:
        content = _read(path)
    except (
        OSError,
        RuntimeError,
        ValueError,
        LookupError,
        EOFError,
        pickle.UnpicklingError,
        safetensors.SafetensorError,
    ) as error:
        reason = " ".join(str(error).split())[:200]
        raise MissingWeights(f"{path} does not hold weights of {network}: {reason}") from None
    for wrapper in WRAPPERS:
        if isinstance(content, Mapping) and isinstance(content.get(wrapper), Mapping):
            content = content[wrapper]
    if not isinstance(content, Mapping) or not all(
        isinstance(name, str) and isinstance(value, Tensor) for name, value in content.items()
    ):
        raise MissingWeights(f"{path} does not hold weights of {network}: no names with tensors")
    return dict(content)


def require_file(path: str | Path, network: str) -> None:
    """Refuse a file that is not there.

    Raises:
        MissingWeights: there is no such file.
    """
    if not Path(path).is_file():
        raise MissingWeights(f"no weights of {network} at {path}; put the file there")


def asset_digest(path: str | Path, asset: str) -> str:
    """The sha256 of a file, which must be that of an asset.

    Raises:
        MissingWeights: there is no such file, or it is another.
    """
    # Pages show this, and the path of an asset may hold its user's name.
    name, remedy = Path(path).name, f"run: dynamicrafter assets fetch {asset}"
    if not Path(path).is_file():
        raise MissingWeights(f"there is no {name}; {remedy}")
    found = file_digest(path)
    if found != load_manifest()[asset].stored_sha256:
        raise MissingWeights(f"{name} is not {asset} by its sha256 {found}; {remedy}")
    return found


def fill(
    model: "nn.Module", tensors: "Mapping[str, Tensor]", path: str | Path, network: str
) -> None:
    """Give a module, which may lie on the meta device, the tensors as float32; frozen afterwards.

    Raises:
        MissingWeights: names or shapes differ.
    """
    try:
        model.load_state_dict(
            {
                name: value.float() if value.is_floating_point() else value
                for name, value in tensors.items()
            },
            assign=True,
        )
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:200]
        raise MissingWeights(f"{path} does not hold weights of {network}: {reason}") from None
    model.eval().requires_grad_(False)


def _read(path: Path) -> Any:
    import safetensors.torch
    import torch

    with path.open("rb") as file:
        head = file.read(9)
    if head[8:] == b"{":  # after the length of the header
        return safetensors.torch.load_file(path)
    return torch.load(path, map_location="cpu", weights_only=True, mmap=head.startswith(b"PK"))


def _is_torchscript(path: Path) -> bool:
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return any(name.endswith("/constants.pkl") for name in archive.namelist())
