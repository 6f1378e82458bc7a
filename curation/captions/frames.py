"""Which frames of a clip a model is shown, and the form in which they are sent.

We choose the frames, not the server, and send each with its true time: a model that is told
another frame rate than the clip's sees other speeds.
"""

import base64
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from dynamicrafter.errors import InputError, MediaError

PATCH = 32
"""Pixels: vision-language models see pictures in squares of this size."""

MOST_AREA = 2.5
"""Of a picture, in squares of the short side: a long strip is shrunk, not cut."""

AROUND = ("clip", "peak")
SEND_AS = ("video", "images")


@dataclass
class FrameSettings:
    """`frames` of conf/captioner/vlm.yaml, where each setting is explained."""

    count: int
    fps: float
    least: int
    around: str
    short_side: int
    quality: int
    send_as: str

    def __post_init__(self) -> None:
        if self.around not in AROUND:
            raise InputError(
                f"captioner.frames.around is {self.around!r}; choose one of {', '.join(AROUND)}"
            )
        if self.send_as not in SEND_AS:
            raise InputError(
                f"captioner.frames.send_as is {self.send_as!r}; choose one of {', '.join(SEND_AS)}"
            )
        if not 2 <= self.least <= self.count <= 256:
            raise InputError(
                f"captioner.frames: 2 <= least <= count <= 256 must hold, they are {self.least} "
                f"and {self.count}"
            )
        if not 0 < self.fps <= 240:
            raise InputError(f"captioner.frames.fps is {self.fps:g}, not between 0 and 240")
        if not (PATCH <= self.short_side <= 2048 and 1 <= self.quality <= 100):
            raise InputError(
                f"captioner.frames: short_side {self.short_side} must be {PATCH} to 2048, "
                f"quality {self.quality} 1 to 100"
            )


def choose_frames(
    frames: int, fps: float, settings: FrameSettings, motion_curve: Sequence[float] = ()
) -> list[int]:
    """Numbers of the frames that are shown, ascending, an even number of them, none twice.

    `around=clip` spreads them over the clip: `fps` of them a second, but at least `least` and at
    most `count`. `around=peak` takes `count` of them at `fps` from where the motion is greatest; a
    clip that is shorter than that is shown whole.

    Args:
        frames: of the clip.
        fps: of the clip, frames/s.
        settings: see conf/captioner/vlm.yaml.
        motion_curve: speeds at even distances over the clip; where there is none, the peak is
            taken to be the middle.

    Raises:
        MediaError: `unreadable`, the clip has no two frames or states no rate.
    """
    if frames < 2 or not (math.isfinite(fps) and fps > 0):
        raise MediaError("unreadable", f"{frames} frames at {fps:g} frames/s are no clip")
    first, last = 0.0, frames - 1.0
    if settings.around == "peak":
        span = (settings.count - 1) * fps / settings.fps  # frames from the first to the last one
        if span < last:
            first = min(max(_peak(motion_curve) * last - span / 2, 0.0), last - span)
            last = first + span
    wanted = round((last - first) / fps * settings.fps) + 1
    count = min(max(wanted, settings.least), settings.count, frames)
    count = max(count // 2 * 2, 2)  # models take frames in pairs
    step = (last - first) / (count - 1)
    return [round(first + i * step) for i in range(count)]


def _peak(curve: Sequence[float]) -> float:
    """Where a curve is greatest, as a share of the clip."""
    if not curve:
        return 0.5
    greatest = max(range(len(curve)), key=lambda i: curve[i])
    return (greatest + 0.5) / len(curve)


def picture_size(width: int, height: int, short_side: int) -> tuple[int, int]:
    """(width, height) of the pictures that are sent: about the clip's shape, in whole patches."""
    scale = short_side / min(width, height)
    area = width * height * scale**2
    scale *= min(1.0, math.sqrt(MOST_AREA * short_side**2 / area))
    across, down = (max(round(side * scale / PATCH), 1) * PATCH for side in (width, height))
    return across, down


def jpegs(video: bytes, indices: list[int], short_side: int, quality: int) -> list[bytes]:
    """The frames at `indices` of an mp4 as JPEGs. Call it in a process that may be killed.

    Raises:
        MediaError: the video cannot be decoded, see `read_frames`.
    """
    import cv2

    from dynamicrafter.media.decode import read_frames

    pictures = read_frames(video, indices, short_side)  # [t, h, w, 3]
    size = picture_size(pictures.shape[2], pictures.shape[1], short_side)
    found = []
    for picture in pictures:
        small = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
        done, data = cv2.imencode(
            ".jpg", cv2.cvtColor(small, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, quality]
        )
        if not done:
            raise MediaError("unreadable", f"a picture of {size} pixels makes no JPEG")
        found.append(data.tobytes())
    return found


def content_of(
    pictures: list[bytes], indices: list[int], frames: int, fps: float, send_as: str
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """The parts of a message that show the pictures, and what the body has to say of them.

    Args:
        pictures: JPEGs.
        indices: their frame numbers.
        frames: of the clip.
        fps: of the clip.
        send_as: `video`: one list of frames, whose times vLLM hands to the model; `images`: each
            for itself after a text that states its time, for servers that take no video.
    """
    encoded = [base64.b64encode(picture).decode() for picture in pictures]
    if send_as == "images":
        parts: list[dict[str, Any]] = []
        for number, data in zip(indices, encoded, strict=True):
            parts.append({"type": "text", "text": f"t = {number / fps:.2f} s"})
            parts.append(
                {"type": "image_url", "image_url": {"url": f"data:image/jpeg;base64,{data}"}}
            )
        return parts, {}
    url = f"data:video/jpeg;base64,{','.join(encoded)}"
    times = {
        "num_frames": -1,
        "fps": fps,
        "frames_indices": indices,
        "total_num_frames": frames,
        "duration": frames / fps,
    }
    return (
        [{"type": "video_url", "video_url": {"url": url}}],
        {"media_io_kwargs": {"video": times}},
    )
