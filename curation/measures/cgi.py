"""Graphics instead of footage: what the caption admits, and what a classifier of yours sees.

The words are in `cgi_keywords.txt`, with the false friends among them. A caption only tells what
its writer thought worth telling, so a hook looks at the frames: a function that takes frames
(uint8 RGB [h, w, 3] each) and returns a probability.
"""

import functools
import importlib
import inspect
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from curation.clip import UNKNOWN
from curation.measures.contract import Column, Footage, Measure
from dynamicrafter.errors import InputError
from dynamicrafter.files import sha256_file, sha256_json

KEYWORDS = Path(__file__).with_name("cgi_keywords.txt")

Classifier = Callable[[Sequence[np.ndarray]], float]


@dataclass(frozen=True)
class CgiSettings:
    """`cgi` of conf/measures, where each setting is explained."""

    classifier: str | None


def cgi_words(caption: str) -> list[str]:
    """The keywords in a caption, each once, in the order of their occurrence."""
    words, friends = _patterns()
    caption = re.sub(r"\b([234])[\s-]([dk])\b", r"\1\2", caption.casefold())  # 3-D, 4 K
    caption = friends.sub(" · ", caption)
    found = (" ".join(re.split(r"[\s_-]+", match[0])) for match in words.finditer(caption))
    return list(dict.fromkeys(found))


def load_classifier(name: str) -> Classifier:
    """The function that `package.module:function` names.

    Raises:
        InputError: there is none that could be imported.
    """
    module, colon, function = name.partition(":")
    if not (module and colon and function):
        raise InputError(f"measures.cgi.classifier={name}: write package.module:function")
    try:
        found = getattr(importlib.import_module(module), function)
    except Exception as error:  # noqa: BLE001 - foreign code may raise anything at its import
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        raise InputError(
            f"measures.cgi.classifier={name} cannot be imported ({reason}); "
            "install its package or put its folder on PYTHONPATH"
        ) from None
    if not callable(found):
        raise InputError(f"measures.cgi.classifier={name} is a {type(found).__name__}, no function")
    return found


@functools.cache
def _patterns() -> tuple[re.Pattern[str], re.Pattern[str]]:
    """What the keywords match, and what their false friends match."""
    lines = [line.strip() for line in KEYWORDS.read_text(encoding="utf-8").splitlines()]
    phrases = [line.casefold() for line in lines if line and not line.startswith("#")]
    friends = [phrase.removeprefix("not ") for phrase in phrases if phrase.startswith("not ")]
    words = [phrase for phrase in phrases if not phrase.startswith("not ")]
    return _pattern(words), _pattern(friends)


def _pattern(phrases: Sequence[str]) -> re.Pattern[str]:
    longest_first = sorted(phrases, key=len, reverse=True)
    parts = (r"[\s_-]*".join(map(re.escape, phrase.split())) for phrase in longest_first)
    return re.compile(rf"(?<![^\W_])(?:{'|'.join(parts)})s?(?![^\W_])")


def measure(footage: Footage, settings: CgiSettings) -> dict[str, Any]:
    """Keywords of the caption, and the probability that the classifier gives."""
    known = footage.caption != UNKNOWN
    words = cgi_words(footage.caption) if known else []
    return {
        "cgi_caption": bool(words) if known else None,
        "cgi_words": ", ".join(words) or None,
        "cgi_probability": _probability(footage.frames, settings.classifier),
    }


def _probability(frames: Sequence[np.ndarray], name: str | None) -> float | None:
    if name is None:
        return None
    answer = load_classifier(name)(frames)
    try:
        probability = float(answer)
    except (TypeError, ValueError):
        probability = -1.0
    if not 0 <= probability <= 1:  # NaN is not either
        raise InputError(f"measures.cgi.classifier={name} returned {answer!r}, no number in [0, 1]")
    return probability


def _digest(settings: CgiSettings) -> str:
    """Digest of the keywords and of the classifier: its name and, where it has one, its file."""
    parts = [sha256_file(KEYWORDS), settings.classifier]
    if settings.classifier is not None:
        classifier = load_classifier(settings.classifier)
        module = inspect.getmodule(classifier)
        file = Path(getattr(module, "__file__", None) or "")
        parts.append(sha256_file(file) if file.is_file() else None)
    return sha256_json(parts)


MEASURE = Measure(
    name="cgi",
    version=1,
    columns={
        "cgi_caption": Column("the caption names graphics", "flag"),
        "cgi_words": Column("words of the caption that name graphics", "text"),
        "cgi_probability": Column("0 to 1, by the classifier that was set"),
    },
    reads_caption=True,
    compute=measure,
    settings=CgiSettings,
    weights=_digest,
)
