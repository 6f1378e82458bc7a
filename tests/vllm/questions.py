"""Questions as the captioner puts them, and the check that noise can pass."""

import json

import cv2
import numpy as np

from curation.captions.answer import CAMERAS, CATEGORIES, SCHEMA, SPEEDS, BadAnswer
from curation.captions.frames import content_of
from curation.captions.question import Question

FORM = {"name": "motion", "schema": SCHEMA, "strict": True}


def pictures(count):
    found = []
    for i in range(count):
        picture = np.full((64, 96, 3), 40, np.uint8)
        cv2.circle(picture, (20 + 8 * i, 32), 10, (30, 90, 220), -1)
        found.append(cv2.imencode(".jpg", picture)[1].tobytes())
    return found


def question(send_as="video", count=8, *, text="What moves?", **changes):
    """About `count` frames, ten frames apart, of a clip of three seconds."""
    indices = list(range(0, 10 * count, 10))
    media, more = content_of(pictures(count), indices, 90, 30.0, send_as)
    messages = [
        {"role": "system", "content": "You label only what changes over time."},
        {"role": "user", "content": [*media, {"type": "text", "text": text}]},
    ]
    sampling = {"temperature": 0, "max_tokens": 900, "seed": 0}
    form = {"response_format": {"type": "json_schema", "json_schema": FORM}}
    return Question({"messages": messages, **form, **sampling, **more, **changes})


def fits_schema(text):
    """`parse_answer`, but for the number of words and characters no one would write."""
    found = json.loads(text)  # strict: a raw control character is an error
    kinds = {name: type(value) for name, value in found.items()}
    wanted = {"is_dynamic": bool, "subject": str, "motion": str, "confidence": int}
    if kinds != {**wanted, **dict.fromkeys(("category", "camera", "speed"), str)}:
        raise BadAnswer("wrong_shape", str(kinds))
    for name, allowed in (("category", CATEGORIES), ("camera", CAMERAS), ("speed", SPEEDS)):
        if found[name] not in allowed:
            raise BadAnswer("wrong_value", found[name])
    if not 0 <= found["confidence"] <= 100:
        raise BadAnswer("wrong_value", str(found["confidence"]))
    return found
