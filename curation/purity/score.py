"""How much of a caption is motion: purity, and what a motion caption keeps of the original.

Formulas: reference/curation.md, section 6. With n content words, of them M of motion, S of scene,
A of looks, T of media and C of camera:

    MD = M / n      L = (S + A + T) / n      K = C / n      P = (1 - L - K) · min(1, MD / 0.34)
"""

from collections import Counter
from dataclasses import dataclass

from curation.purity.kinds import Token, tokens, words_of
from curation.purity.lemmas import noun_of
from curation.purity.lexicon import LEAKS

__all__ = [
    "Decoupling",
    "Purity",
    "Token",
    "decoupling",
    "motion_lemmas",
    "purity",
    "subject_of",
    "tokens",
]

TAU = 0.34  # one word of motion in three of content is as dense as it need be
_NO_SUBJECTS = frozenset({"MOTION", "FUNCTION", "MEDIA", "CAMERA", "APPEARANCE"})


@dataclass(frozen=True)
class Purity:
    """The score of a caption.

    Attributes:
        value: P, 0 … 1.
        density: MD, the share of motion in the content.
        leakage: L, that of scene, looks and media.
        camera: K, that of camera words.
        words: between spaces.
        content: words that say something; a compound noun is one.
    """

    value: float
    density: float
    leakage: float
    camera: float
    words: int
    content: int


@dataclass(frozen=True)
class Decoupling:
    """A motion caption against the original.

    Attributes:
        removal: R, the share of the original's leaking words that are gone; 1 if it had none.
        kept: Q, the share of the original's motions that are kept; None if it names none.
        score: F = 2RQ / (R + Q); None where Q is.
        novel: the share of the wording's motions that the original does not name; None if it
            names none.
    """

    removal: float
    kept: float | None
    score: float | None
    novel: float | None


def purity(text: str) -> Purity:
    """The score of a caption; all zero where it has no content."""
    kinds = Counter(token.kind for token in tokens(text))
    content = sum(kinds.values()) - kinds["FUNCTION"]
    words = len(text.split())
    if not content:
        return Purity(0.0, 0.0, 0.0, 0.0, words, 0)
    density, camera = kinds["MOTION"] / content, kinds["CAMERA"] / content
    leakage = (kinds["SCENE"] + kinds["APPEARANCE"] + kinds["MEDIA"]) / content
    value = max(1 - leakage - camera, 0.0) * min(1.0, density / TAU)
    return Purity(value, density, leakage, camera, words, content)


def decoupling(original: str, wording: str) -> Decoupling:
    """What a motion caption removed and kept of the original."""
    before, after = tokens(original), tokens(wording)
    leaks = {token.lemma for token in before if token.kind in LEAKS}
    left = leaks & {token.lemma for token in after}
    removal = 1 - len(left) / len(leaks) if leaks else 1.0
    named, told = set(motion_lemmas(original)), set(motion_lemmas(wording))
    novel = len(told - named) / len(told) if told else None
    if not named:
        return Decoupling(removal, None, None, novel)
    kept = len(named & told) / len(named)
    both = removal + kept
    return Decoupling(removal, kept, 2 * removal * kept / both if both else 0.0, novel)


def motion_lemmas(text: str) -> list[str]:
    """Lemmas of the motion words of a caption, in order."""
    return [word.lemma for word in words_of(text) if word.kind == "MOTION"]


def subject_of(text: str) -> str:
    """Lemma of the noun before the first motion, which moves; `none` if there is none."""
    found = "none"
    for word in words_of(text):
        if word.kind == "MOTION" and found != "none":
            return found
        if word.part in ("N", "W") and not word.owner and word.kind not in _NO_SUBJECTS:
            found = noun_of(word.lemma or word.low)
    return found
