"""What is said of a clip's motion, whoever says it."""

from dataclasses import asdict, dataclass
from typing import Any

from curation.clip import UNKNOWN


@dataclass(frozen=True)
class Caption:
    """What a captioner says of a clip; unknown is `none`, and nothing is ever empty."""

    dynamic_wording: str  # the motion caption, also the sample's text
    dynamic_confidence: int | str  # 0 … 100: how sure that something moves besides the camera; none
    dynamic_source_category: str
    annotated: str  # the wording with its guesses marked and quantified
    source: str  # who said it: embedded, stated, vlm_pixels, vlm_text
    speed: str = UNKNOWN
    camera: str = UNKNOWN
    purity: float | None = None  # 0 … 1, of the wording, if a gate looked at it
    model: str = UNKNOWN  # name and revision
    prompt: str = UNKNOWN  # name@first 8 digits of its digest


@dataclass(frozen=True)
class Said:
    """The outcome for a clip: a caption, or why there is none worth keeping.

    Attributes:
        caption: of the clip; all `none` where `reason` is given.
        reason: a short word where nothing good was said, else None.
        asked_again: whether the model was told what was wrong with its first answer.
        stripped: whether words were taken out of what it said.
        last_wording: what it said last, where that was refused.
        verdict: the gate's word for why (`curation/purity/gate.py`).
        offending: the words for which it was refused.
    """

    caption: Caption
    reason: str | None = None
    asked_again: bool = False
    stripped: bool = False
    last_wording: str | None = None
    verdict: str | None = None
    offending: tuple[str, ...] = ()

    def row(self) -> dict[str, Any]:
        """As a row of a table; see `CAPTION_COLUMNS` of the pass."""
        own = asdict(self)
        caption = own.pop("caption")
        sure = caption["dynamic_confidence"]
        caption["dynamic_confidence"] = None if sure == UNKNOWN else sure
        return {**caption, **own, "offending": list(self.offending)}


def caption_of(row: dict[str, Any]) -> Caption:
    """The caption of such a row."""
    sure = row["dynamic_confidence"]
    names = Caption.__dataclass_fields__
    return Caption(
        **{name: row[name] for name in names if name != "dynamic_confidence"},
        dynamic_confidence=UNKNOWN if sure is None else sure,
    )
