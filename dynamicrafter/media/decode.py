"""Frames out of videos, resized inside the decoder (1.7 to 2 times faster than after it).

Random access in foreign files goes through decord; PyAV reads our own short-GOP mp4 bytes, where
it is faster, what decord cannot (AV1, pictures under 64 pixels wide), and every sequential pass.
"""

import io
import itertools
import os
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from dynamicrafter.errors import MediaError
from dynamicrafter.media.probe import (
    decoded,
    open_source,
    open_video,
    probe,
    quarter_turns,
)

if TYPE_CHECKING:
    import av

_SEEK_BACK_S = (0.0, 10.0, float("inf"))
"""How far before the wanted time to seek: some files land late and need another try."""

_DECORD_MIN_WIDTH = 64
"""Pixels; decord miscounts the bytes of narrower pictures, whose rows are padded."""


MIN_SIDE, MAX_ASPECT = 16, 16
"""Pixels of the short side, and long side over short side. A line is no picture: brought to the
usual short side it would fill the memory, and no encoder takes it."""


def check_size(width: int, height: int) -> None:
    """Refuse what is no picture.

    Raises:
        MediaError: `bad_size`.
    """
    short, long = sorted((width, height))
    if short < MIN_SIDE or long > MAX_ASPECT * short:
        raise MediaError(
            "bad_size",
            f"{width}x{height} pixels; at least {MIN_SIDE} a side and 1:{MAX_ASPECT} are needed",
        )


def scaled_size(width: int, height: int, short_side: int | None) -> tuple[int, int]:
    """(width, height) with the given short side; the long side becomes an even number.

    Raises:
        MediaError: `bad_size`, see `check_size`.
    """
    check_size(width, height)
    if short_side is None:
        return width, height
    if width < height:
        return short_side, 2 * round(height * short_side / width / 2)
    return 2 * round(width * short_side / height / 2), short_side


def read_frames(
    video: str | os.PathLike[str] | bytes, indices: Sequence[int], short_side: int | None = None
) -> np.ndarray:
    """Read the frames at `indices` (ascending).

    Args:
        video: path of a foreign file, or the bytes of one of our constant-rate mp4 files.
        indices: frame numbers from 0, ascending, repeats allowed.
        short_side: pixels to resize to; None keeps the size.

    Returns:
        uint8 RGB [t, h, w, 3], upright.

    Raises:
        MediaError: see `probe`; `bad_size`; `too_short` where an index lies past the end.
    """
    wanted = np.asarray(indices, dtype=np.int64)
    if isinstance(video, bytes):
        return _read_own(video, wanted, short_side)
    facts = probe(video)
    width, height = scaled_size(facts.width, facts.height, short_side)
    if facts.codec == "av1" or width < _DECORD_MIN_WIDTH:
        return _read_in_sequence(video, wanted, short_side)
    return _read_decord(video, wanted, width, height)


def iterate_frames(
    path: str | os.PathLike[str], start_s: float = 0.0, short_side: int | None = None
) -> Iterator[tuple[float, np.ndarray]]:
    """Yield (time, frame) of consecutive frames, from the first one at or after `start_s`.

    Times are seconds since the stream's first frame and do not depend on `start_s`. Frames are
    uint8 RGB [h, w, 3], upright. Decodes on one thread.

    Raises:
        MediaError: see `probe`; `bad_size`; a file that breaks raises after its last whole frame.
    """
    resize = Resizer(short_side)
    for time_s, frame in iterate_pictures(path, start_s):
        yield time_s, resize(frame)


def iterate_pictures(
    path: str | os.PathLike[str], start_s: float = 0.0
) -> "Iterator[tuple[float, av.VideoFrame]]":
    """As `iterate_frames`, but the frames are as decoded, for a `Resizer` to turn into arrays."""
    import av

    for back_s in _SEEK_BACK_S:
        target = max(0.0, start_s - back_s)
        with open_video(path) as (opened, stream):
            origin = stream.start_time or 0
            try:
                if target > 0:
                    opened.seek(origin + int(target / stream.time_base), stream=stream)
                frames = _timed(decoded(opened, stream), origin, opened.format.name == "avi", path)
                first = next(frames, None)
            except (av.error.FFmpegError, MediaError):
                if target > 0:  # no index, or one that leads to no picture
                    continue
                raise
            if target > 0 and (first is None or first[0] > start_s):
                continue
            for time_s, frame in itertools.chain([first] if first else [], frames):
                if time_s >= start_s:
                    yield time_s, frame
            return


