"""The page on which captions are judged: one file, whose videos lie beside it."""

from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Any

from markupsafe import Markup

from curation.commands.captioned import Captioned
from curation.commands.coloured import coloured, legend, style
from dynamicrafter import pages
from dynamicrafter.pages.tables import ABSENT

MOST_CHARACTERS = 300  # of a wording that a reviewer writes


@dataclass(frozen=True)
class Shown:
    """A clip on the page.

    Attributes:
        clip: its captions and what is known of it.
        purity: of the motion caption, None of `none`.
        seconds: how long it is.
        object_curve: speed of what moves over the clip, frame diagonals/s; empty: not measured.
        camera_curve: likewise, of the camera.
        may_be_passed_on: whether its source lets its media leave this machine.
    """

    clip: Captioned
    purity: float | None
    seconds: float
    object_curve: Sequence[float]
    camera_curve: Sequence[float]
    may_be_passed_on: bool


def page(digest: str, shown: Sequence[Shown]) -> str:
    """`review.html` of these clips, in their order.

    Args:
        digest: of the content, which the answers carry.
        shown: the clips.
    """
    values = {
        "digest": digest,
        "clips": [_values(one) for one in shown],
        "legend": legend(),
        "most_characters": MOST_CHARACTERS,
        "kept_here": sum(not one.may_be_passed_on for one in shown),
    }
    return pages.render(
        "review.html",
        values,
        "curation.commands",
        script=_own("review.js"),
        style=style() + pages.form_style() + _own("review.css"),
    )


def _values(one: Shown) -> dict[str, Any]:
    clip = one.clip
    facts = {
        "Category": clip.category.replace("_", " "),
        "Confidence": _number(clip.confidence, 0),
        "Purity": _number(one.purity, 2),
        "Object motion": _percent(clip.object_motion),
        "Source": clip.source,
        "Worded by": clip.said_by.replace("_", " "),
    }
    return {
        "key": clip.key,
        "wording": clip.wording,
        "original_words": coloured(clip.original),
        "wording_words": coloured(clip.wording),
        "facts": facts,
        "curve": _curve(one),
    }


def _curve(one: Shown) -> Markup | None:
    series = []
    for name, values in (("objects", one.object_curve), ("camera", one.camera_curve)):
        if values:
            step = one.seconds / len(values)
            times = [(i + 0.5) * step for i in range(len(values))]
            series.append(pages.Series(name, times, [100 * value for value in values]))
    return (
        pages.line_chart(series, "Measured motion", "s", "% of the diagonal/s") if series else None
    )


def _number(value: float | None, digits: int) -> str:
    return ABSENT if value is None else f"{value:.{digits}f}"


def _percent(speed: float | None) -> str:
    return ABSENT if speed is None else f"{100 * speed:.2f} % of the diagonal/s"


def _own(name: str) -> str:
    return resources.files("curation.commands").joinpath(name).read_text(encoding="utf-8")
