"""Whether a motion caption may stand.

The score alone is no gate: one colour among eight words leaves P above any sensible threshold, and
yet tells what the first frame shows. So a single word that leaks is enough to be refused, as the
rule book of tests/golden/purity says, and P is asked for on top.
"""

from dataclasses import dataclass

from curation.purity.form import EMPTY, denied_in, foreign_in, markup_in
from curation.purity.kinds import tokens, words_of
from curation.purity.lexicon import LEAKS, listed
from curation.purity.score import Purity, purity


@dataclass(frozen=True)
class Gate:
    """What is asked of a motion caption.

    Attributes:
        min_purity: P, 0 … 1.
        min_words: between spaces.
        max_words: likewise.
    """

    min_purity: float = 0.5
    min_words: int = 2
    max_words: int = 12


@dataclass(frozen=True)
class Verdict:
    """What the gate says of a motion caption.

    Attributes:
        passed: whether it may stand.
        reason: None if it may, else one word: `none` (empty, or the mark of no motion), `markup`,
            `language`, `negated`, `too_short`, `too_long`, `no_motion`, `camera`, `media`, `scene`,
            `appearance`, `abstract`, or `impure` (no word leaks, but P is too low).
        offending: the words for which it may not, as far as there are such.
        purity: its score.
    """

    passed: bool
    reason: str | None
    offending: tuple[str, ...]
    purity: Purity


def judge(wording: str, gate: Gate) -> Verdict:
    """The verdict on a motion caption; `none` never passes."""
    score = purity(wording)

    def refuse(reason: str, offending: tuple[str, ...] = ()) -> Verdict:
        return Verdict(False, reason, offending, score)

    words, abstract = words_of(wording), listed("abstract_nouns")
    if wording.strip().rstrip(".!").lower() in EMPTY:
        return refuse("none")
    if found := markup_in(wording, words):
        return refuse("markup", found)
    if found := foreign_in(wording, words):
        return refuse("language", found)
    if found := denied_in(words):
        return refuse("negated", found)
    if score.words < gate.min_words:
        return refuse("too_short")
    if score.words > gate.max_words:
        return refuse("too_long")
    leaks = [token for token in tokens(wording) if token.kind in LEAKS]
    offending = tuple(dict.fromkeys(token.text.lower() for token in leaks))
    if not score.density:
        return refuse("no_motion", offending)
    if leaks:
        return refuse(leaks[0].kind.lower(), offending)
    ideas = [word.low for word in words if word.part == "N" and word.lemma in abstract]
    if ideas:
        return refuse("abstract", tuple(ideas))
    if score.value < gate.min_purity:
        return refuse("impure")
    return Verdict(True, None, (), score)
