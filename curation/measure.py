"""The unit of measuring: one span of one file, decoded once.

Each shot that begins in the span is measured from the frames in memory, and encoded as a sample if
it passes the per-clip filters of the day. The result is one JSON file; it is there, with the right
digest, or the span is measured anew.
"""

import itertools
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from curation.decide import Filters, reason_to_drop
from curation.measures.action import guess_action
from curation.measures.exposure import black_share, frozen_share
from curation.measures.phash import clip_phash
from curation.shots import Shot, lead_in_s, mark_cuts, split_into_shots
from dynamicrafter.errors import MediaError
from dynamicrafter.files import sha256_json, write_bytes, write_json
from dynamicrafter.media.decode import iterate_frames
from dynamicrafter.media.encode import encode_mp4
from dynamicrafter.media.motion import measure_motion
from dynamicrafter.shards import sample_key

VERSION = 1
"""Raised when a measure changes its meaning, so that stored figures are measured again."""

CLIPS, MEASURES = "clips", "measures"


@dataclass
class MeasureSettings:
    """`measure` of conf/curate.yaml, where each setting is explained."""

    span_s: float
    max_shot_s: float
    min_shot_frames: int
    cut_ratio: float
    cut_difference: float
    short_side: int
    action: bool


@dataclass(frozen=True)
class Span:
    """A unit of work: the shots of a clip that begin in [start_s, end_s)."""

    clip_id: str
    path: str
    sha256: str  # of the file
    fps: float
    clip_start_s: float
    clip_end_s: float  # inf: to the end of the file
    start_s: float
    end_s: float

    @property
    def name(self) -> str:
        """Name of its result file: the clip's key and where in the file the span begins."""
        return f"{sample_key(self.clip_id)}.{round(self.start_s * 1000)}.json"

    def measure_digest(self, settings: MeasureSettings, action_weights: Path | None) -> str:
        """Digest of all that the measures of the clip's shots depend on, which spans are not."""
        relevant = {key: value for key, value in asdict(settings).items() if key != "span_s"}
        times = [repr(self.clip_start_s), repr(self.clip_end_s)]
        return sha256_json([VERSION, self.sha256, times, relevant, action_weights is not None])

    def digest(self, settings: MeasureSettings, action_weights: Path | None) -> str:
        """Digest of all that the content of its result file depends on."""
        times = [repr(self.start_s), repr(self.end_s)]
        return sha256_json([self.measure_digest(settings, action_weights), times])


def measure_span(
    span: Span,
    settings: MeasureSettings,
    filters: Filters,
    action_weights: Path | None,
    folder: Path,
) -> None:
    """Measure a span and leave `<folder>/measures/<name>` and the clips that pass `filters`.

    A file that breaks off keeps the shots before the defect, with the reason on record.
    """
    result: dict[str, Any] = {
        "digest": span.digest(settings, action_weights),
        "clip_id": span.clip_id,
        "shots": [],
        "error": None,
    }
    try:
        for shot in _shots(span, settings):
            row = describe_shot(span, shot, settings, action_weights)
            if reason_to_drop(row, filters) is None:
                write_bytes(clip_path(row, folder), encode_mp4(shot.frames, span.fps))
            result["shots"].append(row)
    except MediaError as error:
        result["error"] = {"reason": error.reason, "message": str(error)}
    write_json(folder / MEASURES / span.name, result)


def _shots(span: Span, settings: MeasureSettings):
    begin = max(span.clip_start_s, span.start_s - lead_in_s(settings.max_shot_s))
    frames = (
        (time_s, frame)
        for time_s, frame in iterate_frames(span.path, begin, settings.short_side)
        if time_s < span.clip_end_s
    )
    return split_into_shots(
        mark_cuts(frames, settings.cut_ratio, settings.cut_difference),
        span=(span.start_s, span.end_s),
        from_beginning=begin == span.clip_start_s,
        max_shot_s=settings.max_shot_s,
        frame_s=1 / span.fps,
    )


def describe_shot(
    span: Span, shot: Shot, settings: MeasureSettings, action_weights: Path | None
) -> dict[str, Any]:
    """The row of a shot: where it lies and its measures (units in `curation.measures.UNITS`).

    A shot of fewer than `min_shot_frames` is recorded as `too_short` and not measured.
    """
    row: dict[str, Any] = {
        "key": sample_key(span.clip_id, (shot.start_s, shot.end_s)),
        "clip_id": span.clip_id,
        "start_s": shot.start_s,
        "end_s": shot.end_s,
        "frames": len(shot.frames),
        "fps": span.fps,
        "height": shot.frames[0].shape[0] // 2 * 2,  # as encoded
        "width": shot.frames[0].shape[1] // 2 * 2,
        "digests": {
            "source": span.sha256,
            "measure": span.measure_digest(settings, action_weights),
        },
        "too_short": len(shot.frames) < max(settings.min_shot_frames, 2),
        "measures": None,
    }
    if not row["too_short"]:
        motion = measure_motion(shot.frames, span.fps)
        row["measures"] = {
            "object_motion": motion.object_speed,
            "camera_motion": motion.camera_speed,
            "motion_direction": motion.direction_deg,
            "motion_coherence": motion.coherence,
            "motion_curve": [round(speed, 5) for speed in motion.object_curve],
            "black_share": black_share(shot.frames),
            "frozen_share": frozen_share(shot.frames),
            "phash": clip_phash(shot.frames),
            "action": None,
            "action_probability": None,
        }
        if action_weights is not None:
            label, probability = guess_action(shot.frames, action_weights)
            row["measures"] |= {"action": label, "action_probability": probability}
    return row


def clip_path(row: dict[str, Any], folder: Path) -> Path:
    """Where the encoded clip of a row lies; its name changes with whatever changes its content."""
    return folder / CLIPS / f"{row['key']}.{row['digests']['measure'][:8]}.mp4"


def encode_again(job: tuple[dict[str, Any], Path], short_side: int, folder: Path) -> None:
    """Decode a (row, path of its file) again and encode it: the same frames, so the same bytes."""
    row, path = job
    frames = (frame for _, frame in iterate_frames(path, row["start_s"], short_side))
    clip = encode_mp4(itertools.islice(frames, row["frames"]), row["fps"])
    write_bytes(clip_path(row, folder), clip)
