"""The kind of each word of a caption: motion, subject, scene, looks, media, camera or another."""

import functools
from dataclasses import dataclass

from curation.purity import parts
from curation.purity.context import (
    governor_of,
    is_name,
    is_passed,
    is_place_by_ending,
    is_placed,
    is_worn,
    preposition_of,
    used_as_tool,
)
from curation.purity.lemmas import noun_forms, noun_of
from curation.purity.lexicon import gerund_nouns, listed
from curation.purity.parts import LIGHT_VERBS, NO_MOVES, POSTURES, Word, next_of, previous_of

_LIGHT_NOUNS = listed("lights")
_HANDLED = listed("handled")
_SCREEN_EDGES = listed("frame_edges")
_MAKING = LIGHT_VERBS | {"throw", "land", "practice", "break"}
_NOUN_KINDS = (("SUBJECT", "subjects"), ("OTHER", "objects"), ("SUBJECT", "nature"))


@dataclass(frozen=True)
class Token:
    """A word of a caption, or several that name one thing (`beach ball`).

    Attributes:
        text: as written.
        lemma: of the whole.
        kind: MOTION, SUBJECT, SCENE, APPEARANCE, MEDIA, CAMERA, OTHER (content without a class) or
            FUNCTION (grammar, direction, manner, number).
        start, end: characters of the caption.
    """

    text: str
    lemma: str
    kind: str
    start: int
    end: int


@functools.lru_cache(maxsize=4096)
def words_of(text: str) -> tuple[Word, ...]:
    """The words of a caption with part, lemma and kind; not to be changed."""
    words = parts.split(text)
    parts.tag(words)
    for i, word in enumerate(words):
        if not word.kind:
            word.kind = _KIND_OF.get(word.part, _function)(words, i)
    return tuple(words)


def tokens(text: str) -> list[Token]:
    """The words of a caption with their kinds, in order; a compound noun is one token."""
    return list(_tokens(text))


@functools.lru_cache(maxsize=4096)
def _tokens(text: str) -> tuple[Token, ...]:
    words = words_of(text)
    found: list[Token] = []
    for i, word in enumerate(words):
        if word.modifier and i + 1 < len(words) and word.kind == "OTHER":
            continue
        first = i
        while first and words[first - 1].modifier and words[first - 1].kind == "OTHER":
            first -= 1
        start = words[first].start
        lemma = " ".join([*(w.low for w in words[first:i]), word.lemma or word.low])
        found.append(Token(text[start : word.end], lemma, word.kind, start, word.end))
    return tuple(found)


def _function(words: list[Word], i: int) -> str:
    low = words[i].low
    return "SCENE" if low in ("outside", "inside") and next_of(words, i) is None else "FUNCTION"


def _adjective(words: list[Word], i: int) -> str:
    return "SCENE" if words[i].low in listed("places") else "APPEARANCE"


def _manner(words: list[Word], i: int) -> str:
    low = words[i].low
    if low in listed("media"):
        return "MEDIA"
    if low in listed("camera"):
        return "CAMERA"
    return "SCENE" if low in ("outside", "inside", "nearby") else "FUNCTION"


