"""The fixed clips: decoded once, joined to batches, and divided among ranks."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import torch

from dynamicrafter.errors import InputError
from dynamicrafter.shards import may_be_passed_on
from train.data import Batch, ClipWindows, Positions, batches
from train.validation.settings import Validation


@dataclass(frozen=True)
class FixedClip:
    """A window that every validation looks at.

    Attributes:
        batch: the window, as a batch of one.
        may_be_passed_on: whether the clip's source lets its media leave this machine.
    """

    batch: Batch
    may_be_passed_on: bool


def load_fixed(windows: ClipWindows, settings: Validation) -> list[FixedClip]:
    """Decode the fixed clips, in this process.

    Args:
        windows: of the validation data, with `settings.seed` and the stream `STREAM`.
        settings: `clips` is how many sample numbers are taken, from 0; where the data has fewer
            clips than that, some are seen through two windows.

    Raises:
        InputError: the data has one clip only.
    """
    positions = Positions(0, settings.clips, 1)
    fixed = [
        FixedClip(batch, _may_be_passed_on(windows, batch))
        for batch in batches(windows, positions, workers=0)
    ]
    if len({clip.batch.keys[0] for clip in fixed}) < 2:
        raise InputError(
            f"validation: all {len(fixed)} windows are of the clip {fixed[0].batch.keys[0]}; "
            "intervals need 2 clips, give it more data"
        )
    return fixed


def joined(clips: Sequence[FixedClip]) -> Batch:
    """The clips as one batch; they are decoded, nothing of them is kept."""
    parts = [clip.batch for clip in clips]
    names = [f.name for f in fields(Batch) if f.name != "kept"]
    return Batch(**{name: _concatenated([getattr(p, name) for p in parts]) for name in names})


def share_of(count: int, share: tuple[int, int]) -> list[tuple[int, bool]]:
    """Which of `count` things a rank does, as (index, whether the rank answers for it).

    `share` is (rank, ranks). All ranks do equally many, because the passes of a model that is
    sharded over the ranks are made by all of them together: where things run out, a rank repeats
    one that another answers for.
    """
    rank, ranks = share
    places = (turn * ranks + rank for turn in range(math.ceil(count / ranks)))
    return [(place % count, place < count) for place in places]


def _may_be_passed_on(windows: ClipWindows, batch: Batch) -> bool:
    """Asked of the source; a clip that stands in for an unreadable one is not passed on."""
    sample = windows.locate(batch.numbers[0]).sample()
    return sample.key == batch.keys[0] and may_be_passed_on(sample.info)


def _concatenated(values: list[Any]) -> Any:
    if isinstance(values[0], torch.Tensor):
        return torch.cat(values)
    return [item for value in values for item in value]
