"""Frames into the mp4 of our samples: short closed groups of pictures, for random access.

Equal frames give equal bytes: one thread, no dates, no version strings from the muxer, and no
macroblock tree, with which x264 gave other bytes in one of 3 to 40 encodings of the same frames.
"""

import os
import tempfile
from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path

import numpy as np

from dynamicrafter.errors import MediaError

GOP = 12
"""Frames between key frames at most; decoding 16 frames costs half of that with a GOP of 250."""


def encoder_version() -> str:
    """Names the encoder: with another one, equal frames may give other bytes."""
    import av

    return f"libx264 of PyAV {av.__version__}"


def encode_mp4(
    frames: Iterable[np.ndarray],
    fps: float | Fraction,
    *,
    crf: int = 23,
    preset: str = "veryfast",
) -> bytes:
    """Encode to h264 mp4 bytes: closed GOP ≤ 12, no B-frames, yuv420p, faststart.

    Args:
        frames: uint8 RGB [h, w, 3] each, all of one size; an odd last row or column is cut off.
        fps: frames per second; 29.97 and the like become their exact fraction.
        crf: x264's constant rate factor, 0 (lossless) to 51.
        preset: x264's, from ultrafast to placebo.

    Raises:
        MediaError: `not_encodable`, for example frames of one pixel's width.
    """
    import av

    options = {"crf": str(crf), "preset": preset, "x264-params": "open-gop=0:mbtree=0"}
    with tempfile.TemporaryDirectory() as folder:  # faststart needs a file that can be reopened
        path = os.path.join(folder, "clip.mp4")
        muxing = {"movflags": "faststart", "fflags": "bitexact"}
        try:
            with av.open(path, "w", format="mp4", options=muxing) as container:
                stream = None
                for picture in frames:
                    height, width = picture.shape[0] // 2 * 2, picture.shape[1] // 2 * 2
                    if stream is None:
                        if not (width and height):
                            raise MediaError("not_encodable", "a frame is one pixel wide or high")
                        stream = container.add_stream("libx264", exact_rate(fps), options=options)
                        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
                        codec = stream.codec_context
                        codec.gop_size, codec.max_b_frames, codec.thread_count = GOP, 0, 1
                        codec.flags |= av.codec.context.Flags.bitexact
                    even = np.ascontiguousarray(picture[:height, :width])
                    container.mux(stream.encode(av.VideoFrame.from_ndarray(even, format="rgb24")))
                if stream is None:
                    raise ValueError("no frames to encode")
                container.mux(stream.encode())
        except av.error.OSError:  # the disk, not the frames
            raise
        except av.error.FFmpegError as error:
            raise MediaError("not_encodable", f"{width}x{height} frames: {error}") from None
        return Path(path).read_bytes()


def exact_rate(fps: float | Fraction) -> Fraction:
    """The frame rate as a fraction: 29.97 → 30000/1001, 23.976 → 24000/1001, 24 → 24."""
    ntsc = Fraction(round(fps * 1.001) * 1000, 1001)
    if ntsc and abs(float(ntsc) - fps) < 0.005:
        return ntsc
    return Fraction(fps).limit_denominator(1000)
