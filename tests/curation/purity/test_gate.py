"""The gate: one word that leaks is enough, and each refusal has its reason."""

import pytest

from curation.purity.gate import Gate, judge

PASS = """\
Chef flipping a pancake.
Photographer taking pictures.
Waves crashing against rocks.
Crane spreading its wings.
Worker shoveling snow.
Woman tearing up a photo.
Man lifting weights without help.
Boy cycling with no hands.
Metal turning red and bending.
Balloon getting bigger.
Wrestlers grappling.
Helicopter taking off.
Two dogs wrestling over a toy.
Wrecking ball smashing a wall.
Street vendor fanning skewers.
Hair blowing in the wind.
Mountain goat leaping.
Ballet dancer performing pirouettes.
Man practicing aikido throws.
Tea being poured.
A man is running fast.
Leaves fall slowly.
CHILD SKIPPING
Woman sautéing onions."""

REFUSE = [
    ("none", "none", ()),
    ("", "none", ()),
    ("N/A", "none", ()),
    ("Man <b>running</b>.", "markup", None),
    ("Man running https://x.org", "markup", None),
    ("Man running 🏃", "markup", ("🏃",)),
    ("Man run\u200bning fast.", "markup", None),
    ("Subject: man running", "markup", None),
    ("Man running running running.", "markup", ("running",)),
    ("I see a man running.", "markup", None),
    ("man_running.mp4", "markup", None),
    ("El perro corre.", "language", ("el", "perro", "corre")),
    ("Hombre running.", "language", ("hombre",)),
    ("Собака бежит.", "language", ("собака", "бежит")),
    ("女人在跳舞", "language", None),
    ("Man not running.", "negated", ("not",)),
    ("Dog doesn't jump.", "negated", ("doesn't",)),
    ("Girl barely moving.", "negated", ("barely",)),
    ("Guard standing still.", "negated", ("still",)),
    ("Jumping.", "too_short", ()),
    ("Man walking and waving and then turning and jumping and bowing and leaving.", "too_long", ()),
    ("Woman holding a baby.", "no_motion", ()),
    ("Team working on a project.", "no_motion", ()),
    ("Path leading to a cabin.", "no_motion", ("path", "cabin")),
    ("Man running in a park.", "scene", ("park",)),
    ("Bats swarming at dusk.", "scene", ("dusk",)),
    ("Kids racing around the schoolyard.", "scene", ("schoolyard",)),
    ("Elderly man dancing and twirling.", "appearance", ("elderly",)),
    ("Woman wearing a hat waving.", "appearance", None),
    ("Timelapse of clouds moving.", "media", ("timelapse",)),
    ("Camera follows a dog running.", "camera", ("camera", "follows")),
    ("Boy dashing out of frame.", "camera", ("out of frame",)),
    ("Love and joy spreading.", "abstract", ("love", "joy")),
    ("Man pouring tea with milk and sugar from a kettle.", "impure", ()),
]


@pytest.mark.parametrize("wording", PASS.splitlines())
def test_motion_alone_passes(wording):
    found = judge(wording, Gate())
    assert (found.passed, found.reason, found.offending) == (True, None, ())
    assert found.purity.value >= Gate().min_purity


@pytest.mark.parametrize(("wording", "reason", "offending"), REFUSE)
def test_a_refusal_has_its_reason_and_its_words(wording, reason, offending):
    found = judge(wording, Gate())
    assert not found.passed
    assert found.reason == reason
    if offending is not None:
        assert found.offending == offending


def test_one_leak_is_enough_although_purity_is_high():
    found = judge("Happy dogs jumping, spinning, running, barking and wrestling.", Gate())
    assert found.purity.value > 0.7
    assert (found.passed, found.reason, found.offending) == (False, "appearance", ("happy",))


def test_the_settings_count():
    text = "Mechanic tightening a bolt with a wrench."
    assert judge(text, Gate(min_purity=0.73)).passed
    assert judge(text, Gate(min_purity=0.74)).reason == "impure"
    assert judge(text, Gate(max_words=6)).reason == "too_long"
    assert judge(text, Gate(min_words=8)).reason == "too_short"
    assert judge("Jumping.", Gate(min_words=1)).passed


@pytest.mark.parametrize(
    "text", ["\ud800", "a" * 5000, "(" * 500, "man's " * 50, "\u202e man", "'s", "of of"]
)
def test_no_text_upsets_the_gate(text):
    assert not judge(text, Gate()).passed
