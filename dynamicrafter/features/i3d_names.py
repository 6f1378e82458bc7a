"""The two namings under which I3D weights circulate, brought to ours.

Ours is that of the first PyTorch port (`Mixed_3b.b1a.conv3d.weight`), which most files follow. The
other is that of its contemporary (`mixed_3b.branch_1.0.conv3d.weight`).
"""

import re
from collections.abc import Mapping
from typing import TypeVar

Value = TypeVar("Value")

# Branches 1 and 2 are two units in a row; the other two are one, in branch 3 behind the pool.
BRANCHES = {
    "branch_0": "b0",
    "branch_1.0": "b1a",
    "branch_1.1": "b1b",
    "branch_2.0": "b2a",
    "branch_2.1": "b2b",
    "branch_3.1": "b3b",
}


def to_own_names(tensors: Mapping[str, Value]) -> dict[str, Value]:
    """Everything under the name that it has in `layers.i3d.I3D`; unknown names stay as they are."""
    return {own_name(name): value for name, value in tensors.items()}


def own_name(name: str) -> str:
    """`mixed_3b.branch_1.0.batch3d.bias` → `Mixed_3b.b1a.bn.bias`; our own name stays."""
    found = re.fullmatch(r"((?:conv3d|mixed)_\w+)\.(?:(branch_\d(?:\.\d)?)\.)?(.+)", name)
    if found is None:
        return name
    block, branch, leaf = found.groups()
    block = "logits" if block == "conv3d_0c_1x1" else block.capitalize()
    unit = [block, BRANCHES.get(branch, branch)] if branch else [block]
    return ".".join([*unit, leaf.replace("batch3d.", "bn.")])