def _verb(words: list[Word], i: int) -> str:
    word, after, before = words[i], next_of(words, i), previous_of(words, i)
    lemma, following = word.lemma, after.low if after else ""
    if lemma in ("be", "being"):
        return "FUNCTION"
    if lemma == "wear" or word.low in ("dressed", "clad"):
        return "APPEARANCE"
    subject = _subject_before(words, i)
    handles = subject is not None and after is not None and after.part == "D"
    if (kind := _listed_kind(word.low)) and not handles:
        return kind
    leads = before is None or before.part in ("D", "A")
    if leads and word.low in listed("appearance") and parts.noun_ahead(words, i) is not None:
        return "APPEARANCE"
    attributive = leads or (before is not None and before.part == "M")
    kind = _listed_kind(noun_of(after.low)) if attributive and after is not None else None
    if kind:
        return kind  # tracking shot
    if lemma in LIGHT_VERBS:
        return _light_verb(words, i)
    if _is_fictive_look(words, i):
        return "OTHER"
    if lemma in POSTURES:
        moves = following in parts.PARTICLES and following not in ("in", "on", "over")
        moves = moves or (lemma == "lean" and following in ("in", "over"))
        return "MOTION" if moves else "OTHER"
    if lemma in ("hang", "focus"):  # a picture, a microscope
        moves = after is not None and (after.part in ("D", "N") or after.low in ("up", "out"))
        return "MOTION" if moves else "OTHER"
    if lemma == "get":
        return "MOTION" if after is not None and after.part in ("M", "P") else "OTHER"
    if lemma == "try":
        return "MOTION" if following == "on" else "OTHER"
    if lemma in listed("state_verbs") or lemma in listed("vague_verbs"):
        return "OTHER"
    if subject is None:
        leads = not any(w.part in ("N", "R", "W", "V") for w in words[:i])
        if lemma in listed("camera_verbs") and leads and word.form == "ing":
            return "CAMERA"
        return "MOTION"
    if subject.kind == "CAMERA":
        return "CAMERA"
    if subject.kind == "SUBJECT" and subject.place and lemma in listed("fictive_verbs"):
        subject.kind = "SCENE"
        return "OTHER"
    return "MOTION"


def _is_fictive_look(words: list[Word], i: int) -> bool:
    """Whether this is the rolling of rolling hills: before a place, and after no subject."""
    before, after = previous_of(words, i), next_of(words, i)
    return (
        words[i].lemma in listed("fictive_verbs")
        and (before is None or before.part in ("D", "A", "P"))
        and after is not None
        and after.part == "N"
        and after.lemma in listed("places")
    )


def _light_verb(words: list[Word], i: int) -> str:
    """A verb that says little without its object: a motion if that is a thing, none if an idea."""
    after = next_of(words, i)
    if after is not None and after.part == "M" and after.low in parts.PARTICLES:
        return "MOTION"  # taking off
    for j in range(i + 1, len(words)):
        word = words[j]
        if word.pause or word.part in ("C", "V"):
            return "OTHER"
        if word.part in ("N", "W", "R"):
            if word.kind == "FUNCTION" and word.part == "W":
                continue
            following = next_of(words, j)
            if word.part == "N" and following is not None and following.part == "N":
                continue
            lemma = noun_of(word.low)
            idle = (
                lemma in listed("abstract_nouns") or lemma in NO_MOVES or lemma in listed("times")
            )
            if lemma in listed("motion_nouns") or word.kind == "MOTION":
                return "FUNCTION"
            return "OTHER" if idle or words[i].lemma in ("have", "attempt") else "MOTION"
        if word.part == "P" and word.low not in parts.PARTICLES:
            return "OTHER"
    return "OTHER"


def _subject_before(words: list[Word], i: int) -> Word | None:
    """The noun right before a verb, over adverbs and auxiliaries, else None."""
    for j in range(i - 1, -1, -1):
        if words[j + 1].pause:
            return None
        if words[j].part in ("M", "X"):
            continue
        return words[j] if words[j].part in ("N", "R", "W") else None
    return None


def _noun(words: list[Word], i: int) -> str:
    word, after = words[i], next_of(words, i)
    lemma = word.lemma
    named = listed("times")
    if word.low in listed("negations"):
        return "FUNCTION"
    if lemma in named or word.low in named:
        return "SCENE"
    compound = (
        after is not None
        and not word.owner
        and (after.part == "N" or (after.part == "W" and after.kind in ("OTHER", "SUBJECT")))
    )
    if word.low in listed("foreign") and word.low not in noun_forms():
        return "OTHER"
    if (kind := gerund_nouns().get(word.low)) is not None:
        return _gerund(words, i, kind)
    if (kind := _listed_kind(lemma) or _listed_kind(word.low)) in ("CAMERA", "MEDIA"):
        return _picture_word(words, i, kind)
    if lemma in _LIGHT_NOUNS:
        return _light(words, i)
    if lemma in listed("places") or word.low in listed("places") or is_place_by_ending(lemma):
        return _place(words, i, compound)
    if compound:
        moves = listed("motion_nouns")
        if after is not None and after.part == "N" and after.lemma in moves and lemma in moves:
            return "MOTION"
        word.modifier = True
        return "OTHER"
    if (lemma in listed("place_after") or lemma == "water") and is_placed(words, i):
        return "SCENE"
    if lemma in listed("clothing") or word.low in listed("clothing"):
        return "APPEARANCE" if is_worn(words, i) else "OTHER"
    if lemma not in noun_forms() and is_passed(words, i):
        return "SCENE"
    if word.text[0].isupper() and i and lemma not in noun_forms() and is_name(words, i):
        return "SCENE"
    if lemma in listed("motion_nouns"):
        ambiguous = any(
            lemma in listed(name) for name in ("nature", "objects", "subjects", "place_after")
        )
        governor = governor_of(words, i)
        made = governor is not None and governor.lemma in _MAKING
        if not ambiguous or made:
            return "MOTION"
    for kind, name in _NOUN_KINDS:
        if lemma in listed(name):
            return kind
    return "OTHER"


