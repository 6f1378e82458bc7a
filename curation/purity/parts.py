"""Parts of speech by neighbours: what each word of a short caption does in its sentence.

No tagger and no model: closed classes by list, verbs by form and place, the rest is a noun. A
caption of a dozen words in plain English is regular enough for that.
"""

import re
from dataclasses import dataclass

from curation.purity.lemmas import noun_forms, noun_of, verb_forms, verb_of
from curation.purity.lexicon import gerund_nouns, listed, phrases

DETERMINERS = listed("determiners")
PREPOSITIONS = listed("prepositions")
CONJUNCTIONS = listed("conjunctions")
PRONOUNS = listed("pronouns")
AUXILIARIES = listed("auxiliaries")
POSTURES = frozenset(["sit", "stand", "lie", "kneel", "lean", "crouch", "recline", "squat"])
LIGHT_VERBS = frozenset(["do", "make", "take", "give", "have", "perform", "execute", "attempt"])
NO_MOVES = listed("no_moves")
PARTICLES = listed("particles")
_WORD = re.compile(r"[^\W_]+(?:['’\-‐‑][^\W_]+)*")
_PLAIN_SIGNS = str.maketrans("’‐‑", "'--")
_PAUSES = frozenset(",;:.!?()—–")
_OBJECT_NEEDED = frozenset({"lighting"})


@dataclass(slots=True)
class Word:
    """A word, or words that belong together, of a caption.

    Attributes:
        text, low: as written, and in lower case without a possessive ending.
        start, end: characters of the text.
        pause: whether a comma or the like stands before it.
        owner: whether it is a possessive (the dog's).
        part: `D`eterminer, `P`reposition, `C`onjunction, p`R`onoun, `M`anner, `A`djective, `V`erb,
            `N`oun, au`X`iliary, or `W` for a phrase whose kind is known.
        lemma: of a verb or noun.
        form: of a verb: base, s, ed, ing.
        kind: of a `Token`, given later.
        modifier: whether it only tells which kind of thing the next noun is (beach ball).
        place: whether it is a place that is the subject of a motion.
    """

    text: str
    low: str
    start: int
    end: int
    pause: bool
    owner: bool = False
    part: str = ""
    lemma: str = ""
    form: str = ""
    kind: str = ""
    modifier: bool = False
    place: bool = False


def split(text: str) -> list[Word]:
    """The words of a text in their order, phrases of the lexicon as one."""
    words: list[Word] = []
    last = 0
    for match in _WORD.finditer(text):
        start, end = match.span()
        low = match[0].lower()
        if not low.isascii():
            low = low.translate(_PLAIN_SIGNS)
        between = text[last:start]
        owner = low.endswith("'s") or (low[-1] == "s" and text[end : end + 1] in ("'", "’"))
        pause = bool(words) and not _PAUSES.isdisjoint(between)
        words.append(Word(match[0], low.removesuffix("'s"), start, end, pause, owner))
        last = end
    return _joined(text, words)


def _joined(text: str, words: list[Word]) -> list[Word]:
    table = phrases()
    found: list[Word] = []
    i = 0
    while i < len(words):
        word = words[i]
        parts = tuple(word.low.split("-")) if "-" in word.low else (word.low,)
        size, kind = 0, ""
        for phrase, its in table.get(parts[0], ()):
            if parts == phrase and len(phrase) > 1:
                size, kind = 1, its
                break
            if len(phrase) <= len(words) - i and _matches(phrase, words, i):
                size, kind = len(phrase), its
                break
        if size:
            low = " ".join(one.low for one in words[i : i + size])
            end = words[i + size - 1].end
            joined = Word(text[word.start : end], low, word.start, end, word.pause)
            joined.part, joined.kind, joined.lemma = "W", kind, _singular(low)
            joined.owner = words[i + size - 1].owner
            found.append(joined)
            i += size
        else:
            found.append(word)
            i += 1
    return found


def _matches(phrase: tuple[str, ...], words: list[Word], i: int) -> bool:
    for offset, wanted in enumerate(phrase):
        word = words[i + offset]
        if offset and word.pause:
            return False
        written = f"{word.low}'s" if word.owner and wanted.endswith("'s") else word.low
        if written != wanted and not (
            offset == len(phrase) - 1 and len(phrase) > 1 and word.low == f"{wanted}s"
        ):
            return False
    return True


def _singular(low: str) -> str:
    head, _, last = low.rpartition(" ")
    return f"{head} {noun_of(last)}".strip()


