"""The kinds of words: homographs go by their part in the sentence."""

import pytest

from curation.purity.score import tokens


def kinds(text):
    return {token.text.lower(): token.kind for token in tokens(text)}


@pytest.mark.parametrize(
    ("text", "word", "kind"),
    [
        ("Woman lighting a candle.", "lighting", "MOTION"),
        ("Dancer in soft lighting.", "lighting", "APPEARANCE"),
        ("Lights dimming.", "lights", "SUBJECT"),
        ("Girl dancing in the light.", "light", "APPEARANCE"),
        ("Leaves falling.", "falling", "MOTION"),
        ("Leaves drifting in fall.", "in fall", "SCENE"),
        ("Frog springing forward.", "springing", "MOTION"),
        ("Dog fetching a stick in a park.", "park", "SCENE"),
        ("Car parking.", "parking", "MOTION"),
        ("Janitor mopping the floor.", "floor", "OTHER"),
        ("Ants crawling on the floor.", "floor", "SCENE"),
        ("Man knocking on a door.", "door", "OTHER"),
        ("Orange balloon bobbing.", "orange", "APPEARANCE"),
        ("Hands peeling an orange.", "orange", "OTHER"),
        ("Traffic light turning green.", "green", "FUNCTION"),
        ("Woman ironing a shirt.", "shirt", "OTHER"),
        ("Man in a shirt waving.", "shirt", "APPEARANCE"),
        ("Skirt twirling.", "skirt", "OTHER"),
        ("Camera panning across dancers.", "panning", "CAMERA"),
        ("Kids zooming past on scooters.", "zooming", "MOTION"),
        ("Man aiming a camera.", "camera", "OTHER"),
        ("Girl waving at the camera.", "camera", "CAMERA"),
        ("Clip of an otter diving.", "clip", "MEDIA"),
        ("Woman clipping her nails.", "clipping", "MOTION"),
        ("Man loading film into a camera.", "film", "OTHER"),
        ("Sea turtle paddling.", "sea turtle", "OTHER"),
        ("Dog running in slow motion.", "slow motion", "MEDIA"),
        ("Man walking in Ouagadougou.", "ouagadougou", "SCENE"),
        ("Woman sitting down.", "sitting", "MOTION"),
        ("Woman sitting on a chair.", "sitting", "OTHER"),
        ("Fish darting about underwater.", "underwater", "SCENE"),
        ("Dancers making a slow turn.", "slow", "FUNCTION"),
        ("River winding through hills.", "winding", "OTHER"),
        ("Woman winding a clock.", "winding", "MOTION"),
    ],
)
def test_the_kind_of_a_word_goes_by_its_neighbours(text, word, kind):
    assert kinds(text)[word] == kind


def test_a_token_tells_where_it_stands():
    text = "  Boy hurling a beach ball — into the air! "
    found = tokens(text)
    assert [text[token.start : token.end] for token in found] == [token.text for token in found]
    assert "beach ball" in kinds(text)


@pytest.mark.parametrize("text", ["", " \n", "...", "🙂", "'", "---", "\x00", "ﬁ İ ß"])
def test_any_text_has_tokens_or_none(text):
    assert all(text[token.start : token.end] == token.text for token in tokens(text))
