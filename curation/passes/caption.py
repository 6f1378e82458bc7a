"""The captioners: what is said of a clip's motion, and by whom.

`embedded` says only what was measured, `stated` what the clip's source says, if it says anything.
A captioner is a function of a clip's record (a row of `measures.parquet`) and its frames,

    caption(record, read_frames, settings) -> Caption

so one that asks a vision-language model can stand beside these. `read_frames` is called only by
those that look at pixels; these do not.
"""

import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from curation.clip import UNKNOWN
from dynamicrafter.errors import InputError

CAPTIONER_VERSION = 2
"""Raised when the same record shall be worded otherwise."""

CAPTIONERS = ("embedded", "stated")

SECTORS = (
    "to the right",
    "up and to the right",
    "upward",
    "up and to the left",
    "to the left",
    "down and to the left",
    "downward",
    "down and to the right",
)
"""Directions counterclockwise, 45 degrees each."""


@dataclass
class CaptionSettings:
    """`captioner` of conf/curate.yaml, where each threshold is explained."""

    name: str
    slow_below: float
    fast_above: float
    min_coherence: float
    confidence_scale: float
    min_action_probability: float

    def __post_init__(self) -> None:
        if self.name not in CAPTIONERS:
            raise InputError(
                f"captioner.name is {self.name!r}; choose one of {', '.join(CAPTIONERS)}"
            )


@dataclass(frozen=True)
class Caption:
    """What a captioner says of a clip; unknown is `none`."""

    dynamic_wording: str  # the motion caption, also the sample's text
    dynamic_confidence: int | str  # 0 … 100: how sure that something moves besides the camera; none
    dynamic_source_category: str
    annotated: str  # the wording with its guesses marked and quantified
    source: str  # name of the captioner


def caption(
    record: dict[str, Any],
    read_frames: Callable[[], np.ndarray],
    settings: CaptionSettings,
) -> Caption:
    """Caption a clip; `source` of the result tells by whom."""
    if settings.name == "stated" and (found := stated(record)) is not None:
        return found
    return embedded(record, settings)


def stated(record: dict[str, Any]) -> Caption | None:
    """What the source states in the DCP columns, or None where it says nothing of motion."""
    extra = json.loads(record["extra"])
    wording = extra.get("dynamic_wording", UNKNOWN)
    if wording == UNKNOWN:
        return None
    return Caption(
        dynamic_wording=wording,
        dynamic_confidence=_whole_number(extra.get("dynamic_confidence")),
        dynamic_source_category=extra.get("dynamic_source_category", UNKNOWN),
        annotated=wording,
        source="stated",
    )


def embedded(record: dict[str, Any], settings: CaptionSettings) -> Caption:
    """Word the measured speed and direction; an action only as a guess, and only a likely one."""
    if record.get("object_motion") is None:
        return Caption(UNKNOWN, UNKNOWN, UNKNOWN, UNKNOWN, "embedded")
    wording = annotated = motion_wording(record, settings)
    probability = record.get("action_probability")
    if probability is not None and probability >= settings.min_action_probability:
        wording = f"{wording}, possibly {record['action']}"
        annotated = f"{annotated} (guess: {record['action']}, p={probability:.2f})"
    return Caption(
        dynamic_wording=wording,
        dynamic_confidence=confidence(record["object_motion"], settings.confidence_scale),
        dynamic_source_category=UNKNOWN,
        annotated=annotated,
        source="embedded",
    )


def motion_wording(measures: dict[str, Any], settings: CaptionSettings) -> str:
    """For example `slow motion to the left`, or `fast motion in several directions`."""
    speed = measures["object_motion"]
    pace = "moderate"
    if speed < settings.slow_below:
        pace = "slow"
    elif speed > settings.fast_above:
        pace = "fast"
    if measures["motion_coherence"] < settings.min_coherence:
        return f"{pace} motion in several directions"
    return f"{pace} motion {SECTORS[round(measures['motion_direction'] / 45) % 8]}"


def _whole_number(text: str | None) -> int | str:
    try:
        return min(max(round(float(text or "")), 0), 100)
    except (ValueError, OverflowError):
        return UNKNOWN


def confidence(object_motion: float, scale: float) -> int:
    """Dynamic confidence 100 · (1 − exp(−object motion / scale)), rounded.

    It grows with the measured motion and nothing else: 0 for none, 39 at half the scale (about
    40, the threshold that DynamiCrafter's authors chose for theirs), 63 at the scale.
    """
    return round(100 * -math.expm1(-object_motion / scale))
