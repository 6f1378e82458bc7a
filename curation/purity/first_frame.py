"""First-frame leakage: how much of a motion caption the first frame gives away, seen by CLIP.

    leakage = s(caption, first frame) - s(caption without its motion words, first frame)
    growth  = mean over the frames of s(caption, frame) - s(caption, first frame)

s is the cosine of CLIP's embeddings. A caption of pure motion has a low leakage, for a still does
not show it, and no negative growth.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from curation.clip import UNKNOWN
from curation.measures.clip_model import normalised
from curation.purity.score import tokens

if TYPE_CHECKING:
    from dynamicrafter.features.clip import Clip


@dataclass(frozen=True)
class FirstFrame:
    """Of a caption: `leakage` and `growth`, both differences of cosines."""

    leakage: float
    growth: float


def without_motion(text: str) -> str:
    """A caption without its motion words; empty where it has no others."""
    left, end = [], 0
    for token in tokens(text):
        if token.kind == "MOTION":
            left.append(text[end : token.start])
            end = token.end
    return " ".join("".join([*left, text[end:]]).split()).strip(" .,;")


def first_frame(clip: "Clip", images: np.ndarray, caption: str) -> FirstFrame | None:
    """What the first frame tells of a caption.

    Args:
        clip: the network.
        images: float32 [n, d], embeddings of length 1 of frames, the first frame first.
        caption: a stock caption or a motion caption.

    Returns:
        None where the caption is unknown or has no words besides motion, or none of motion.
    """
    rest = without_motion(caption)
    if caption == UNKNOWN or not rest or rest == caption.strip(" .,;"):
        return None
    whole, ground = normalised(clip.texts([caption, rest]))  # [d] each
    cosines = images @ whole  # [n]
    leakage = float(cosines[0] - images[0] @ ground)
    return FirstFrame(leakage, float(cosines.mean() - cosines[0]))
