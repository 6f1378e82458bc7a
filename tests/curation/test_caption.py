import dataclasses
import json
import math

import pytest

from curation.captions.embedded import CaptionSettings, caption, confidence
from dynamicrafter.errors import InputError

SETTINGS = CaptionSettings(
    name="embedded",
    slow_below=0.03,
    fast_above=0.12,
    min_coherence=0.3,
    confidence_scale=0.04,
    min_action_probability=0.6,
)


def say(
    speed=0.05,
    direction=0.0,
    coherence=0.9,
    action=None,
    probability=None,
    name="embedded",
    extra=None,
):
    record = {
        "object_motion": speed,
        "motion_direction": direction,
        "motion_coherence": coherence,
        "action": action,
        "action_probability": probability,
        "extra": json.dumps(extra or {}),
    }
    settings = dataclasses.replace(SETTINGS, name=name)
    return caption(record, settings)


@pytest.mark.parametrize(
    ("speed", "direction", "coherence", "wording"),
    [
        (0.02, 180, 0.9, "slow motion to the left"),
        (0.05, 0, 0.9, "moderate motion to the right"),
        (0.2, 91, 0.9, "fast motion upward"),
        (0.2, 359, 0.9, "fast motion to the right"),
        (0.05, 225, 0.9, "moderate motion down and to the left"),
        (0.05, 225, 0.1, "moderate motion in several directions"),
    ],
)
def test_wording_of_speed_and_direction(speed, direction, coherence, wording):
    said = say(speed, direction, coherence)
    assert said.dynamic_wording == said.annotated == wording
    assert said.dynamic_source_category == "none"
    assert said.source == "embedded"


def test_an_action_is_a_guess_and_only_a_likely_one():
    likely = say(action="slacklining", probability=0.71)
    assert likely.dynamic_wording == "moderate motion to the right, possibly slacklining"
    assert likely.annotated == "moderate motion to the right (guess: slacklining, p=0.71)"
    assert "slacklining" not in say(action="slacklining", probability=0.59).annotated


def test_confidence_grows_with_motion():
    values = [confidence(0.002 * i, 0.04) for i in range(200)]
    assert values == sorted(values)
    assert (values[0], values[-1]) == (0, 100)
    assert confidence(0.02, 0.04) == 39
    assert confidence(0.04, 0.04) == 63
    assert confidence(-0.04 * math.log(0.6), 0.04) == 40


def test_what_was_not_measured_is_not_worded():
    said = say(speed=None, direction=None, coherence=None)
    assert {said.dynamic_wording, said.annotated, said.dynamic_source_category} == {"none"}
    assert said.dynamic_confidence == "none"
    assert say(extra={"dynamic_wording": "a dog runs"}).dynamic_wording.startswith("moderate")


@pytest.mark.parametrize(
    ("stated", "confidence"),
    [
        ({"dynamic_confidence": "83"}, 83),
        ({"dynamic_confidence": "82.6"}, 83),
        ({"dynamic_confidence": "0"}, 0),
        ({"dynamic_confidence": "250"}, 100),
        ({"dynamic_confidence": "-3"}, 0),
        ({"dynamic_confidence": "x"}, "none"),
        ({"dynamic_confidence": "none"}, "none"),
        ({"dynamic_confidence": "nan"}, "none"),
        ({"dynamic_confidence": "inf"}, "none"),
        ({"dynamic_confidence": ""}, "none"),
        ({}, "none"),
    ],
)
def test_a_stated_caption_is_taken_over_as_it_stands(stated, confidence):
    extra = {"dynamic_wording": "A dog runs.", "dynamic_source_category": "animal", **stated}
    said = say(name="stated", extra=extra)
    assert said.dynamic_wording == said.annotated == "A dog runs."
    assert said.dynamic_source_category == "animal"
    assert said.dynamic_confidence == confidence
    assert said.source == "stated"


def test_where_nothing_is_stated_the_measures_speak():
    measured = say()
    assert say(name="stated", extra={"dynamic_confidence": "90"}) == measured
    assert say(name="stated", extra={"dynamic_wording": "none"}) == measured
    assert measured.source == "embedded"
    alone = say(name="stated", extra={"dynamic_wording": "waves"}, speed=None)
    assert (alone.dynamic_wording, alone.dynamic_source_category) == ("waves", "none")


def test_a_captioner_has_a_known_name():
    with pytest.raises(
        InputError, match=r"captioner.name is 'gpt'; choose one of embedded, stated, vlm"
    ):
        dataclasses.replace(SETTINGS, name="gpt")
