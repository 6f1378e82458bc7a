"""How well the stock caption fits the picture: cosines of CLIP embeddings."""

from dataclasses import dataclass
from typing import Any

from curation.clip import UNKNOWN
from curation.measures import clip_model
from curation.measures.contract import Column, Footage, Measure


@dataclass(frozen=True)
class AlignmentSettings:
    """`alignment` of conf/measures, where each setting is explained."""

    checkpoint: str | None
    model: str
    frames: int
    device: str


def measure(footage: Footage, settings: AlignmentSettings) -> dict[str, Any]:
    """Cosines of the caption with the frames; nothing for an unknown caption."""
    if footage.caption == UNKNOWN or settings.checkpoint is None:
        return {"clip_alignment": None, "clip_alignment_first": None}
    clip = clip_model.load(settings.checkpoint, settings.model, settings.device)
    images = clip_model.frame_embeddings(clip, footage.frames, settings.frames)  # [n, d]
    (text,) = clip_model.normalised(clip.texts([footage.caption]))  # [d]
    cosines = images @ text  # [n]
    return {"clip_alignment": float(cosines.mean()), "clip_alignment_first": float(cosines[0])}


MEASURE = Measure(
    name="alignment",
    version=1,
    columns={
        "clip_alignment": Column("cosine of caption and frames, mean, -1 to 1"),
        "clip_alignment_first": Column("cosine of caption and first frame, -1 to 1"),
    },
    reads_caption=True,
    compute=measure,
    settings=AlignmentSettings,
    absent=lambda settings: clip_model.missing(
        "measures.alignment.checkpoint", settings.checkpoint
    ),
    weights=lambda settings: clip_model.digest(settings.checkpoint),
)
