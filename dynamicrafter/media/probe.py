"""What a video file is, found out before and with a decoder.

The first bytes decide. A text that is named .mp4 can be a playlist that makes a decoder open other
files or addresses, so nothing but a known container ever reaches one, under its absolute path
(which no decoder takes for a protocol) and with its demuxer named.
"""

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from dynamicrafter.errors import MediaError

if TYPE_CHECKING:
    import av

# Container → FFmpeg's name of its demuxer.
DEMUXERS = {
    "mp4": "mp4",
    "matroska": "matroska",
    "avi": "avi",
    "mpegts": "mpegts",
    "mpegps": "mpeg",
}

MAX_PIXELS = 2**26
"""Of one picture: twice 8K. A header may state far more than a machine can hold."""

_MP4_BOXES = {b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide", b"pnot"}
_TS_PACKET = 188
_HEAD_BYTES = 3 * _TS_PACKET


@dataclass(frozen=True)
class VideoFacts:
    """Facts of a video's first video stream.

    `width` and `height` are as displayed, that is with the rotation applied. `frames` is the count
    that the container states, or duration times rate where it states none.
    """

    container: str
    codec: str
    width: int
    height: int
    rotation: int  # degrees to turn the stored picture counterclockwise for display: 0 90 180 270
    fps: Fraction
    frames: int
    duration_s: float


def container_of(head: bytes) -> str | None:
    """The container that a file's first bytes (564 are enough) show, a key of `DEMUXERS`."""
    if head[4:8] in _MP4_BOXES:
        return "mp4"
    if head[:4] == b"\x1a\x45\xdf\xa3":
        return "matroska"
    if head[:4] == b"RIFF" and head[8:12] == b"AVI ":
        return "avi"
    if head[:4] == b"\x00\x00\x01\xba":
        return "mpegps"
    if len(head) > 2 * _TS_PACKET and all(head[i * _TS_PACKET] == 0x47 for i in range(3)):
        return "mpegts"
    return None


def local_video(path: str | os.PathLike[str]) -> tuple[Path, str]:
    """The absolute path and the container of a file that may be given to a decoder.

    Raises:
        MediaError: `missing`, or `not_video` (a text, a page, an empty file, a playlist, …).
    """
    absolute = Path(os.path.abspath(path))
    try:
        if absolute.exists() and not absolute.is_file():
            raise MediaError("missing", f"{path} is a folder, a pipe or a device, no file")
        with open(absolute, "rb") as file:
            head = file.read(_HEAD_BYTES)
    except OSError as error:
        raise MediaError("missing", f"{path} cannot be read: {error.strerror}") from None
    container = container_of(head)
    if container is None:
        raise MediaError(
            "not_video",
            f"{path} is none of {', '.join(DEMUXERS)} (it begins with {head[:16]!r})",
        )
    return absolute, container


@contextlib.contextmanager
def open_video(
    path: str | os.PathLike[str], threads: int = 1
) -> "Iterator[tuple[av.container.InputContainer, av.VideoStream]]":
    """Open a local video with PyAV and yield (container, first video stream).

    Raises:
        MediaError: as `local_video`, and as `open_source`.
    """
    absolute, container = local_video(path)
    with open_source(str(absolute), DEMUXERS[container], str(path), threads) as opened:
        yield opened


@contextlib.contextmanager
def open_source(
    source: str | BinaryIO, demuxer: str, name: str, threads: int = 1
) -> "Iterator[tuple[av.container.InputContainer, av.VideoStream]]":
    """Open what one demuxer reads with PyAV and yield (container, first video stream).

    Raises:
        MediaError: `unreadable` for whatever FFmpeg reports while the block runs, a codec that it
            does not know and a stream without a time base; `no_video_stream`; `bad_size`.
    """
    import av

    limits = {"max_pixels": str(MAX_PIXELS)}  # also for the frames that are looked at when opening
    options = {"protocol_whitelist": "file", **limits}
    try:
        with av.open(source, format=demuxer, options=options, metadata_errors="ignore") as opened:
            if not opened.streams.video:
                raise MediaError("no_video_stream", f"{name} holds no video stream")
            stream = opened.streams.video[0]
            if stream.codec_context is None or not stream.time_base:
                raise MediaError("unreadable", f"{name} is in no known codec or states no times")
            if (pixels := stream.codec_context.width * stream.codec_context.height) > MAX_PIXELS:
                raise MediaError("bad_size", f"{name} states pictures of {pixels} pixels")
            stream.codec_context.options = limits
            stream.codec_context.thread_count = threads
            yield opened, stream
    except av.error.FFmpegError as error:
        raise MediaError("unreadable", f"{name}: {error.strerror}") from None
    except OverflowError:
        raise MediaError("unreadable", f"{name} states times beyond all bounds") from None
    except MemoryError:
        raise MediaError("unreadable", f"{name} needs more memory than there is") from None


def decoded(
    opened: "av.container.InputContainer", stream: "av.VideoStream"
) -> "Iterator[av.VideoFrame]":
    """The frames of a stream from where its file stands."""
    try:
        yield from opened.decode(stream)
    except IndexError:
        # PyAV, after the last frame: another stream has begun in the middle of the file.
        return


def quarter_turns(frame: "av.VideoFrame") -> int:
    """How often to turn a decoded frame by 90° counterclockwise for display: 0 to 3.

    A matrix that turns by no multiple of 90° is taken for the nearest one, a broken one for none.
    """
    degrees = frame.rotation
    return round(degrees / 90) % 4 if -180 <= degrees <= 180 else 0


def probe(path: str | os.PathLike[str]) -> VideoFacts:
    """Read a video's facts; its first frame is decoded, so a file that passes can be read.

    Raises:
        MediaError: `missing`, `not_video`, `no_video_stream` or `unreadable`.
    """
    container = local_video(path)[1]
    with open_video(path) as (opened, stream):
        frame = next(decoded(opened, stream), None)
        fps = stream.average_rate or stream.guessed_rate
        if frame is None or not fps:
            raise MediaError("unreadable", f"{path} holds no decodable frame")
        if stream.duration is not None:
            duration_s = float(stream.duration * stream.time_base)
        elif opened.duration is not None:
            duration_s = opened.duration / 1_000_000  # microseconds
        else:
            duration_s = float(stream.frames / fps)
        turns = quarter_turns(frame)
        width, height = frame.width, frame.height
        if turns % 2:
            width, height = height, width
        return VideoFacts(
            container=container,
            codec=stream.codec_context.codec.canonical_name,
            width=width,
            height=height,
            rotation=90 * turns,
            fps=fps,
            frames=stream.frames or round(duration_s * fps),
            duration_s=duration_s,
        )
