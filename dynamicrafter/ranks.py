"""Several processes that share a run: who this one is, and which device is its own.

`torchrun` starts the processes and names them in the environment. Rank 0 leads: it alone holds the
run folder and logs.
"""

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dynamicrafter.command import choose_device

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Ranks:
    """This process among those that share the run."""

    rank: int = 0
    count: int = 1
    local: int = 0  # its number on this machine: which GPU is its own

    @property
    def leads(self) -> bool:
        """Whether this one writes and logs."""
        return self.rank == 0


def ranks_here() -> Ranks:
    """Who this process is, as torchrun says in the environment; alone without it."""
    numbers = {"rank": ("RANK", "0"), "count": ("WORLD_SIZE", "1"), "local": ("LOCAL_RANK", "0")}
    return Ranks(**{field: int(os.environ.get(*where)) for field, where in numbers.items()})


def own_device(name: str, ranks: Ranks) -> "torch.device":
    """The device of this rank, for a `device` setting.

    Raises:
        InputError: there is no such device here.
    """
    import torch

    device = choose_device(name)
    if device.type == "cuda" and ranks.count > 1:
        device = torch.device("cuda", ranks.local)
    if device.type == "cuda" and device.index is not None:
        torch.cuda.set_device(device)  # streams and graphs are made on the one that is set
    return device