class Resizer:
    """Turns decoded frames into arrays of one size.

    It keeps the scaler of FFmpeg, whose making costs as much as scaling ten small pictures.
    """

    def __init__(
        self, short_side: int | None, layout: str = "rgb24", interpolation: str = "BILINEAR"
    ):
        """Args are pixels (None keeps the size), FFmpeg's pixel format and scaling method."""
        from av.video.reformatter import VideoReformatter

        self._reformatter = VideoReformatter()
        self._short_side, self._layout, self._interpolation = short_side, layout, interpolation

    def __call__(self, frame: "av.VideoFrame") -> np.ndarray:
        """The frame as uint8 [h, w, 3], upright.

        Raises:
            MediaError: `bad_size`; `unreadable`, a form of colour that cannot be converted.
        """
        import av

        width, height = scaled_size(frame.width, frame.height, self._short_side)
        try:
            picture = self._reformatter.reformat(
                frame,
                width=width,
                height=height,
                format=self._layout,
                interpolation=self._interpolation,
                threads=1,
            ).to_ndarray()  # [h, w, 3]
        except (av.error.FFmpegError, ValueError, MemoryError) as error:
            raise MediaError("unreadable", f"a frame of {frame.format.name}: {error}") from None
        turns = quarter_turns(frame)
        return np.ascontiguousarray(np.rot90(picture, turns)) if turns else picture


def _timed(
    frames: "Iterable[av.VideoFrame]", origin: int, in_avi: bool, path: object
) -> "Iterator[tuple[float, av.VideoFrame]]":
    """Add to consecutive frames their seconds since `origin`.

    Raises:
        MediaError: `unreadable`, the size changes, there is no time or one before that of the frame
            before: whoever seeks would find other frames there.
    """
    last = size = None
    for frame in frames:
        size = size or (frame.width, frame.height)
        if size != (frame.width, frame.height):
            raise MediaError("unreadable", f"{path} changes its size on the way")
        if in_avi and (frame.dts is not None or last is not None):
            # It stores no times of presentation, and what is made up for B-frames is in disorder.
            ticks = frame.dts if frame.dts is not None else last + 1
        else:
            ticks = _ticks(frame, path)
        seconds = float((ticks - origin) * frame.time_base)
        if last is not None and ticks < last:
            raise MediaError("unreadable", f"{path}: its times go back to {seconds:.3f} s")
        last = ticks
        yield seconds, frame


def _ticks(frame: "av.VideoFrame", path: object) -> int:
    ticks = frame.pts if frame.pts is not None else frame.dts
    if ticks is None:
        raise MediaError("unreadable", f"{path} has frames without a time")
    return ticks


def _read_own(video: bytes, wanted: np.ndarray, short_side: int | None) -> np.ndarray:
    name = "sample video"
    with open_source(io.BytesIO(video), "mp4", name) as (opened, stream):
        if not stream.average_rate:
            raise MediaError("unreadable", f"{name} states no frame rate")
        ticks_per_frame = 1 / (stream.average_rate * stream.time_base)
        opened.seek(int(wanted[0] * ticks_per_frame), stream=stream)
        numbered = (
            (round(_ticks(frame, name) / ticks_per_frame), frame)
            for frame in decoded(opened, stream)
        )
        return _pick(numbered, wanted, short_side)


def _read_in_sequence(
    path: str | os.PathLike[str], wanted: np.ndarray, short_side: int | None
) -> np.ndarray:
    with open_video(path) as (opened, stream):
        return _pick(enumerate(decoded(opened, stream)), wanted, short_side)


def _pick(
    numbered: "Iterator[tuple[int, av.VideoFrame]]", wanted: np.ndarray, short_side: int | None
) -> np.ndarray:
    needed = set(wanted.tolist())
    last = int(wanted[-1])
    resize = Resizer(short_side)
    pictures = {}
    for number, frame in numbered:
        if number in needed:
            pictures[number] = resize(frame)
        if number >= last:
            break
    if len(pictures) < len(needed):
        raise MediaError("too_short", f"frame {last} was asked for, the video ends before it")
    return np.stack([pictures[number] for number in wanted.tolist()])


def _read_decord(
    path: str | os.PathLike[str], wanted: np.ndarray, width: int, height: int
) -> np.ndarray:
    import decord

    try:
        # Sizes are those of the upright picture: decord turns it itself.
        reader = decord.VideoReader(
            os.path.abspath(path), width=width, height=height, num_threads=1
        )
        if wanted[-1] >= len(reader):
            raise MediaError(
                "too_short", f"{path}: frame {wanted[-1]} was asked for, it has {len(reader)}"
            )
        return reader.get_batch(wanted.tolist()).asnumpy()  # [t, h, w, 3]
    except (decord.DECORDError, RuntimeError) as error:
        raise MediaError("unreadable", f"{path}: {str(error).splitlines()[0]}") from None
