"""Which shots stay, and why the others do not: one pass over the stored measures.

Figures are measured for every shot and thresholds are applied here, so another threshold costs
seconds. Nothing depends on the order of the rows.
"""

import itertools
from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np

from curation.measures.phash import phash_bits
from dynamicrafter.errors import InputError
from dynamicrafter.files import sha256_bytes

UNREADABLE, TOO_SHORT, NEAR_DUPLICATE = "unreadable", "too_short", "near_duplicate"
STEPS = (UNREADABLE, TOO_SHORT, "black", "frozen", "still", "camera_dominated", NEAR_DUPLICATE)
"""The filters in the order in which they are applied; the first that applies is the reason."""

SPLIT_KEYS = {"clip": "clip_id", "shot": "key"}
"""What stays together in one split → the column of a shot's row that is hashed."""


@dataclass
class Filters:
    """`filters` of conf/curate.yaml, where each threshold is explained."""

    max_black_share: float
    max_frozen_share: float
    min_object_motion: float
    max_camera_motion: float
    camera_dominance: float
    max_phash_distance: int
    test_share: float
    split_by: str

    def __post_init__(self) -> None:
        if self.split_by not in SPLIT_KEYS:
            raise InputError(
                f"filters.split_by is {self.split_by!r}; choose {' or '.join(SPLIT_KEYS)}"
            )


def reason_to_drop(row: dict[str, Any], filters: Filters) -> str | None:
    """The first per-clip filter that a shot's row fails, or None."""
    if row["too_short"]:
        return TOO_SHORT
    measures = row["measures"]
    if measures["black_share"] > filters.max_black_share:
        return "black"
    if measures["frozen_share"] > filters.max_frozen_share:
        return "frozen"
    if measures["object_motion"] < filters.min_object_motion:
        return "still"
    if camera_dominates(measures["camera_motion"], measures["object_motion"], filters):
        return "camera_dominated"
    return None


def camera_dominates(camera_motion: float, object_motion: float, filters: Filters) -> bool:
    """Whether the camera moves fast and much faster than the objects; frame diagonals/s."""
    fast = camera_motion > filters.max_camera_motion
    return fast and camera_motion > filters.camera_dominance * object_motion


def split_of(key: str, test_share: float) -> str:
    """`train` or `test`, by a hash of the key alone."""
    return "test" if int(sha256_bytes(key.encode())[:8], 16) < test_share * 2**32 else "train"


def decide(rows: list[dict[str, Any]], filters: Filters) -> list[dict[str, Any]]:
    """Give each shot's row its `reason` (None: kept) and `split`; returns them ordered by key."""
    decided = []
    split_key = SPLIT_KEYS[filters.split_by]
    seen: dict[tuple[int, int], list[np.ndarray]] = {}
    for row in sorted(rows, key=lambda row: row["key"]):
        reason = reason_to_drop(row, filters)
        if reason is None and _repeats(row["measures"]["phash"], seen, filters.max_phash_distance):
            reason = NEAR_DUPLICATE
        split = split_of(row[split_key], filters.test_share)
        decided.append({**row, "reason": reason, "split": split})
    return decided


def funnel(
    decided: list[dict[str, Any]], failures: dict[str, int], split_by: str
) -> dict[str, Any]:
    """Counts of each step: {"steps": [{name, in, out, dropped}], "reasons", "kept", "split_by"}.

    Args:
        decided: rows of `decide`.
        failures: reason → number of clips or spans that gave no shots at all; they are counted
            with the shots, as `unreadable`.
        split_by: what the counts of `kept` were split by.
    """
    dropped = Counter(row["reason"] for row in decided if row["reason"])
    kept = Counter(row["split"] for row in decided if row["reason"] is None)
    by_step = {**dropped, UNREADABLE: sum(failures.values())}
    left = len(decided) + by_step[UNREADABLE]
    steps = []
    for name in STEPS:
        count = by_step.get(name, 0)
        steps.append({"name": name, "in": left, "out": left - count, "dropped": count})
        left -= count
    return {
        "steps": steps,
        "reasons": dict(sorted({**dropped, **failures}.items())),
        "kept": {split: kept[split] for split in ("train", "test")},
        "split_by": split_by,
    }


def _repeats(phash: str, seen: dict[tuple[int, int], list[np.ndarray]], distance: int) -> bool:
    """Whether a kept clip differs in at most `distance` bits in each of its hashes; else keep it.

    `seen` holds the kept clips by bands of their first hash: with one band more than bits may
    differ, two near copies agree in at least one band, so few clips have to be compared.
    """
    bits = phash_bits(phash)
    bands = _bands(int(bits[0]), distance + 1)
    for band in bands:
        for other in seen.get(band, ()):
            if np.bitwise_count(bits ^ other).max() <= distance:
                return True
    for band in bands:
        seen.setdefault(band, []).append(bits)
    return False


def _bands(value: int, count: int) -> list[tuple[int, int]]:
    edges = [64 * i // count for i in range(count + 1)]
    return [
        (i, value >> low & (1 << high - low) - 1)
        for i, (low, high) in enumerate(itertools.pairwise(edges))
    ]
