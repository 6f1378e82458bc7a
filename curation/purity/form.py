"""What makes a wording unfit whatever it says: mark-up, another language, a denial."""

import functools
import re
import unicodedata
from collections import Counter

from curation.purity.lemmas import noun_forms, verb_forms
from curation.purity.lexicon import LEAKS, lines, listed
from curation.purity.parts import (
    AUXILIARIES,
    CONJUNCTIONS,
    DETERMINERS,
    PREPOSITIONS,
    PRONOUNS,
    Word,
)

EMPTY = frozenset(
    (
        "",
        "none",
        "n/a",
        "na",
        "null",
        "nil",
        "unknown",
        "nothing",
        "undefined",
        "empty",
        "blank",
        "nan",
        "-",
        "...",
    )
)
REPEATS = 3  # a word that comes so often is no sentence
_MARKUP = (
    re.compile(r"<[^>]*>?|&#?\w+;"),  # tags, entities
    re.compile(r"\w+://\S*|\bwww\.\S+|\S+@\S+"),  # addresses
    re.compile(
        r"\b\w+\.(?:com|org|net|io|mp4|mov|avi|mkv|webm|gif|jpe?g|png|txt|json|py|html?)\b", re.I
    ),
    re.compile(r"\w*_\w*"),  # file and variable names
    re.compile(r"[#@]\w*"),
    re.compile(r"[{}\[\]<>`*=|~^\\$€£%+_§©®™•→←↑↓…]"),
    re.compile(r"[\"“”„«»‹›]"),
    re.compile(r"(?<![\w])['‘’][^'‘’]+['’](?!\w)"),  # quoted words
    re.compile(r"\w+\s*:|:"),  # labels
    re.compile(r"/+\w*|\?|\(\s*\)|--+|!!+|\.\.+"),
    re.compile(r"^\s*\W*\d+[.)]\s|^\s*[-–—•]\s"),  # items of a list
    re.compile(r"[\n\r\t]"),
    re.compile(r"\w\.\w+\("),
    re.compile(r"(?<![\w])[:;]-?[)(DP]"),
)
_ANY_MARKUP = re.compile(r"[^\w\s.,;’-]|['.]|[_\n\r\t]|--|^\W*\d|^\s*-")  # not a plain sentence
_UNCOUNTED = DETERMINERS | PREPOSITIONS | CONJUNCTIONS | PRONOUNS
_QUIET = frozenset(
    ["stand", "sit", "lie", "hold", "keep", "stay", "remain", "freeze", "stop", "hover"]
)
_LETTERS = re.compile(r"[^\W\d_]")
_FOREIGN_ENDS = (
    *("ando", "iendo", "endo", "indo", "ção", "cion", "zione", "mente", "ieren", "eaux", "ndose"),
    *("tje", "ujący", "nya", "eux", "aient", "ende", "chen", "lein"),
)
_ODD = re.compile(
    r"sch[aeiou]|cz|sz|[jqvx]$|ij|uu|aa|^[bcdfgjklmnpqrtvwxz]{3}|jou|ñ|kk|^zh|^nj|yy|ii"
)
_VOWEL_END = re.compile(r"[^aeiouy][aiou]s?$")  # English words that end so are few, and listed
_ENGLISH_LISTS = (
    *("function", "manner", "appearance", "negations", "results", "reader", "loans", "stops"),
    *("motion_adjectives", "ing_nouns"),
)


def markup_in(text: str, words: tuple[Word, ...]) -> tuple[str, ...]:
    """What of a text is no plain sentence: code, addresses, emoji, quotes, words to the reader."""
    found: list[str] = []
    if _ANY_MARKUP.search(text):
        for pattern in _MARKUP:
            found += [match[0].strip() or "hidden character" for match in pattern.finditer(text)]
    if not (text.isascii() and text.isprintable()):
        found += [sign for sign in text if _is_sign(sign)]
    reader = listed("reader")
    found += [word.low for word in words if word.low in reader and not _is_english_use(word)]
    counts = Counter(part for word in words for part in word.low.split() if part not in _UNCOUNTED)
    found += [word for word, n in counts.items() if n >= REPEATS]
    lows = [word.low for word in words]
    found += [a for a, b, c in zip(lows, lows[1:], lows[2:], strict=False) if a == b == c]
    return tuple(dict.fromkeys(found))


