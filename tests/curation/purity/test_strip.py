"""What is left of a wording without the words that are minded."""

import pytest

from curation.purity.gate import Gate, judge
from curation.purity.strip import strip
from tests.curation.purity.measure_gate import read
from tests.curation.purity.test_golden import DEV

LEFT = {
    "Boy pedaling through the countryside.": "Boy pedaling.",
    "Bearded man squeezing an accordion.": "Man squeezing an accordion.",
    "A video of cows chewing.": "Cows chewing.",
    "Clip of an otter juggling a stone.": "An otter juggling a stone.",
    "A red apple rolling.": "An apple rolling.",
    "Woman wearing headphones bobbing her head.": "Woman bobbing her head.",
    "Girl with glasses and ponytail scribbling.": "Girl scribbling.",
    "Handheld camera wobbling as people flee.": "People flee.",
    "Car speeding by while camera follows.": "Car speeding by.",
    "Woman walking, not marching.": "Woman walking.",
    "Silhouette of a man boxing.": "A man boxing.",
    "Boy dashing out of frame.": "Boy dashing.",
    "Lion roaring in HD, watermark visible.": "Lion roaring.",
    "Woman doing burpees #fitness #yoga": "Woman doing burpees",
    "Girl running in a park and jumping.": "Girl running and jumping.",
    "Orbiting around a dancer twirling.": "A dancer twirling.",
    "Girl bouncing a ball, passing it, catching it, bouncing it and passing it again.": (
        "Girl bouncing a ball, passing it, catching it, bouncing it."
    ),
    "Camera panning across rooftops.": "none",
    "Niño corriendo deprisa.": "none",
    "Water isn't flowing.": "none",
    "Woman holding a baby.": "none",
    '{"subject": "man", "motion": "waving"}': "none",
    "none": "none",
    "": "none",
    "🏃": "none",
}


@pytest.mark.parametrize("wording", LEFT)
def test_what_is_left(wording):
    assert strip(wording) == LEFT[wording]


def test_a_pure_wording_keeps_its_words():
    for pair in read(DEV):
        if pair["pure"] and judge(pair["wording"], Gate()).passed:
            assert strip(pair["wording"]).replace(",", ";") == pair["wording"].replace(",", ";")


def test_what_is_left_of_the_golden_wordings_passes():
    left = [strip(pair["wording"]) for pair in read(DEV) if not pair["pure"]]
    said = [text for text in left if text != "none"]
    assert len(said) > 40
    assert [text for text in said if not judge(text, Gate()).passed] == []


def test_it_is_done_once_for_all():
    for pair in read(DEV):
        once = strip(pair["wording"])
        assert strip(once) == once
