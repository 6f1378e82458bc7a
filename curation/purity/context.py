"""What governs a noun in its sentence: a preposition, a verb, a wearer."""

from curation.purity.lemmas import noun_forms
from curation.purity.lexicon import listed
from curation.purity.parts import DETERMINERS, Word, next_of, previous_of

_PLACING = listed("placing")
_CROSSING = frozenset({"over", "under", "through", "between", "around"})
_PASSING = frozenset(
    {"across", "along", "past", "near", "beside", "inside", "outside", "amid", "throughout"}
)
_CROSSING_VERBS = frozenset({"cross", "traverse", "ford", "enter", "exit", "roam", "wander"})
_OBSTACLES = listed("obstacles")
_CONTACT = listed("contact_verbs")
_CONTACTED = frozenset({"door", "wall", "window", "table", "desk"})
_PLACING_OF = {  # where it is not all of them: one swings on a bar, and climbs up a tree
    "bar": frozenset({"in", "at", "inside", "near", "outside", "behind"}),
    "club": frozenset({"in", "at", "inside", "near", "outside", "behind"}),
    "ring": frozenset({"in", "around", "inside", "at"}),
    "step": frozenset({"on", "up", "down"}),
    "cloud": frozenset({"in", "above", "over", "among", "through"}),
    "bank": _PLACING | {"from", "to", "onto", "up", "down"},
    "tree": _PLACING - {"in", "on", "across", "along", "around", "through", "over"},
}
_PARTICLES = frozenset({"up", "down", "off", "on", "out"})
_ENDINGS = tuple(sorted(listed("place_endings")))
_SELF_MOVING = listed("self_moving")
_COVERING = listed("covering_verbs")


def is_placed(words: list[Word], i: int) -> bool:
    """Whether the preposition before makes a place of a word like table, bank, rain."""
    lemma, preposition = words[i].lemma, preposition_of(words, i)
    if preposition is None:
        governor = governor_of(words, i)
        return governor is not None and governor.lemma in _CROSSING_VERBS
    low = preposition.low
    verb = next((w.lemma for w in reversed(words[: words.index(preposition)]) if w.part == "V"), "")
    if lemma == "water":
        at = words.index(preposition)
        article = at + 1 < len(words) and words[at + 1].low == "the"
        return article and low in _PLACING
    if lemma in _CONTACTED and verb in _CONTACT and low in ("on", "at", "against", "over"):
        return False
    if lemma in _OBSTACLES and low in _CROSSING:
        return False
    if lemma in ("ring", "step") and words[i].low == lemma + ("s" if lemma == "ring" else ""):
        return False  # rings one juggles, a step that is taken
    return low in _PLACING_OF.get(lemma, _PLACING)


def preposition_of(words: list[Word], i: int) -> Word | None:
    """The preposition that governs a noun, over its articles, adjectives and modifiers."""
    for j in range(i - 1, -1, -1):
        if words[j + 1].pause:
            return None
        word = words[j]
        if word.part == "P" or word.low in ("up", "down", "across", "past"):
            return word
        if word.part == "C" and j and words[j - 1].part == "N" and words[j].low == "and":
            continue
        if word.part == "V" and j and words[j - 1].part in ("P", "D"):
            continue  # on a spinning wheel
        if word.part not in ("D", "A", "N", "M", "W"):
            return None
        if word.part == "N" and not _modifies(words, j):
            return None
    return None


def _modifies(words: list[Word], j: int) -> bool:
    following = words[j + 1]
    return words[j].owner or following.part == "N" or following.low == "and"


def governor_of(words: list[Word], i: int) -> Word | None:
    """The verb whose direct object a noun is, else None."""
    for j in range(i - 1, -1, -1):
        if words[j + 1].pause:
            return None
        word = words[j]
        if word.part == "V":
            if j and words[j - 1].part == "D":
                continue
            return word
        if word.low == "and" and j and words[j - 1].part in ("N", "W"):
            continue
        if word.low in _PARTICLES and j and words[j - 1].part == "V":
            continue  # tearing up a photo
        if word.part in ("N", "W") and words[j + 1].part in ("D", "R"):
            return None
        if word.part not in ("D", "A", "N", "M", "W"):
            return None
    return None


def is_passed(words: list[Word], i: int) -> bool:
    """Whether a noun on no list stands where places do: across a loch, along the quayside."""
    preposition = preposition_of(words, i)
    return preposition is not None and preposition.low in _PASSING


def is_place_by_ending(lemma: str) -> bool:
    """Whether a noun on no list ends like a place."""
    if lemma in noun_forms():
        return False
    return lemma.endswith(_ENDINGS) and len(lemma) > 6


def used_as_tool(words: list[Word], i: int) -> bool:
    """Whether somebody acts with, into or through a camera or a picture: filming with a camera."""
    preposition = preposition_of(words, i)
    if preposition is None or preposition.low not in ("with", "into", "onto", "through"):
        return False
    at = words.index(preposition)
    article = words[at + 1].low
    acts = any(w.part == "V" for w in words[:at]) and words[0].part in ("N", "D")
    return acts and article not in ("the", "view") and (article in DETERMINERS or at + 1 == i)


def is_worn(words: list[Word], i: int) -> bool:
    """Whether a piece of clothing is worn, and not handled or moving by itself."""
    preposition = preposition_of(words, i)
    if preposition is None:
        before = previous_of(words, i)
        worn = governor_of(words, i)
        return (worn is not None and worn.lemma == "wear") or (
            before is not None and before.low in ("wearing", "dressed")
        )
    at = words.index(preposition)
    verb = next((w for w in reversed(words[:at]) if w.part == "V"), None)
    after = next_of(words, i)
    if preposition.low == "with":
        if after is not None and after.part == "V" and after.lemma in _SELF_MOVING:
            return False
        between = words[words.index(verb) + 1 : at] if verb is not None else []
        return not any(
            w.part in ("N", "R") or (w.part == "W" and w.kind == "OTHER") for w in between
        )
    if preposition.low == "in":
        return verb is None or verb.lemma not in _COVERING
    return preposition.low == "of" and verb is None


def is_name(words: list[Word], i: int) -> bool:
    """Whether a capital marks the name of a place: after a preposition, amid small letters."""
    preposition = preposition_of(words, i)
    small = any(w.text[0].islower() and w.part in ("N", "V") for w in words)
    placing = _PLACING | {"of", "from", "to", "toward", "towards", "into"}
    return small and preposition is not None and preposition.low in placing
