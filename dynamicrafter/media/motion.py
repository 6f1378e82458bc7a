"""How much moves in a clip, with the camera's motion told from that of the objects.

Dense optical flow between frames an eighth of a second apart; a similarity transform (pan, zoom,
roll) fitted to it by RANSAC stands for the camera, and what is left over is object motion. Both
are mean speeds over the picture in **frame diagonals per second**, which depend neither on the
resolution nor on the frame rate. An object that fills most of the picture is taken for the camera.
"""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

PAIRS_PER_SECOND = 8.0
SHORT_SIDE = 128  # pixels; flow is computed at this size
GRID_STEP = 8  # pixels between the flow vectors that the camera is fitted to
INLIER_PIXELS = 0.5  # a vector this close to the camera's is taken for background
_RNG_SEED = 0


@dataclass(frozen=True)
class Motion:
    """Motion of a clip; speeds in frame diagonals per second, averaged over picture and time."""

    object_speed: float
    camera_speed: float
    direction_deg: float  # of the mean residual flow: 0 right, 90 up, 180 left, 270 down
    coherence: float  # 0 … 1: length of the mean residual vector over the mean length
    object_curve: list[float]  # object speed of each frame pair
    camera_curve: list[float]  # camera speed of each frame pair


def measure_motion(frames: Sequence[NDArray[np.uint8]], fps: float) -> Motion:
    """Measure a clip.

    Args:
        frames: at least 2, uint8 RGB [h, w, 3] each, at any size; an array [t, h, w, 3] will do.
        fps: frames per second.
    """
    step = max(1, min(round(fps / PAIRS_PER_SECOND), len(frames) - 1))
    gray = [_shrink(frame) for frame in frames[::step]]
    height, width = gray[0].shape
    to_speed = fps / step / math.hypot(height, width)
    object_curve, camera_curve, means = [], [], []
    for first, second in itertools.pairwise(gray):
        flow = dense_flow(first, second)  # [h, w, 2]
        camera = camera_flow(flow)
        residual = flow - camera
        camera_curve.append(to_speed * _mean_norm(camera))
        object_curve.append(to_speed * _mean_norm(residual))
        means.append(to_speed * residual.mean(axis=(0, 1)))
    x, y = np.mean(means, axis=0)
    object_speed = float(np.mean(object_curve))
    return Motion(
        object_speed=object_speed,
        camera_speed=float(np.mean(camera_curve)),
        direction_deg=math.degrees(math.atan2(-y, x)) % 360,
        coherence=math.hypot(x, y) / object_speed if object_speed > 0 else 0.0,
        object_curve=object_curve,
        camera_curve=camera_curve,
    )


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
    import cv2

    height, width = flow.shape[:2]
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    points = np.stack([x, y], axis=-1)  # [h, w, 2]
    grid = np.s_[GRID_STEP // 2 :: GRID_STEP, GRID_STEP // 2 :: GRID_STEP]
    start = points[grid].reshape(-1, 2)
    cv2.setRNGSeed(_RNG_SEED)
    transform, _ = cv2.estimateAffinePartial2D(
        start,
        start + flow[grid].reshape(-1, 2),
        method=cv2.RANSAC,
        ransacReprojThreshold=INLIER_PIXELS,
    )
    if transform is None:  # no two vectors agree: nothing that could be called a camera
        return np.zeros_like(flow)
    moved = points @ transform[:, :2].T.astype(np.float32) + transform[:, 2].astype(np.float32)
    return moved - points


def _shrink(frame: NDArray[np.uint8]) -> NDArray[np.uint8]:
    import cv2

    height, width = frame.shape[:2]
    scale = SHORT_SIDE / min(height, width)
    size = (round(width * scale), round(height * scale))
    gray = cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY)
    return np.asarray(cv2.resize(gray, size, interpolation=cv2.INTER_AREA), np.uint8)


def _mean_norm(vectors: NDArray[np.float32]) -> float:
    return float(np.linalg.norm(vectors, axis=-1).mean())
