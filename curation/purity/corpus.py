"""What a corpus of captions is like: purity and variety, of the stock captions and the new ones.

Figures of all captions are added up one after another, so memory does not grow with them; only
the tallies of words do, as far as there are different ones.
"""

import math
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from curation.clip import UNKNOWN
from curation.purity.score import (
    Decoupling,
    Purity,
    decoupling,
    motion_lemmas,
    purity,
    subject_of,
    tokens,
)

HISTOGRAM_BINS = 20  # of purity, over 0 … 1
TOP_VERBS = 20
MEASURES = ("density", "leakage", "camera", "value")
KEPT = ("removal", "kept", "score", "novel")
LEAKING = ("SCENE", "APPEARANCE", "MEDIA")  # of LEAKS those that L counts; camera words are K


@dataclass
class Mean:
    """A mean that is added up; None was not there."""

    total: float = 0.0
    n: int = 0

    def add(self, value: float | None) -> None:
        """Take in a value, if there is one."""
        if value is not None and math.isfinite(value):
            self.total += value
            self.n += 1

    @property
    def value(self) -> float | None:
        """The mean, None of nothing."""
        return self.total / self.n if self.n else None


@dataclass
class Side:
    """All that is counted of one of the two captions of the clips."""

    captions: int = 0
    unknown: int = 0
    means: dict[str, Mean] = field(default_factory=lambda: {name: Mean() for name in MEASURES})
    leaking: dict[str, Mean] = field(default_factory=lambda: {name: Mean() for name in LEAKING})
    histogram: list[int] = field(default_factory=lambda: [0] * HISTOGRAM_BINS)
    verbs: Counter[str] = field(default_factory=Counter)
    deeds: Counter[tuple[str, ...]] = field(default_factory=Counter)

    def add(self, text: str) -> Purity | None:
        """Take in a caption; return its purity, None for `none`."""
        self.captions += 1
        if text == UNKNOWN:
            self.unknown += 1
            return None
        found, verbs = purity(text), motion_lemmas(text)
        for name, mean in self.means.items():
            mean.add(getattr(found, name))
        place = min(max(int(found.value * HISTOGRAM_BINS), 0), HISTOGRAM_BINS - 1)
        self.histogram[place] += 1
        kinds = Counter(word.kind for word in tokens(text))
        for name, mean in self.leaking.items():
            mean.add(kinds[name] / max(found.content, 1))
        self.verbs.update(verbs)
        if verbs:
            self.deeds[(subject_of(text), *verbs)] += 1
        return found

    def to_json(self) -> dict[str, Any]:
        """The figures, None where there is nothing to divide by."""
        deeds = self.deeds.total()
        return {
            "captions": self.captions,
            "none_share": _share(self.unknown, self.captions),
            **{name: mean.value for name, mean in self.means.items()},
            "leaking": {name.lower(): mean.value for name, mean in self.leaking.items()},
            "histogram": self.histogram,
            "verbs": len(self.verbs),
            "verb_entropy": entropy(self.verbs),
            "top_verbs": self.verbs.most_common(TOP_VERBS),
            "top_verb_share": _share(
                sum(count for _, count in self.verbs.most_common(TOP_VERBS)), self.verbs.total()
            ),
            "duplicate_share": None if not deeds else 1 - len(self.deeds) / deeds,
            "top_deeds": [[" ".join(deed), n] for deed, n in self.deeds.most_common(TOP_VERBS)],
        }


@dataclass
class Corpus:
    """The clips of a corpus, added up: stock captions, motion captions, one against the other."""

    before: Side = field(default_factory=Side)
    after: Side = field(default_factory=Side)
    means: dict[str, Mean] = field(default_factory=lambda: {name: Mean() for name in KEPT})
    categories: Counter[str] = field(default_factory=Counter)

    def add(self, original: str, wording: str, category: str) -> dict[str, float | None]:
        """Take in a clip; return its figures, named as in `purity.parquet`."""
        old, new = self.before.add(original), self.after.add(wording)
        self.categories[category] += 1
        both: Decoupling | None = None
        if old is not None and new is not None:
            both = decoupling(original, wording)
            for name, mean in self.means.items():
                mean.add(getattr(both, name))
        return {
            **{f"{name}_before": getattr(old, name, None) for name in MEASURES},
            **{f"{name}_after": getattr(new, name, None) for name in MEASURES},
            **{name: getattr(both, name, None) for name in KEPT},
        }

    def to_json(self) -> dict[str, Any]:
        """The figures."""
        known = Counter({name: n for name, n in self.categories.items() if name != UNKNOWN})
        return {
            "before": self.before.to_json(),
            "after": self.after.to_json(),
            **{name: mean.value for name, mean in self.means.items()},
            "categories": dict(self.categories.most_common(100)),
            "category_entropy": entropy(known),
            "no_category_share": _share(self.categories[UNKNOWN], self.categories.total()),
        }


def entropy(counts: Counter[str]) -> float | None:
    """Shannon's entropy of counts in bits; None of nothing."""
    total = counts.total()
    if not total:
        return None
    return -sum(n / total * math.log2(n / total) for n in counts.values() if n)


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None
