"""Lemmas by rule, with tables of irregular verbs and nouns.

Forms are made from the lists of lemmas once, and looked up from then on.
"""

import functools

from curation.purity.lexicon import lines, listed

VERB_LISTS = ("motion_verbs", "state_verbs", "vague_verbs", "camera_verbs", "handling_verbs")
NOUN_LISTS = (
    *("subjects", "nature", "objects", "clothing", "places", "place_after", "times", "media"),
    *("camera", "motion_nouns", "abstract_nouns"),
)
_VOWELS = frozenset("aeiou")


@functools.cache
def verb_forms() -> dict[str, tuple[str, str]]:
    """(lemma, form) of each form of the listed verbs; form is `base`, `s`, `ed` or `ing`."""
    irregular = {lemma: rest for lemma, *rest in map(str.split, lines("irregular_verbs"))}
    found: dict[str, tuple[str, str]] = {}
    verbs = sorted(set().union(*map(listed, VERB_LISTS)) | {"be"})
    for lemma in verbs:
        for word in irregular.get(lemma, ()):
            found.setdefault(word, (lemma, "ed"))
    for lemma in verbs:
        for stem in _stems(lemma):
            found.setdefault(f"{stem}ing", (lemma, "ing"))
            if lemma not in irregular:
                found.setdefault(f"{stem}ed", (lemma, "ed"))
        found.setdefault(_with_s(lemma), (lemma, "s"))
    return found | {lemma: (lemma, "base") for lemma in verbs}


@functools.cache
def noun_forms() -> dict[str, str]:
    """Lemma of each form of the listed nouns."""
    nouns = set().union(*map(listed, NOUN_LISTS))
    found = {_with_s(noun): noun for noun in nouns} | {noun: noun for noun in nouns}
    for lemma, plural in map(str.split, lines("irregular_nouns")):
        found |= {plural: lemma, lemma: lemma}
    return found


def verb_of(word: str) -> tuple[str, str] | None:
    """(lemma, form) of a word in lower case that may be a verb, else None.

    A word in -ing that is on no list is taken for a verb all the same.
    """
    known = verb_forms().get(word)
    if known is None and "-" in word:
        head, _, last = word.rpartition("-")
        part = verb_forms().get(last)
        return (f"{head}-{part[0]}", part[1]) if part else None
    if (
        known is None
        and len(word) > 4
        and word.endswith("ing")
        and not _VOWELS.isdisjoint(word[:-3])
    ):
        return guessed_lemma(word), "ing"
    if known is None and len(word) > 5 and "n" in word[-3:] and word not in noun_forms():
        slip = next((_slips()[part] for part in _shortened(word) if part in _slips()), None)
        return (slip, "ing") if slip else None
    return known


@functools.cache
def _slips() -> dict[str, str]:
    """Lemmas by their forms in -ing and by those less a letter: one letter may be wrong."""
    found: dict[str, str] = {}
    for word, (lemma, form) in verb_forms().items():
        if form == "ing" and len(word) > 5:
            found |= dict.fromkeys(_shortened(word), lemma)
    return found


def _shortened(word: str) -> list[str]:
    return [word, *(word[:i] + word[i + 1 :] for i in range(1, len(word)))]


def noun_of(word: str) -> str:
    """Lemma of a noun; a word on no list loses a plural s."""
    known = noun_forms().get(word)
    if known is not None:
        return known
    if len(word) > 3 and word.endswith("s") and not word.endswith(("ss", "us", "is")):
        return word[:-3] + "y" if word.endswith("ies") else word[:-1]
    return word


def guessed_lemma(word: str) -> str:
    """Lemma of a word in -ing that is on no list."""
    stem = word[:-3]
    if len(stem) > 3 and stem[-1] == stem[-2] and stem[-1] not in "lsfz":
        return stem[:-1]
    if (len(stem) > 2 and stem[-1] in "vcu") or stem.endswith(("at", "iz", "dg")):
        return stem + "e"
    return stem


def _stems(lemma: str) -> tuple[str, ...]:
    """What -ing and -ed are put to; both ways where a consonant may be doubled."""
    if lemma.endswith("ie"):
        return lemma[:-2] + "y", lemma[:-1]
    if lemma.endswith("e") and not lemma.endswith(("ee", "ye", "oe")):
        return (lemma[:-1],)
    if lemma.endswith("e"):
        return lemma, lemma[:-1]
    if lemma.endswith("y") and lemma[-2:-1] not in _VOWELS:
        return lemma, lemma[:-1] + "i"
    if lemma.endswith("c"):
        return lemma, lemma + "k"
    if len(lemma) > 2 and lemma[-1] not in "aeiouwxy" and lemma[-2] in _VOWELS:
        return lemma, lemma + lemma[-1]
    return (lemma,)


def _with_s(lemma: str) -> str:
    if lemma.endswith("y") and lemma[-2:-1] not in _VOWELS:
        return lemma[:-1] + "ies"
    if lemma.endswith(("s", "x", "z", "ch", "sh")) or lemma in {"go", "do", "tomato", "potato"}:
        return lemma + "es"
    return lemma + "s"