def foreign_in(text: str, words: tuple[Word, ...]) -> tuple[str, ...]:
    """The words of a text that are not English."""
    sure = [word.low for word in words if _is_foreign(word)]
    sure += [word.low for word in words if _VOWEL_END.search(word.low) and not is_english(word.low)]
    if not sure:
        strange = [w.low for w in words if w.part != "V" and not is_english(w.low)]
        content = [word for word in words if word.part not in ("D", "P", "C", "X", "R")]
        odd = [low for low in strange if low.endswith(_FOREIGN_ENDS) or _ODD.search(low)]
        moves = any(word.kind == "MOTION" and is_english(word.low) for word in words)
        if odd and (len(strange) > 1 or not moves):
            sure = odd
        elif len(strange) == len(words) or (
            len(strange) >= 2 and 2 * len(strange) > len(content) and not moves
        ):
            sure = strange
    if _LETTERS.search(text) is None:
        return tuple(text.split())
    return tuple(dict.fromkeys(sure))


def is_english(low: str) -> bool:
    """Whether a word, or each part of it, is on a list of English words."""
    if low in _english():
        return True
    if low.endswith(("ing", "ly", "n't")) or low.isdigit():
        return True
    parts = re.split(r"[ -]", low)
    if len(parts) > 1:
        return all(is_english(part) for part in parts)
    return low.endswith("s") and low[:-1] in _english()


def denied_in(words: tuple[Word, ...]) -> tuple[str, ...]:
    """The words that deny a motion; a denied stop or aid (without a pause, no hands) is manner."""
    found = []
    for i, word in enumerate(words):
        if word.low in listed("negations") or word.low.endswith(("n't", "n’t")):
            near = [w.low for w in words[i + 1 : i + 4] if w.part not in ("D",) and w.low != "ever"]
            if not (near and near[0] in listed("stops") and word.low not in ("nobody", "nothing")):
                found.append(word.low)
        elif word.low == "still":
            before = words[i - 1] if i else None
            if before is None or before.lemma in _QUIET or before.lemma in listed("state_verbs"):
                found.append(word.low)
        elif word.low in ("about", "instead", "rather") and i + 1 < len(words):
            following = words[i + 1].low
            if (word.low, following) in (("about", "to"), ("instead", "of"), ("rather", "than")):
                found.append(f"{word.low} {following}")
    return tuple(found)


@functools.cache
def _english() -> frozenset[str]:
    own = set().union(*map(listed, _ENGLISH_LISTS)) | set(noun_forms()) | set(verb_forms())
    own |= DETERMINERS | PREPOSITIONS | CONJUNCTIONS | PRONOUNS | AUXILIARIES
    own |= {word for phrase in lines("phrases") for word in phrase.split()[1:]}
    return frozenset(own | {word for low in own if "-" in low for word in low.split("-")})


def _is_foreign(word: Word) -> bool:
    low = word.low
    if low in listed("loans"):
        return False
    if not low.isascii():
        return True
    return low in listed("foreign") and low not in _english()


def _is_english_use(word: Word) -> bool:
    """Whether a word of the list is something that moves or is moved here (an answer, a frame)."""
    return word.kind in ("MOTION", *LEAKS) and word.low not in ("i", "describe", "describing")


def _is_sign(sign: str) -> bool:
    """Emoji, symbols, and characters that are not seen."""
    if sign.isascii():
        return ord(sign) < 32 or ord(sign) == 127
    return unicodedata.category(sign) in (
        "So",
        "Sk",
        "Cf",
        "Cc",
        "Co",
        "Cn",
        "Cs",
        "Zl",
        "Zp",
        "Sm",
    )