def tag(words: list[Word]) -> None:
    """Give every word its part, lemma and form."""
    nouns, manner = noun_forms(), listed("manner")
    adjectives = listed("appearance")
    for i, word in enumerate(words):
        if word.part:
            continue
        low = word.low
        if word.owner:
            word.part, word.lemma = "N", noun_of(low)
        elif low in DETERMINERS or low.isdigit():
            word.part = "D"
        elif low in CONJUNCTIONS:
            word.part = "C"
        elif low in PRONOUNS:
            word.part = "R"
        elif low in AUXILIARIES and not (low == "do" and i == 0):
            word.part = "X"
        elif low in PREPOSITIONS:
            word.part = "P" if low not in manner or _opens_phrase(words, i) else "M"
        elif (verb := verb_of(low)) is not None and _is_verb(words, i, verb, nouns, adjectives):
            word.part, (word.lemma, word.form) = "V", verb
        elif low in adjectives or low in manner:
            word.part = _adjective_or_manner(words, i, nouns, adjectives, manner)
            word.lemma = noun_of(low) if word.part == "N" else low
        elif low.endswith("er") and low not in nouns and _is_comparative(low):
            word.part, word.lemma = "A" if noun_ahead(words, i) else "M", low
        elif low.endswith("ly") and low not in nouns:
            word.part, word.lemma = "M", low
        elif _looks_adjective(words, i, nouns):
            word.part, word.lemma = "A", low
        else:
            word.part, word.lemma = "N", noun_of(low)


def _is_comparative(low: str) -> bool:
    """Whether a word is big-g-er, larg-er, heav-i-er."""
    stem = low[:-2]
    stems = (stem, low[:-1], stem[:-1], stem[:-1] + "y")
    return any(one in listed("appearance") or one in listed("manner") for one in stems)


def next_of(words: list[Word], i: int) -> Word | None:
    """The next word, if no pause lies between."""
    return words[i + 1] if i + 1 < len(words) and not words[i + 1].pause else None


def previous_of(words: list[Word], i: int) -> Word | None:
    """The word before, if no pause lies between."""
    return words[i - 1] if i and not words[i].pause else None


def _opens_phrase(words: list[Word], i: int) -> bool:
    """Whether a noun phrase follows, so that `over` is a preposition and no direction."""
    after = next_of(words, i)
    if after is None or after.low in CONJUNCTIONS:
        return False
    if (
        after.low in DETERMINERS
        or after.low in PRONOUNS
        or (after.part == "W" and after.kind != "FUNCTION")
    ):
        return True
    if after.low in PREPOSITIONS or after.part == "W" or after.low.endswith("ly"):
        return False
    if after.low in ("while", "again", "together"):
        return False
    verb = verb_forms().get(after.low)
    return verb is None or after.low in noun_forms() or verb[1] == "ing"


def _is_verb(
    words: list[Word],
    i: int,
    verb: tuple[str, str],
    nouns: dict[str, str],
    adjectives: frozenset[str],
) -> bool:
    """Whether a word that may be a verb is one here."""
    word, before, after = words[i], previous_of(words, i), next_of(words, i)
    low, form = word.low, verb[1]
    if form == "ing":
        if low in listed("ing_nouns") or (low in adjectives and low not in verb_forms()):
            return False
        if low not in gerund_nouns():
            return True
        object_follows = after is not None and (
            after.low in DETERMINERS or _noun_like(after, nouns) or after.low in PRONOUNS
        )
        if before is None:
            return _opens_object(after)
        if before.part == "C":
            return any(one.part == "V" for one in words[:i])
        if before.part in ("D", "A", "P"):
            return False
        return object_follows or (
            before.part in ("N", "R", "W", "X", "M") and low not in _OBJECT_NEEDED
        )
    if before is not None and before.part == "M" and i >= 2:
        before = previous_of(words, i - 1)
    if before is None:
        return i == 0 and form == "base" and low not in nouns and _opens_object(after)
    if before.low in ("to", "can", "will", "who", "that", "which") or before.part == "X":
        return form in ("base", "ed") or before.low in ("who", "that", "which")
    if before.part == "C":
        return any(w.part == "V" and w.form == form for w in words[:i]) and low not in nouns
    if before.part not in ("N", "R", "W") or before.owner:
        return False
    if _verb_follows(words, i):
        return False
    if form == "ed":
        goes_off = after is not None and (after.low in PREPOSITIONS or after.kind == "FUNCTION")
        moves = verb[0] in listed("intransitive_verbs") or not low.endswith("ed")
        goes_on = (moves and (goes_off or after is None)) or _opens_object(after)
        is_of = after is not None and after.low == "of"
        is_noun = low in nouns and before.part != "R" and (is_of or not goes_off)
        return not is_noun and goes_on and not _verb_before(words, i)
    if _verb_before(words, i):
        return False
    plural = before.lemma != before.low
    if before.part != "R" and (form == "s") == plural and nouns.get(before.low) != before.low:
        return False
    if before.part == "N" and form == "base" and not plural:
        return False
    if low not in nouns and low not in adjectives and low not in listed("manner"):
        return True
    own = noun_of(low)
    is_thing = own in listed("nature") or own in listed("places")
    return (
        before.part == "R"
        or (before.lemma in listed("subjects") and not is_thing)
        or (low == "fall" and before.lemma in listed("nature"))
    )


