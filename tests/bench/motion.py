"""The motion measure beside the optical flow that it stands on."""

import itertools
from pathlib import Path

import cv2

from dynamicrafter.media.decode import read_frames, scaled_size
from dynamicrafter.media.motion import PAIRS_PER_SECOND, SHORT_SIDE, dense_flow, measure_motion
from tests.bench.timing import Row, seconds_in_turn

FRAMES = 33


def rows(clip: Path) -> list[Row]:
    """Frame pairs per second, from frames at the size that curation measures them at."""
    frames = read_frames(clip, range(FRAMES), short_side=256)
    size = scaled_size(frames.shape[2], frames.shape[1], SHORT_SIDE)
    small = [cv2.cvtColor(cv2.resize(frame, size), cv2.COLOR_RGB2GRAY) for frame in frames]
    pairs = list(itertools.pairwise(small))
    measured, flow = seconds_in_turn(
        lambda: measure_motion(frames, PAIRS_PER_SECOND),  # at this rate no frame is passed over
        lambda: [dense_flow(*pair) for pair in pairs],
        repeats=3,
    )
    rate, flow_rate = len(pairs) / measured, len(pairs) / flow
    return [Row("motion measure", rate, "pairs", "Farneback flow", flow_rate)]
