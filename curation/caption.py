"""The embedded captioner: says of a clip's motion only what was measured.

A captioner is a function of a clip's record and its frames,

    caption(record, read_frames, settings) -> Caption

so one that asks a vision-language model can stand beside this one. `read_frames` is called only by
those that look at pixels; this one does not.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from curation.sources import UNKNOWN

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

    slow_below: float
    fast_above: float
    min_coherence: float
    confidence_scale: float
    min_action_probability: float


@dataclass(frozen=True)
class Caption:
    """What a captioner says of a clip; unknown is `none`."""

    dynamic_wording: str  # the motion caption, also the sample's text
    dynamic_confidence: int  # 0 … 100: how sure that something moves besides the camera
    dynamic_source_category: str
    annotated: str  # the wording with its guesses marked and quantified
    source: str  # name of the captioner


def caption(
    record: dict[str, Any],
    read_frames: Callable[[], np.ndarray],
    settings: CaptionSettings,
) -> Caption:
    """Word the measured speed and direction; an action only as a guess, and only a likely one."""
    measures = record["measures"]
    wording = annotated = motion_wording(measures, settings)
    probability = measures["action_probability"]
    if probability is not None and probability >= settings.min_action_probability:
        wording = f"{wording}, possibly {measures['action']}"
        annotated = f"{annotated} (guess: {measures['action']}, p={probability:.2f})"
    return Caption(
        dynamic_wording=wording,
        dynamic_confidence=confidence(measures["object_motion"], settings.confidence_scale),
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
