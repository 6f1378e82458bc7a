"""How much moves in a clip, with the camera's motion told from that of the objects.

Dense optical flow between frames an eighth of a second apart; a similarity transform (pan, zoom,
roll) fitted to it by RANSAC stands for the camera, and what is left over is object motion. Both
are mean speeds over the picture in **frame diagonals per second**, which depend neither on the
resolution nor on the frame rate. An object that fills most of the picture is taken for the camera.

A watermark or a logo stands still while the picture moves, and would pass for an object that moves
against the camera. So while the camera moves, nothing counts as object motion where the clip has
edges that stay in place throughout: those of the scene would not.
"""

import functools
import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

PAIRS_PER_SECOND = 8.0
SHORT_SIDE = 128  # pixels; flow is computed at this size
LOOKED_AT = np.s_[::2, ::2]  # pixels whose flow is averaged; it is smooth over far more
GRID_STEP = 8  # pixels between the flow vectors that the camera is fitted to
INLIER_PIXELS = 0.5  # a vector this close to the camera's is taken for background
STILL_PIXELS = 0.25  # a camera that moves less between two frames stands still
EDGE_FRAMES = 17  # that are looked at for standing edges
EDGE_STRENGTH = 60.0  # of a standing edge; Sobel of 8 bits, where a step of 16 levels gives 64
EDGE_STEADINESS = 0.8  # strength of a standing edge over that of the edges that pass there
EDGE_REACH = 5  # pixels LOOKED_AT around and with an edge that its flow spreads to
_RNG_SEED = 0


@dataclass(frozen=True)
class Motion:
    """Motion of a clip; speeds in frame diagonals per second, averaged over picture and time."""

    object_speed: float
    camera_speed: float
    direction_deg: float  # of the mean residual flow: 0 right, 90 up, 180 left, 270 down
    coherence: float  # 0 … 1: length of the mean residual vector over the mean length
    overlay_share: float  # 0 … 1 of the picture: edges that stay in place throughout the clip
    object_curve: list[float]  # object speed of each frame pair
    camera_curve: list[float]  # camera speed of each frame pair


def measure_motion(frames: Sequence[NDArray[np.uint8]], fps: float) -> Motion:
    """Measure a clip.

    Args:
        frames: at least 2, uint8 RGB [h, w, 3] each, at any size; an array [t, h, w, 3] will do.
        fps: frames per second.
    """
    step = max(1, min(round(fps / PAIRS_PER_SECOND), len(frames) - 1))
    chosen = frames[::step]
    return measure_sampled(chosen, [i * step / fps for i in range(len(chosen))])


def measure_sampled(frames: Sequence[NDArray[np.uint8]], times: Sequence[float]) -> Motion:
    """As `measure_motion`, of every frame given; `times` are their seconds, ascending."""
    gray = [shrink(frame) for frame in frames]
    height, width = gray[0].shape
    standing = standing_edges(gray)  # [h', w']
    points = _points(height, width)[LOOKED_AT]  # [h', w', 2]
    object_curve, camera_curve, means = [], [], []
    for (first, second), (begin, end) in zip(
        itertools.pairwise(gray), itertools.pairwise(times), strict=True
    ):
        to_speed = 1 / ((end - begin) * math.hypot(height, width))
        flow = dense_flow(first, second)  # [h, w, 2]
        camera = _moved(points, camera_motion(flow))
        residual = flow[LOOKED_AT] - camera  # [h', w', 2]
        camera_pixels = _mean_norm(camera)
        if camera_pixels > STILL_PIXELS:
            residual[standing] = 0
        camera_curve.append(to_speed * camera_pixels)
        object_curve.append(to_speed * _mean_norm(residual))
        means.append(to_speed * residual.mean(axis=(0, 1)))
    x, y = np.mean(means, axis=0)
    object_speed = float(np.mean(object_curve))
    return Motion(
        object_speed=object_speed,
        camera_speed=float(np.mean(camera_curve)),
        direction_deg=math.degrees(math.atan2(-y, x)) % 360,
        coherence=math.hypot(x, y) / object_speed if object_speed > 0 else 0.0,
        overlay_share=float(standing.mean()),
        object_curve=object_curve,
        camera_curve=camera_curve,
    )


