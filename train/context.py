"""Where a stage trains, and for whom."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from dynamicrafter.ranks import Ranks


@dataclass(frozen=True)
class Context:
    """The surroundings of one stage's loop.

    Attributes:
        folder: the stage's folder; holds the journal's files, `checkpoints/` and `samples/`.
        device: of this rank.
        ranks: this rank among the others.
        provenance: digests of data and base weights; saved with every checkpoint.
        flops_per_clip: counted operations of a training step, for the MFU; None leaves it away.
    """

    folder: Path
    device: torch.device
    ranks: Ranks
    provenance: dict[str, Any]
    flops_per_clip: float | None = None
