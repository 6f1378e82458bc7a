"""The word lists of words/, and a digest of them.

A list holds lemmas between spaces or lines; a line that begins with # is a comment.
"""

import functools
from pathlib import Path

from dynamicrafter.files import sha256_file, sha256_json

RULES = 1  # raised by hand when the rules in this package come to judge otherwise
FOLDER = Path(__file__).with_name("words")

LEAKS = ("SCENE", "APPEARANCE", "MEDIA", "CAMERA")
_PHRASE_KINDS = {
    "media": "MEDIA",
    "camera": "CAMERA",
    "scene": "SCENE",
    "appearance": "APPEARANCE",
    "name": "OTHER",
    "motion": "MOTION",
    "manner": "FUNCTION",
}


@functools.cache
def listed(name: str) -> frozenset[str]:
    """The words of the list words/`name`.txt."""
    return frozenset(word for line in lines(name) for word in line.split())


@functools.cache
def phrases() -> dict[str, list[tuple[tuple[str, ...], str]]]:
    """Phrases and their kinds by their first word, the longest first."""
    found: dict[str, list[tuple[tuple[str, ...], str]]] = {}
    for line in lines("phrases"):
        kind, *words = line.split()
        found.setdefault(words[0], []).append((tuple(words), _PHRASE_KINDS[kind]))
    for some in found.values():
        some.sort(key=lambda one: -len(one[0]))
    return found


@functools.cache
def gerund_nouns() -> dict[str, str]:
    """Words in -ing that may be nouns, and the kind that they then have."""
    kinds = {"place": "SCENE", "thing": "OTHER"}
    found = {}
    for line in lines("gerund_nouns"):
        kind, *words = line.split()
        found.update(dict.fromkeys(words, kinds.get(kind, kind.upper())))
    return found


@functools.cache
def lexicon_digest() -> str:
    """16 hex digits for the word lists and the rules: what a judgement depends on."""
    lists = {path.name: sha256_file(path) for path in sorted(FOLDER.glob("*.txt"))}
    return sha256_json([RULES, lists])[:16]


def lines(name: str) -> list[str]:
    """The lines of a list, without comments."""
    text = (FOLDER / f"{name}.txt").read_text(encoding="utf-8")
    return [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
