"""A wording without the words that the gate minds, as far as grammar allows.

Words are only taken out, never put in; what is left is judged again by whoever asked for it.
"""

import re

from curation.clip import UNKNOWN
from curation.purity.form import denied_in, foreign_in, markup_in
from curation.purity.gate import Gate
from curation.purity.kinds import words_of
from curation.purity.lexicon import LEAKS, listed
from curation.purity.parts import Word

_CLAUSE_OPENERS = frozenset(["while", "as", "when", "whilst", "but"])
_PLAIN_MARKUP = re.compile(r"<[^<>]*>|[#@]\w+|[*_`~]+")
_SIGNS = re.compile(r"[^\w\s.,;:'’\-–—!?()/\"“”„«»&+=%{}\[\]|\\<>]")


def strip(wording: str) -> str:
    """The wording without what the gate minds; `none` if no motion is left to speak of.

    A noun goes with its article, its adjectives and its preposition; a clause that denies, or that
    only tells of the camera, goes as a whole. A wording in another language is not mended.
    """
    text = _SIGNS.sub(" ", _PLAIN_MARKUP.sub(" ", wording))
    text = " ".join(text.split())
    words = words_of(text)
    if not words or markup_in(text, words) or foreign_in(text, words):
        return UNKNOWN
    kept = _kept(words)
    rest = [word for word, stays in zip(words, kept, strict=True) if stays]
    rest = _short(rest, Gate().max_words)
    if sum(len(word.text.split()) for word in rest) < Gate().min_words:
        return UNKNOWN
    if not any(word.kind == "MOTION" for word in rest):
        return UNKNOWN
    left = _written(rest)
    if not text[0].islower():
        left = left[0].upper() + left[1:]
    return f"{left}." if text.endswith(".") else left


def _kept(words: tuple[Word, ...]) -> list[bool]:
    """Which words stay."""
    kept = [True] * len(words)
    for first, last in _clauses(words):
        clause = words[first:last]
        kinds = {word.kind for word in clause}
        if denied_in(clause) or ("MOTION" not in kinds and not kinds.isdisjoint(LEAKS)):
            kept[first:last] = [False] * (last - first)
    for i, word in enumerate(words):
        if kept[i] and _is_minded(word):
            _drop(words, kept, i)
    for i, word in enumerate(words):
        if word.part == "C" and kept[i]:
            before = i > 0 and kept[i - 1]
            after = i + 1 < len(words) and kept[i + 1]
            kept[i] = after and (
                before or (any(w.part == "V" for w in words[:i]) and any(kept[:i]))
            )
    return kept


def _is_minded(word: Word) -> bool:
    is_idea = word.part == "N" and word.lemma in listed("abstract_nouns")
    return word.kind in LEAKS or is_idea


def _clauses(words: tuple[Word, ...]) -> list[tuple[int, int]]:
    opens = [i for i, w in enumerate(words) if not i or w.pause or w.low in _CLAUSE_OPENERS]
    return list(zip(opens, [*opens[1:], len(words)], strict=True))


def _drop(words: tuple[Word, ...], kept: list[bool], i: int) -> None:
    """Take out the word at `i`, and what would dangle without it."""
    word = words[i]
    kept[i] = False
    if i + 1 < len(words) and words[i + 1].low == "of":
        kept[i + 1] = False
    if word.part == "A":
        return
    if word.part == "V":  # wearing a hat; orbiting around
        j = i + 1
        while j < len(words) and not words[j].pause and words[j].part in ("P", "M"):
            kept[j] = False
            j += 1
        if word.kind == "APPEARANCE":
            while j < len(words) and not words[j].pause and words[j].part in ("D", "A", "N"):
                kept[j] = False
                j += 1
        return
    j = i - 1
    while j >= 0 and not words[j + 1].pause and _belongs(words, j):
        kept[j] = False
        j -= 1
    while j >= 0 and not words[j + 1].pause and words[j].part == "P":
        kept[j] = False
        j -= 1


def _belongs(words: tuple[Word, ...], j: int) -> bool:
    """Whether a word before a noun is its article, adjective or modifier."""
    word, following = words[j], words[j + 1]
    if word.part in ("D", "A") or word.owner or word.modifier:
        return True
    return word.part in ("N", "V") and word.kind in LEAKS and following.part in ("N", "W")


def _short(words: list[Word], limit: int) -> list[Word]:
    """The words up to the last clause or part of a list that keeps within the limit."""
    if len(words) <= limit:
        return words
    cuts = [i for i in range(2, limit + 1) if words[i].pause or words[i].part == "C"]
    return words[: cuts[-1]] if cuts else words


def _written(words: list[Word]) -> str:
    parts: list[str] = []
    for i, word in enumerate(words):
        text = word.text
        if word.low in ("a", "an") and i + 1 < len(words):
            article = "an" if words[i + 1].low[0] in "aeiou" else "a"
            text = article.capitalize() if text[0].isupper() and not i else article
        if word.owner and text.lower().endswith("s") and "'" not in text and "’" not in text:
            text += "'"
        if parts and word.pause:
            parts[-1] += ","
        parts.append(text)
    return " ".join(parts)
