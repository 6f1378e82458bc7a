"""Motion captions that say only what was measured, or what the source states.

Neither looks at a pixel or asks anybody: a caption is a function of a row of `measures.parquet`.
"""

import math
from dataclasses import dataclass
from typing import Any

from curation.captions.caption import Caption
from curation.captions.stated import stated
from curation.clip import UNKNOWN
from dynamicrafter.errors import InputError

VERSION = 2
"""Raised when the same record shall be worded otherwise."""

MEASURED = ("embedded", "stated")

LOOKS_AT = (
    *("object_motion", "motion_coherence", "motion_direction", "action", "action_probability"),
    "extra",
)
"""Columns of `measures.parquet` that decide the caption."""

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
    """conf/captioner/embedded.yaml, where each threshold is explained."""

    name: str
    slow_below: float
    fast_above: float
    min_coherence: float
    confidence_scale: float
    min_action_probability: float

    def __post_init__(self) -> None:
        if self.name not in MEASURED:
            raise InputError(
                f"captioner.name is {self.name!r}; choose one of {', '.join(MEASURED)}, vlm"
            )


def caption(record: dict[str, Any], settings: CaptionSettings) -> Caption:
    """Caption a clip; `source` of the result tells by whom."""
    if settings.name == "stated" and (found := stated(record)) is not None:
        return found
    return embedded(record, settings)


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


def confidence(object_motion: float, scale: float) -> int:
    """Dynamic confidence 100 · (1 − exp(−object motion / scale)), rounded.

    It grows with the measured motion and nothing else: 0 for none, 39 at half the scale (about
    40, the threshold that DynamiCrafter's authors chose for theirs), 63 at the scale.
    """
    return round(100 * -math.expm1(-object_motion / scale))
