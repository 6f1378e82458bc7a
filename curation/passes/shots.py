"""Cuts a video into shots while it is decoded once, piece by piece of the file in parallel.

A span of the file owns the pieces that begin in it. So that the pieces do not depend on where
spans begin, both rules look at a bounded neighbourhood only: a cut is where a frame differs from
the one before more than the frames around it do, and a shot longer than `max_shot_s` is divided at
the multiples of `max_shot_s` of the source's own time. A span therefore decodes from `lead_in_s`
before it to little more than `max_shot_s` beyond it. Dissolves are not cuts.
"""

import math
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from dynamicrafter.errors import MediaError

LEAD_IN_MARGIN_S = 1.0
TINY_SHORT_SIDE = 72  # pixels; enough for a cut, and cheap
MAX_SHOT_FRAMES = 7200  # 30 s at 240 frames/s; what holds more than it states shall not fill memory
MAX_SHOT_BYTES = 2**29  # of the small pictures of a shot; those of wide films are large
_ANY_RATE = 24.0  # frames are counted for the detector, not timed


@dataclass(frozen=True)
class Look:
    """What is kept of a frame: all of them small, some of them in full."""

    tiny: np.ndarray  # uint8 BGR [h, w, 3], short side TINY_SHORT_SIDE
    full: np.ndarray | None  # uint8 RGB [h, w, 3]


@dataclass(frozen=True)
class Shot:
    """A shot, or a piece of a long one: [start_s, end_s) of the source and its frames."""

    start_s: float
    end_s: float
    times: list[float]  # seconds of each frame
    looks: list[Look]


def lead_in_s(max_shot_s: float) -> float:
    """Seconds before a span that must be seen to know whether its first shot is a long one."""
    return max_shot_s + LEAD_IN_MARGIN_S


def split_into_shots(
    marked_frames: Iterable[tuple[float, Look, bool]],
    *,
    span: tuple[float, float],
    from_beginning: bool,
    max_shot_s: float,
    frame_s: float,
) -> Iterator[Shot]:
    """Yield the shots that begin in `span`.

    Args:
        marked_frames: (seconds, look, whether a cut lies before it), consecutive, from the clip's
            beginning or at least `lead_in_s` before the span.
        span: [start, end) in seconds.
        from_beginning: whether the first frame is the beginning of the clip.
        max_shot_s: longer shots are divided.
        frame_s: duration of a frame, to know the end of the last one.

    Raises:
        MediaError: `bad_rate`, more frames than any rate gives.
    """
    shot_start: float | None = None  # None: before the first frame that was seen
    divided = True  # whether the present shot is known to be long, so that grid times divide it
    times: list[float] = []
    frames: list[Look] = []

    def take(count: int, end_s: float) -> Iterator[Shot]:
        if count and span[0] <= times[0] < span[1]:
            yield Shot(times[0], end_s, times[:count], frames[:count])
        del times[:count], frames[:count]

    previous = None
    nothing_since = span[0] - lead_in_s(max_shot_s)
    for time_s, frame, cut in marked_frames:
        # A pause that long makes the shot a long one, and is divided whatever the picture does:
        # a span that begins in the pause does not see what was before it.
        pause = time_s - nothing_since >= max_shot_s
        nothing_since = time_s
        if cut and not pause if previous is not None else from_beginning:
            yield from take(len(times), time_s)
            shot_start, divided = time_s, False
        elif divided and (
            pause or (previous is not None and _crosses(previous, time_s, max_shot_s))
        ):
            yield from take(len(times), time_s)
            shot_start = time_s if shot_start is None else shot_start
        if shot_start is not None:
            times.append(time_s)
            frames.append(frame)
            if len(times) > min(MAX_SHOT_FRAMES, MAX_SHOT_BYTES // frame.tiny.nbytes):
                raise MediaError("bad_rate", f"more than {len(times) - 1} frames in one shot")
            if not divided and time_s - shot_start >= max_shot_s:
                divided = True
                while border := _border(times, max_shot_s):  # a gap may hold several
                    yield from take(border, times[border])
            if times[0] >= span[1]:
                return
        previous = time_s
    if times:
        yield from take(len(times), times[-1] + frame_s)


def mark_cuts(
    timed_frames: Iterable[tuple[float, Look]], ratio: float, difference: float
) -> Iterator[tuple[float, Look, bool]]:
    """Add to each (seconds, look) whether a cut lies before it.

    PySceneDetect's AdaptiveDetector: a cut needs a frame difference that stands out from those of
    the two frames on either side, which fast motion does not. The detector's own minimum scene
    length is off: it would make a cut depend on earlier ones.

    Args:
        timed_frames: consecutive (seconds, look).
        ratio: of the difference to the mean of its neighbours, from which it is a cut.
        difference: mean of hue, saturation and value, 0 … 255, that a cut must have at least.
    """
    from scenedetect import FrameTimecode
    from scenedetect.detectors import AdaptiveDetector

    detector = AdaptiveDetector(
        adaptive_threshold=ratio, min_content_val=difference, min_scene_len=0
    )
    waiting: deque[tuple[float, Look, int]] = deque()
    cuts: set[int] = set()
    for number, (time_s, frame) in enumerate(timed_frames):
        waiting.append((time_s, frame, number))
        found = detector.process_frame(FrameTimecode(number, _ANY_RATE), frame.tiny)
        cuts.update(cut.frame_num for cut in found)
        if len(waiting) > detector.event_buffer_length:  # that far behind a cut is reported
            time_s, frame, number = waiting.popleft()
            yield time_s, frame, number in cuts
    for time_s, frame, number in waiting:
        yield time_s, frame, number in cuts


def _border(times: list[float], grid_s: float) -> int | None:
    """Number of the first frame beyond a multiple of `grid_s`, None if all lie between two."""
    pairs = range(1, len(times))
    return next((i for i in pairs if _crosses(times[i - 1], times[i], grid_s)), None)


def _crosses(before_s: float, now_s: float, grid_s: float) -> bool:
    return math.floor(now_s / grid_s) > math.floor(before_s / grid_s)