def _listed_kind(lemma: str) -> str | None:
    if lemma in listed("camera"):
        return "CAMERA"
    return "MEDIA" if lemma in listed("media") else None


def _gerund(words: list[Word], i: int, kind: str) -> str:
    if kind == "SCENE":
        return _place(words, i, False)
    if kind == "APPEARANCE":
        return _light(words, i)
    return kind


def _picture_word(words: list[Word], i: int, kind: str) -> str:
    """A word of film or camera: a thing where it is handled."""
    word = words[i]
    lemma = word.lemma
    governor = governor_of(words, i)
    handled = governor is not None and governor.lemma in listed("handling_verbs")
    somebody = any(
        w.part in ("N", "R", "W") for w in words[: words.index(governor) if governor else 0]
    )
    if lemma in _HANDLED and governor is not None and handled and somebody:
        return "MOTION" if lemma == "shot" and governor.lemma in LIGHT_VERBS else "OTHER"
    if lemma in _HANDLED and used_as_tool(words, i):
        return "OTHER"
    if lemma == "frame":
        preposition = preposition_of(words, i)
        crossed = governor is not None and governor.lemma in _SCREEN_EDGES
        if not crossed and (preposition is None or preposition.low not in _SCREEN_EDGES):
            before = previous_of(words, i)
            return "OTHER" if before is not None and before.part in ("N", "D") else kind
    return kind


def _light(words: list[Word], i: int) -> str:
    after = next_of(words, i)
    if after is not None and after.part in ("V", "M") and preposition_of(words, i) is None:
        return "SUBJECT"
    if (
        after is not None
        and after.part == "N"
        and after.lemma in ("bulb", "switch", "fixture", "saber")
    ):
        words[i].modifier = True
        return "OTHER"
    return "OTHER" if governor_of(words, i) is not None else "APPEARANCE"


def _place(words: list[Word], i: int, compound: bool) -> str:
    word = words[i]
    after = next_of(words, i)
    if compound and after is not None:
        moves = after.lemma in listed("motion_nouns") and after.lemma not in _things()
        if not moves and not _is_scenic(after):
            word.modifier = True
            return "OTHER"
        return "SCENE"
    governor = governor_of(words, i)
    changed = governor is not None and governor.lemma in listed("changing_verbs")
    if changed and governor is not None and governor.kind != "OTHER":
        return "OTHER"
    if word.low in ("indoors", "outdoors", "underwater", "home"):
        return "SCENE"
    starts = governor is None and preposition_of(words, i) is None
    moves = after is not None and (after.part == "V" or after.part == "X")
    if starts and moves:
        word.place = True
        return "SUBJECT"
    return "SCENE"


@functools.cache
def _things() -> frozenset[str]:
    """Nouns that name a person, animal, machine or thing."""
    return listed("subjects") | listed("objects") | listed("nature")


def _is_scenic(word: Word) -> bool:
    lemma = word.lemma
    return lemma in listed("places") or lemma in listed("times") or lemma == "scene"


_KIND_OF = {"V": _verb, "N": _noun, "A": _adjective, "M": _manner}
