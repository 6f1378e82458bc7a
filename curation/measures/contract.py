"""What a measure is: a pure function of a shot, its columns with their units, its version."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

SAMPLES_PER_SECOND = 8.0
"""How often a shot is looked at in full; what lies between is seen small."""


@dataclass(frozen=True)
class Footage:
    """What measures see of a shot."""

    frames: Sequence[np.ndarray]  # uint8 RGB [h, w, 3], SAMPLES_PER_SECOND of them, at least 2
    times: Sequence[float]  # seconds of each of them in the file, ascending
    tiny: Sequence[np.ndarray]  # uint8 BGR [h', w', 3], every frame, short side of 72 pixels
    caption: str  # the stock caption, or `none`


@dataclass(frozen=True)
class Column:
    """A value of a measure; every one may be null."""

    unit: str
    kind: Literal["number", "text", "flag", "numbers"] = "number"


@dataclass(frozen=True)
class Measure:
    """A measure, as its module states it.

    Two runs with equal name, version, settings and weights give equal values, so stored ones are
    taken over. `version` is raised when the values change their meaning.
    """

    name: str
    version: int
    columns: dict[str, Column]
    compute: Callable[[Footage, Any], dict[str, Any]]  # (footage, settings) → a value a column
    settings: type | None = None  # dataclass of the settings, in conf/measures/; None: it has none
    reads_caption: bool = False  # whether the values depend on the stock caption
    absent: Callable[[Any], str] = lambda settings: ""  # why it cannot be computed here; "": it can
    weights: Callable[[Any], str] = lambda settings: ""  # digest of the weights that it reads
