"""The thresholds: which shots stay, and why the others do not.

Figures are stored for every shot and thresholds are applied late, so another one costs seconds. All
rules look at whole columns at once; the first that applies gives the reason.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from dynamicrafter.errors import InputError

UNREADABLE, TOO_SHORT = "unreadable", "too_short"
OPTED_OUT, DUPLICATE_ID, NEAR_DUPLICATE = "opted_out", "duplicate_id", "near_duplicate"
NOT_ENCODED, NOT_CAPTIONED = "not_encoded", "not_captioned"
ON_MISSING = ("refuse", "keep", "drop")

Columns = dict[str, np.ndarray]
"""Column → values; NaN where a number is unknown, None where anything else is."""

SPLITS = ("train", "test")

SPLIT_KEYS = {"video": "video_id", "clip": "clip_id", "shot": "key"}
"""What stays together in one split → the column that is hashed."""


@dataclass
class Filters:
    """`filters` of conf/curate.yaml, where each threshold is explained. Null switches one off."""

    max_black_share: float | None
    max_frozen_share: float | None
    min_object_motion: float | None
    max_camera_motion: float | None
    camera_dominance: float
    min_sharpness: float | None
    max_letterbox_share: float | None
    max_text_share: float | None
    max_static_text_share: float | None
    drop_watermarked: bool
    drop_cgi: bool
    max_cgi_probability: float | None
    min_clip_alignment: float | None
    min_aesthetic: float | None
    min_dynamic_confidence: float | None
    max_phash_distance: int | None
    on_missing: str
    test_share: float
    split_by: str

    def __post_init__(self) -> None:
        if self.split_by not in SPLIT_KEYS:
            raise InputError(
                f"filters.split_by is {self.split_by!r}; choose one of {', '.join(SPLIT_KEYS)}"
            )
        if self.on_missing not in ON_MISSING:
            raise InputError(
                f"filters.on_missing is {self.on_missing!r}; choose one of {', '.join(ON_MISSING)}"
            )
        if not 0 <= self.test_share <= 1:
            raise InputError(f"filters.test_share is {self.test_share:g}, not 0 to 1")


@dataclass(frozen=True)
class Rule:
    """A filter: its reason, the threshold that switches it on, and whom it drops."""

    reason: str
    threshold: str  # field of Filters
    measures: tuple[str, ...]  # columns that it looks at
    drops: Callable[[Columns, Filters], np.ndarray]

    def is_on(self, filters: Filters) -> bool:
        """Whether the threshold is set."""
        return getattr(filters, self.threshold) not in (None, False)


def _above(reason: str, measure: str, threshold: str) -> Rule:
    return Rule(
        reason, threshold, (measure,), lambda c, f: c[measure].astype(float) > getattr(f, threshold)
    )


def _below(reason: str, measure: str, threshold: str) -> Rule:
    return Rule(
        reason, threshold, (measure,), lambda c, f: c[measure].astype(float) < getattr(f, threshold)
    )


def _flagged(reason: str, measure: str, threshold: str) -> Rule:
    return Rule(reason, threshold, (measure,), lambda c, f: c[measure] == True)  # noqa: E712


def _camera_dominates(columns: Columns, filters: Filters) -> np.ndarray:
    """The camera is fast and leaves the objects behind."""
    camera = columns["camera_motion"].astype(float)
    objects = columns["object_motion"].astype(float)
    fast = camera > filters.max_camera_motion
    return fast & (camera > filters.camera_dominance * objects)


RULES = (
    _above("black", "black_share", "max_black_share"),
    _above("frozen", "frozen_share", "max_frozen_share"),
    _below("still", "object_motion", "min_object_motion"),
    Rule(
        "camera_dominated",
        "max_camera_motion",
        ("camera_motion", "object_motion"),
        _camera_dominates,
    ),
    _below("blurred", "sharpness", "min_sharpness"),
    _above("letterboxed", "letterbox_share", "max_letterbox_share"),
    _above("text", "text_share", "max_text_share"),
    _above("static_text", "static_text_share", "max_static_text_share"),
    _flagged("watermarked", "watermark", "drop_watermarked"),
    _flagged("cgi", "cgi_caption", "drop_cgi"),
    _above("cgi_picture", "cgi_probability", "max_cgi_probability"),
    _below("misaligned", "clip_alignment", "min_clip_alignment"),
    _below("unaesthetic", "aesthetic", "min_aesthetic"),
    _below("not_dynamic", "stated_confidence", "min_dynamic_confidence"),
)
"""In the order in which they are applied."""

STEPS = (
    UNREADABLE,
    TOO_SHORT,
    OPTED_OUT,
    *(rule.reason for rule in RULES),
    DUPLICATE_ID,
    NEAR_DUPLICATE,
    NOT_ENCODED,
    NOT_CAPTIONED,
)
"""The steps of the funnel."""


def active_rules(filters: Filters) -> list[Rule]:
    """The rules that are switched on."""
    return [rule for rule in RULES if rule.is_on(filters)]


def needed_measures(filters: Filters) -> set[str]:
    """The columns that the active rules and the search for near copies look at."""
    needed = {name for rule in active_rules(filters) for name in rule.measures}
    return needed | ({"phash"} if filters.max_phash_distance is not None else set())


def refuse_absent(filters: Filters, there: Sequence[str], reasons: dict[str, str]) -> None:
    """Stop before a filter over a measure that is absent would keep or drop everything.

    Args:
        filters: the thresholds.
        there: columns that are measured.
        reasons: column → why it is not.

    Raises:
        InputError: a filter looks at a column that is not there and `on_missing` is `refuse`.
    """
    if filters.on_missing != "refuse":
        return
    for name in sorted(needed_measures(filters) - set(there)):
        rule = next((rule for rule in active_rules(filters) if name in rule.measures), None)
        threshold = rule.threshold if rule else "max_phash_distance"
        raise InputError(
            f"filters.{threshold} needs the measure {name}, which is absent "
            f"({reasons.get(name, 'it is not used: see conf/measures')}); measure it, set "
            f"filters.{threshold}=null, or pass filters.on_missing=keep or drop"
        )


def judge(columns: Columns, filters: Filters) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """The reason to drop each measured row, and which rows a rule could not judge.

    Args:
        columns: columns of rows that were measured; an absent one is not in it.
        filters: the thresholds.

    Returns:
        object [n] of reasons or None; reason of the rule → bool [n], where a value was unknown to
        it and the row had passed the rules before.
    """
    count = len(next(iter(columns.values()))) if columns else 0
    reasons = np.full(count, None, object)
    unknown: dict[str, np.ndarray] = {}
    for rule in active_rules(filters):
        open_rows = reasons == None  # noqa: E711 - element by element
        if set(rule.measures) <= columns.keys():
            unsure = np.any([_is_unknown(columns[name]) for name in rule.measures], axis=0)
            drops = rule.drops(columns, filters) & ~unsure
        else:
            unsure, drops = np.ones(count, bool), np.zeros(count, bool)
        unknown[rule.reason] = unsure & open_rows
        if filters.on_missing == "drop":
            drops = drops | unsure
        reasons[drops & open_rows] = rule.reason
    return reasons, unknown


def _is_unknown(values: np.ndarray) -> np.ndarray:
    if values.dtype == object:
        return np.array([value is None for value in values], bool)
    return np.isnan(values) if values.dtype.kind == "f" else np.zeros(len(values), bool)


def threshold_names() -> list[str]:
    """The fields of `Filters` that a sweep may vary."""
    fixed = {"on_missing", "test_share", "split_by"}
    return [field.name for field in fields(Filters) if field.name not in fixed]


def with_threshold(filters: Filters, name: str, value: Any) -> Filters:
    """A copy with another value of one threshold."""
    values = {field.name: getattr(filters, field.name) for field in fields(Filters)}
    return Filters(**{**values, name: value})
