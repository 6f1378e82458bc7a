import math

import pytest

from curation.caption import CaptionSettings, caption, confidence

SETTINGS = CaptionSettings(
    slow_below=0.03,
    fast_above=0.12,
    min_coherence=0.3,
    confidence_scale=0.04,
    min_action_probability=0.6,
)


def say(speed=0.05, direction=0.0, coherence=0.9, action=None, probability=None):
    measures = {
        "object_motion": speed,
        "motion_direction": direction,
        "motion_coherence": coherence,
        "action": action,
        "action_probability": probability,
    }
    return caption({"measures": measures}, lambda: pytest.fail("no frames needed"), SETTINGS)


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
