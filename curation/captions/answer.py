"""What a model is asked to say of a clip's motion: vocabulary, JSON schema, and the check of it.

The schema puts the decision before the score, since a model writes one after the other. Whatever a
server promises, an answer is checked here again: it is hostile text until then.
"""

import json
import re
from dataclasses import dataclass
from typing import Any

CATEGORIES = (
    *("human", "animal", "vehicle", "object", "plant", "water", "fire_smoke", "sky_weather"),
    *("crowd", "machine", "other", "none"),
)
CAMERAS = ("static", "pan", "tilt", "zoom", "handheld", "tracking", "unknown")
SPEEDS = ("slow", "normal", "fast")
SUBJECT_WORDS, MOTION_WORDS = 3, 12
TEXT_CHARACTERS = 200  # of a subject or motion

SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "is_dynamic": {"type": "boolean"},
        "subject": {"type": "string", "maxLength": TEXT_CHARACTERS},
        "motion": {"type": "string", "maxLength": TEXT_CHARACTERS},
        "category": {"type": "string", "enum": list(CATEGORIES)},
        "camera": {"type": "string", "enum": list(CAMERAS)},
        "speed": {"type": "string", "enum": list(SPEEDS)},
        "confidence": {"type": "integer", "minimum": 0, "maximum": 100},
    },
    "required": [
        *("is_dynamic", "subject", "motion", "category", "camera", "speed", "confidence"),
    ],
    "additionalProperties": False,
}

_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff\u202a-\u202e\u2066-\u2069]")


class BadAnswer(Exception):
    """An answer that does not fit; `reason` is the short word that is put on record."""

    def __init__(self, reason: str, message: str):
        super().__init__(message)
        self.reason = reason


@dataclass(frozen=True)
class Answer:
    """A checked answer.

    Attributes:
        is_dynamic: whether anything but the camera moves.
        subject: what moves, at most `SUBJECT_WORDS` words; empty if nothing does.
        motion: how, at most `MOTION_WORDS` words, a verb in -ing first; empty if nothing moves.
        category: one of `CATEGORIES`.
        camera: one of `CAMERAS`.
        speed: one of `SPEEDS`.
        confidence: 0 … 100, that something moves.
    """

    is_dynamic: bool
    subject: str
    motion: str
    category: str
    camera: str
    speed: str
    confidence: int


def parse_answer(text: str) -> Answer:
    """The answer that a text holds, and nothing else: prose around the JSON is refused.

    Raises:
        BadAnswer: `not_json`, `wrong_shape`, `wrong_value`, `control_characters` or `too_long`.
    """
    try:
        found = json.loads(text, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise BadAnswer("not_json", f"the answer is no JSON: {error}") from None
    if not isinstance(found, dict) or set(found) != set(SCHEMA["properties"]):
        named = sorted(found) if isinstance(found, dict) else type(found).__name__
        raise BadAnswer("wrong_shape", f"the answer holds {str(named)[:200]}")
    for name in ("subject", "motion"):
        _check_text(name, found[name], SUBJECT_WORDS if name == "subject" else MOTION_WORDS)
    for name, allowed in (("category", CATEGORIES), ("camera", CAMERAS), ("speed", SPEEDS)):
        if not isinstance(found[name], str) or found[name] not in allowed:
            raise BadAnswer("wrong_value", f"{name} is {str(found[name])[:80]!r}")
    if not isinstance(found["is_dynamic"], bool):
        raise BadAnswer("wrong_value", f"is_dynamic is {str(found['is_dynamic'])[:80]!r}")
    sure = found["confidence"]
    if not isinstance(sure, int) or isinstance(sure, bool) or not 0 <= sure <= 100:
        raise BadAnswer("wrong_value", f"confidence is {str(sure)[:80]!r}")
    found["subject"], found["motion"] = (_tidy(found[name]) for name in ("subject", "motion"))
    if found["is_dynamic"] and not found["motion"]:
        raise BadAnswer("wrong_value", "something moves, but motion is empty")
    return Answer(**found)


def wording_of(answer: Answer) -> str:
    """`Man doing push-ups.` of an answer, or `none` where nothing moves."""
    if not answer.is_dynamic:
        return "none"
    text = f"{answer.subject} {answer.motion}".strip()
    return f"{text[:1].upper()}{text[1:].rstrip('.')}."


def _check_text(name: str, value: Any, words: int) -> None:
    if not isinstance(value, str):
        raise BadAnswer("wrong_value", f"{name} is {str(value)[:80]!r}")
    if _CONTROL.search(value):
        raise BadAnswer("control_characters", f"{name} holds control characters")
    if len(value) > TEXT_CHARACTERS or len(value.split()) > words:
        raise BadAnswer("too_long", f"{name} has more than {words} words")


def _tidy(text: str) -> str:
    return " ".join(text.split()).strip(" .")


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON")
