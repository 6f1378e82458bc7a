"""Metrics of single videos: CLIP-SIM, PIC, frame consistency, flicker.

Each is a mean over videos of a mean over frames, so a long video weighs no more than a short one.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from dynamicrafter.errors import InputError


@dataclass(frozen=True)
class Similarity:
    """`value` is the mean of `per_video` `[count]`."""

    value: float
    per_video: np.ndarray
    count: int


@dataclass(frozen=True)
class PerceptualConformity:
    """PIC: `value` over all frames, `value_without_first` over all but the first of each video.

    The first frame often is the input itself; `per_frame` `[t]` shows how likeness decays.
    """

    value: float
    value_without_first: float
    per_video: np.ndarray  # [count]
    per_frame: np.ndarray  # [t]
    count: int


def clip_sim(images: Sequence[np.ndarray], texts: np.ndarray) -> Similarity:
    """Mean cosine of each video's frames with its text.

    Args:
        images: for each video its frames' embeddings `[t, d]`; t may differ. Any norm but 0.
        texts: the texts' embeddings `[videos, d]`.

    Raises:
        InputError: no video, not one text for each, an empty video, a vector without direction.
    """
    return _over_videos([cosines.mean() for cosines in frame_text_cosines(images, texts)])


def frame_text_cosines(images: Sequence[np.ndarray], texts: np.ndarray) -> list[np.ndarray]:
    """Cosine of each frame with its video's text, `[t]` for each video; arguments as `clip_sim`'s.

    Raises:
        InputError: not one text for each video, an empty video, a vector without direction.
    """
    if len(images) != len(texts):
        raise InputError(f"{len(images)} videos need as many texts, not {len(texts)}")
    return [_unit(frames) @ _unit(text) for frames, text in zip(images, texts, strict=True)]


def frame_consistency(images: Sequence[np.ndarray]) -> Similarity:
    """Mean cosine of consecutive frames' embeddings `[t, d]`, t at least 2, for each video.

    Raises:
        InputError: no video, a video of one frame, a vector without direction.
    """
    if any(len(frames) < 2 for frames in images):
        raise InputError("frame consistency needs 2 frames of each video")
    units = [_unit(frames) for frames in images]
    return _over_videos([(u[1:] * u[:-1]).sum(axis=1).mean() for u in units])


def dreamsim_distance(inputs: np.ndarray, frames: np.ndarray) -> np.ndarray:
    """DreamSim's head: centre each embedding over its features, normalise, 1 - cosine.

    Args:
        inputs: embeddings of the condition images `[videos, d]`.
        frames: embeddings of the videos' frames `[videos, t, d]`.

    Returns:
        `[videos, t]`, 0 for equal images.

    Raises:
        InputError: a vector without direction.
    """
    inputs, frames = np.asarray(inputs, np.float64), np.asarray(frames, np.float64)
    inputs = _unit(inputs - inputs.mean(axis=-1, keepdims=True))
    frames = _unit(frames - frames.mean(axis=-1, keepdims=True))
    return 1 - np.einsum("vd,vtd->vt", inputs, frames)


def perceptual_conformity(distance: np.ndarray) -> PerceptualConformity:
    """PIC, the mean of 1 - D over a video's frames, from distances `[videos, t]`, t at least 2.

    Raises:
        InputError: not such an array, or values that are not finite.
    """
    distance = np.asarray(distance, np.float64)
    if distance.ndim != 2 or len(distance) == 0 or distance.shape[1] < 2:
        raise InputError(f"PIC takes distances [videos, t >= 2], not {distance.shape}")
    if not np.isfinite(distance).all():
        raise InputError("some DreamSim distances are not finite; look at their videos")
    likeness = 1 - distance
    return PerceptualConformity(
        float(likeness.mean()),
        float(likeness[:, 1:].mean()),
        likeness.mean(axis=1),
        likeness.mean(axis=0),
        len(distance),
    )


def flicker(videos: Sequence[np.ndarray]) -> Similarity:
    """VBench's temporal flickering, 1 for a still: (255 - mean |difference of neighbours|) / 255.

    Args:
        videos: uint8 `[t, h, w, 3]` each, t at least 2.

    Raises:
        InputError: not uint8, or a video of one frame.
    """
    return _over_videos([(255 - float(frame_changes(video).mean())) / 255 for video in videos])


def frame_changes(video: np.ndarray) -> np.ndarray:
    """Mean |difference| of each frame from the one before, 0 to 255, `[t - 1]`.

    Raises:
        InputError: not uint8, or one frame alone.
    """
    if video.dtype != np.uint8 or len(video) < 2:
        raise InputError(f"flicker takes uint8 videos of 2 frames, not {video.dtype}, {len(video)}")
    pairs = zip(video[1:], video[:-1], strict=True)
    return np.array([np.abs(after.astype(np.int16) - before).mean() for after, before in pairs])


def _over_videos(per_video: Sequence[float]) -> Similarity:
    values = np.asarray(per_video, np.float64)
    if len(values) == 0:
        raise InputError("there is no video to measure")
    return Similarity(float(values.mean()), values, len(values))


def _unit(vectors: np.ndarray) -> np.ndarray:
    """Vectors `[..., d]` scaled to length 1."""
    vectors = np.asarray(vectors, np.float64)
    norms = np.linalg.norm(vectors, axis=-1, keepdims=True)
    if vectors.size == 0 or not (np.isfinite(norms).all() and (norms > 0).all()):
        raise InputError("some embeddings are empty, zero or not finite")
    return vectors / norms