def standing_edges(gray: Sequence[NDArray[np.uint8]]) -> NDArray[np.bool_]:
    """Where a clip has the same edge in all of its frames: overlays, or all edges of a still scene.

    The median over time of the gradient keeps what stands and averages out what passes by (as in
    the watermark estimation of Dekel et al., CVPR 2017, there over many pictures).

    Args:
        gray: uint8 [h, w] each.

    Returns:
        bool [h', w'], at the pixels LOOKED_AT, widened by the reach of the flow's smoothing.
    """
    import cv2

    chosen = np.linspace(0, len(gray) - 1, min(len(gray), EDGE_FRAMES)).round().astype(int)
    gradients = np.stack(
        [np.stack([g[LOOKED_AT] for g in cv2.spatialGradient(gray[i])], axis=-1) for i in chosen]
    )
    standing = _norm(np.median(gradients, axis=0).astype(np.float32))  # of [n, h, w, 2]
    usual = np.median(_norm(gradients.astype(np.float32)), axis=0)
    strong = (standing > EDGE_STRENGTH) & (standing > EDGE_STEADINESS * usual)
    kernel = np.ones((EDGE_REACH, EDGE_REACH), np.uint8)
    return np.asarray(cv2.dilate(strong.astype(np.uint8), kernel), np.bool_)


def dense_flow(first: NDArray[np.uint8], second: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Farneback optical flow between gray images [h, w], in pixels [h, w, 2] (x right, y down)."""
    import cv2

    flow = cv2.calcOpticalFlowFarneback(
        first,
        second,
        np.zeros((*first.shape, 2), np.float32),
        pyr_scale=0.5,
        levels=4,
        winsize=15,
        iterations=3,
        poly_n=5,
        poly_sigma=1.1,
        flags=0,
    )
    return np.asarray(flow, np.float32)


def camera_flow(flow: NDArray[np.float32]) -> NDArray[np.float32]:
    """The flow [h, w, 2] of the similarity transform that most of `flow` agrees with."""
    return _moved(_points(*flow.shape[:2]), camera_motion(flow))


def camera_motion(flow: NDArray[np.float32]) -> NDArray[np.float32]:
    """That transform, less the identity, as a matrix [2, 3]; zero where no two vectors agree."""
    import cv2

    grid = np.s_[GRID_STEP // 2 :: GRID_STEP, GRID_STEP // 2 :: GRID_STEP]
    start = _points(*flow.shape[:2])[grid].reshape(-1, 2)
    cv2.setRNGSeed(_RNG_SEED)
    transform, _ = cv2.estimateAffinePartial2D(
        start,
        start + flow[grid].reshape(-1, 2),
        method=cv2.RANSAC,
        ransacReprojThreshold=INLIER_PIXELS,
    )
    if transform is None:
        return np.zeros((2, 3), np.float32)
    return np.asarray(transform - np.eye(2, 3), np.float32)


@functools.cache
def _points(height: int, width: int) -> NDArray[np.float32]:
    """(x, y) of every pixel, [h, w, 2]."""
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    return np.stack([x, y], axis=-1)


def _moved(points: NDArray[np.float32], motion: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.asarray(points @ motion[:, :2].T + motion[:, 2])


def shrink(frame: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Gray at the size that flow is computed at: RGB [h, w, 3] → [h', w']."""
    import cv2

    height, width = frame.shape[:2]
    scale = SHORT_SIDE / min(height, width)
    size = (round(width * scale), round(height * scale))
    gray = cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY)
    return np.asarray(cv2.resize(gray, size, interpolation=cv2.INTER_AREA), np.uint8)


def _norm(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    x, y = vectors[..., 0], vectors[..., 1]
    return np.sqrt(x * x + y * y)


def _mean_norm(vectors: NDArray[np.float32]) -> float:
    return float(_norm(vectors).mean())
