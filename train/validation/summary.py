"""Rows of validation as scalars by step, with intervals, and the difference of two sets of rows.

The unit is the clip: the losses of a clip under several timesteps and modes are not independent,
so they are averaged first, and so are two windows of one clip.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence

import numpy as np

from dynamicrafter.errors import InputError
from dynamicrafter.model.gates import read_gates
from dynamicrafter.model.unet import UNet
from dynamicrafter.statistics import Interval, mean_interval
from train.validation.losses import LossRow
from train.validation.samples import VideoSample

ALL = "all"
STILL_RATIO = 0.1


def summarise(rows: Sequence[LossRow]) -> dict[str, float]:
    """Scalars of all ranks' rows.

    Returns:
        `validation/loss`: mean over clips, strata and modes; `validation/loss/<mode>`: of a mode;
        `validation/low…` and `validation/high…` beside each: its 95 % interval over the clips;
        `validation/stratum-<k>/<mode>`: mean of a slice of the timesteps;
        `attention/<layer>/image_to_text`: mean ‖λ image‖ / ‖text‖ with both conditions.

    Raises:
        InputError: rows of fewer than 2 clips.
    """
    scalars = {}
    for mode, interval in loss_intervals(rows).items():
        tail = "" if mode == ALL else f"/{mode}"
        scalars[f"validation/loss{tail}"] = interval.value
        scalars[f"validation/low{tail}"] = interval.low
        scalars[f"validation/high{tail}"] = interval.high
    strata, ratios = [], []
    for row in rows:
        strata.append((f"validation/stratum-{row['stratum']}/{row['mode']}", row["loss"]))
        for layer, ratio in row["attention"].items():
            ratios.append((f"attention/{layer}/image_to_text", ratio))
    return scalars | _means(strata) | _means(ratios)


def loss_intervals(rows: Sequence[LossRow]) -> dict[str, Interval]:
    """Mean loss over the clips with its 95 % interval, of each mode and of `all` of them.

    Raises:
        InputError: rows of fewer than 2 clips.
    """
    by_mode = defaultdict(list)
    for row in rows:
        by_mode[row["mode"]].append(row)
    return {
        name: mean_interval(list(_means((row["key"], row["loss"]) for row in chosen).values()))
        for name, chosen in ((ALL, rows), *by_mode.items())
    }


def paired_difference(before: Sequence[LossRow], after: Sequence[LossRow]) -> Interval:
    """Mean of `after` less `before` with its 95 % interval; below zero, `after` is better.

    Each clip gives one value, its mean over strata and modes. What the clips have in common in both
    cancels, so the interval is far narrower than those of the two means.

    Raises:
        InputError: the rows are not of the same clips, timesteps and modes, or of one clip only.
    """
    old, new = ({_identity(row): row for row in rows} for rows in (before, after))
    if unpaired := sorted(old.keys() ^ new.keys()):
        key, number, stratum, timestep, mode = unpaired[0]
        raise InputError(
            f"{len(unpaired)} validation rows have no partner, such as clip {key} ({number}), "
            f"stratum {stratum}, timestep {timestep}, mode {mode}; compare runs with the same "
            "validation data, seed, clips, strata and modes"
        )
    differences = _means((row["key"], row["loss"] - old[i]["loss"]) for i, row in new.items())
    return mean_interval(list(differences.values()))


def gate_scalars(unet: UNet) -> dict[str, float]:
    """`gates/<layer>`: λ of every cross-attention with an image stream."""
    return {f"gates/{gate.layer}": gate.value for gate in read_gates(unet)}


def motion_scalars(videos: Sequence[VideoSample]) -> dict[str, float]:
    """Scalars of all ranks' sample videos; nothing where there are none.

    Returns:
        `validation/motion` and `validation/motion_real`: mean object speed of the samples and of
        the real windows, in frame diagonals per second; `validation/motion_ratio`: one over the
        other; `validation/still`: 1 if that is below 0.1, else 0. A model that copies its image
        into every frame, the known failure, has a low loss and fine pictures, and a ratio near 0.
        Where nothing moves in the real windows there is neither ratio nor `still`.
    """
    if not videos:
        return {}
    motion = float(np.mean([video.motion for video in videos]))
    real = float(np.mean([video.motion_real for video in videos]))
    scalars = {"validation/motion": motion, "validation/motion_real": real}
    if real > 0:
        scalars["validation/motion_ratio"] = motion / real
        scalars["validation/still"] = float(motion / real < STILL_RATIO)
    return scalars


def _identity(row: LossRow) -> tuple[str, int, int, int, str]:
    return row["key"], row["number"], row["stratum"], row["timestep"], row["mode"]


def _means(values: Iterable[tuple[str, float]]) -> dict[str, float]:
    """Mean of the values under each name, in the order of the names' first appearance."""
    named = defaultdict(list)
    for name, value in values:
        named[name].append(value)
    return {name: float(np.mean(found)) for name, found in named.items()}