def _opens_object(after: Word | None) -> bool:
    return after is not None and after.low in DETERMINERS


def _verb_before(words: list[Word], i: int) -> bool:
    for j in range(i - 1, -1, -1):
        if words[j].part == "V":
            return True
        if words[j].part == "C" or words[j + 1].pause:
            return False
    return False


def _verb_follows(words: list[Word], i: int) -> bool:
    """Whether a verb in -ing follows at once, or after one noun: then this is its subject."""
    for j in (i + 1, i + 2):
        if j >= len(words) or words[j].pause or words[j].low in CONJUNCTIONS:
            return False
        low = words[j].low
        if low.endswith("ing") and low not in listed("ing_nouns"):
            return True
        if low in PREPOSITIONS or low in DETERMINERS or low in PRONOUNS:
            return False
    return False


def _noun_like(word: Word | None, nouns: dict[str, str]) -> bool:
    """Whether a word that is not tagged yet will be a noun, as far as can be seen."""
    if word is None:
        return False
    if word.part:
        return word.part == "N" or (word.part == "W" and word.kind != "FUNCTION")
    low = word.low
    if low in nouns:
        return True
    if low in PREPOSITIONS or low in CONJUNCTIONS or low in PRONOUNS or low in DETERMINERS:
        return False
    if low in AUXILIARIES or low in listed("manner") or low in listed("appearance"):
        return False
    if low.endswith("ly") or low in listed("negations"):
        return False
    verb = verb_of(low)
    return verb is None or (verb[1] == "s" and low.endswith("s"))


def noun_ahead(words: list[Word], i: int) -> Word | None:
    """The noun that an adjective at `i` stands before, over further adjectives, else None."""
    nouns, adjectives, manner = noun_forms(), listed("appearance"), listed("manner")
    for j in range(i + 1, len(words)):
        word = words[j]
        if word.pause and word.low not in adjectives:
            return None
        if word.low in adjectives and _noun_like(word, nouns):
            following = next_of(words, j)
            return word if not _noun_like(following, nouns) else following
        if _noun_like(word, nouns):
            return word
        if word.low in adjectives or (word.low in manner and word.low not in PREPOSITIONS):
            continue
        if word.low == "and" and j + 1 < len(words) and words[j + 1].low in adjectives:
            continue
        return None
    return None


def _adjective_or_manner(
    words: list[Word],
    i: int,
    nouns: dict[str, str],
    adjectives: frozenset[str],
    manner: frozenset[str],
) -> str:
    """`A` for a word of looks, `M` for one of manner or result, `N` where it is a thing."""
    word, before = words[i], previous_of(words, i)
    low = word.low
    ahead = noun_ahead(words, i)
    if low not in adjectives:
        return "M"
    changed = before is not None and before.part == "V" and before.lemma in listed("change_verbs")
    if changed and ahead is None:
        return "M"
    if ahead is not None:
        is_move = noun_of(ahead.low) in listed("motion_nouns") or ahead.low in ("circles", "circle")
        if low in listed("motion_adjectives") and is_move:
            return "M"
        return "A"
    if low in manner or low in listed("results"):
        return "M" if before is not None and before.part in ("V", "N", "R", "M", "C") else "A"
    if low in nouns and (before is None or not (before.low == "in" or before.part == "X")):
        return "N"
    return "A"


_ADJECTIVE_ENDS = (
    "ful",
    "ous",
    "ish",
    "less",
    "ical",
    "able",
    "ible",
    "ese",
    "esque",
    "like",
    "ian",
    "ean",
    "tan",
)


def _looks_adjective(words: list[Word], i: int, nouns: dict[str, str]) -> bool:
    """Whether a word on no list has the look of an adjective, or is a participle before a noun."""
    low, before, after = words[i].low, previous_of(words, i), next_of(words, i)
    if low in nouns:
        return False
    if "-" in low and any(p in listed("appearance") for p in low.split("-")):
        return True
    if not _noun_like(after, nouns):
        return False
    if "-" in low and (verb_forms().get(low.rpartition("-")[2]) or ("", ""))[1] == "ed":
        return True  # well-built
    if low.endswith("ed") and len(low) > 4:
        return before is None or before.part in ("D", "A", "P", "V", "C")
    verb = verb_forms().get(low)
    if verb is not None and verb[1] == "ed" and low.endswith("en"):
        return True
    return low.endswith(_ADJECTIVE_ENDS) or (low.endswith("y") and len(low) > 4)
