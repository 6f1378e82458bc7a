"""Lemmas against a table written by hand."""

import pytest

from curation.purity.lemmas import noun_of, verb_of

VERBS = {
    "running": ("run", "ing"),
    "jumps": ("jump", "s"),
    "swam": ("swim", "ed"),
    "thrown": ("throw", "ed"),
    "tying": ("tie", "ing"),
    "waving": ("wave", "ing"),
    "cried": ("cry", "ed"),
    "flies": ("fly", "s"),
    "mopping": ("mop", "ing"),
    "rolling": ("roll", "ing"),
    "swiming": ("swim", "ing"),
    "jumpng": ("jump", "ing"),
    "fist-pumping": ("fist-pump", "ing"),
    "dance": ("dance", "base"),
    "standing": ("stand", "ing"),
    "squelching": ("squelch", "ing"),
}


@pytest.mark.parametrize("word", VERBS)
def test_the_lemma_and_form_of_a_verb(word):
    assert verb_of(word) == VERBS[word]


@pytest.mark.parametrize("word", ["table", "thing", "of", "blue", "ing", ""])
def test_what_is_no_verb(word):
    assert verb_of(word) is None


@pytest.mark.parametrize(
    ("word", "lemma"),
    [
        *[("women", "woman"), ("leaves", "leaf"), ("feet", "foot"), ("dresses", "dress")],
        *[("puppies", "puppy"), ("gibbons", "gibbon"), ("glass", "glass"), ("bus", "bus")],
        *[("sheep", "sheep"), ("boxes", "box"), ("ponies", "pony"), ("knives", "knife")],
    ],
)
def test_the_lemma_of_a_noun(word, lemma):
    assert noun_of(word) == lemma
