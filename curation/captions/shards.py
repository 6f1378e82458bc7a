"""Samples of shards as a model is asked about them, and their JSON with new captions.

A shard folder may come from anybody: of a sample's JSON only what has the right type is used.
"""

import json
import math
from dataclasses import asdict
from typing import Any

from curation.captions.caption import Caption
from curation.captions.vlm import Shot
from curation.clip import UNKNOWN
from dynamicrafter.errors import InputError
from dynamicrafter.shards import Sample
from dynamicrafter.shards.index import Entry

SAID = ("dynamic_wording", "dynamic_confidence", "dynamic_source_category", "caption")
"""What a captioner puts into a sample's JSON."""

PREVIOUS = "previous"
"""Where the JSON keeps what was said before, oldest first: a list of objects."""


def shot_of_sample(info: dict[str, Any], entry: Entry) -> Shot:
    """A sample as a model is asked about it, without its video.

    Args:
        info: its JSON.
        entry: what the index says of it.
    """
    name = info.get("name")
    curve = _value(info, "motion_curve")
    camera = _value(info, "camera_motion")
    is_curve = isinstance(curve, list) and all(map(_is_number, curve))
    return Shot(
        video=bytes,
        frames=entry.frames,
        fps=entry.fps,
        caption=name if isinstance(name, str) and name else UNKNOWN,
        motion_curve=tuple(curve) if is_curve else (),
        camera_motion=camera if _is_number(camera) else None,
    )


def new_info(sample: Sample, entry: Entry, said: Caption, digest: str) -> dict[str, Any]:
    """The JSON of a sample that is captioned anew.

    Args:
        sample: as it was.
        entry: what the index says of it.
        said: of it now.
        digest: of the captioner.

    Raises:
        InputError: the JSON as it was holds what no JSON may.
    """
    info, before = sample.info, sample.info.get(PREVIOUS)
    previous = list(before) if isinstance(before, list) else []
    previous.append({name: info[name] for name in SAID if name in info} or {"text": sample.text})
    digests = info.get("digests")
    new = {
        **info,
        "fps": entry.fps,
        "frames": entry.frames,
        "dynamic_wording": said.dynamic_wording,
        "dynamic_confidence": said.dynamic_confidence,
        "dynamic_source_category": said.dynamic_source_category,
        "caption": asdict(said),
        PREVIOUS: previous,
        "digests": {**(digests if isinstance(digests, dict) else {}), "captioner": digest},
    }
    try:
        json.dumps(new, ensure_ascii=False, allow_nan=False).encode()
    except (ValueError, RecursionError) as error:  # NaN, or halves of characters
        raise InputError(f"the JSON of sample {sample.key} cannot be written: {error}") from None
    return new


def _value(info: dict[str, Any], measure: str) -> Any:
    measures = info.get("measures")
    own = measures.get(measure) if isinstance(measures, dict) else None
    return own.get("value") if isinstance(own, dict) else None


def _is_number(value: Any) -> bool:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return is_number and abs(value) < 1e9 and math.isfinite(value)
