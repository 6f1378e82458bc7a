"""Small videos whose frames tell their own number."""

import functools
from concurrent.futures import ThreadPoolExecutor

import av
import numpy as np


def in_own_thread(encode):
    """Run an encoder in a thread that ends with it.

    SVT-AV1 puts the thread that calls it on the highest real-time priority where it may (as root).
    Processes that this thread starts afterwards inherit that, and a busy one of them then stops
    everything else for good.
    """

    @functools.wraps(encode)
    def call(*args, **settings):
        with ThreadPoolExecutor(1) as thread:
            return thread.submit(encode, *args, **settings).result()

    return call


def numbered_frames(count, size=(64, 96)):
    """Frame i is a flat gray of level 20 + 4 i, with a white top left corner."""
    frames = np.empty((count, *size, 3), np.uint8)
    frames[:] = (20 + 4 * np.arange(count))[:, None, None, None]
    frames[:, : size[0] // 4, : size[1] // 4] = 255
    return frames


def numbers_of(frames):
    """The numbers that `numbered_frames` wrote; resizing decoders darken by up to two levels."""
    middle = frames[:, frames.shape[1] // 2, frames.shape[2] // 2].mean(axis=-1)
    return np.rint((middle - 19) / 4).astype(int).tolist()


@in_own_thread
def write_video(path, frames, codec="libx264", fps=10, options=None, pix_fmt="yuv420p"):
    """A foreign video, as other tools write them: long GOP, B-frames."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, fps, options=options or {})
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = pix_fmt
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())
    return path


def turn(path, quarter_turns_clockwise):
    """Write a display rotation into an mp4's track header, as phones do."""
    one, zero = (1 << 16).to_bytes(4, "big"), bytes(4)
    minus = (-(1 << 16) & 0xFFFFFFFF).to_bytes(4, "big")
    corners = {1: (zero, one, minus, zero), 2: (minus, zero, zero, minus),
               3: (zero, minus, one, zero)}[quarter_turns_clockwise]  # fmt: skip
    data = path.read_bytes()
    place = data.index(b"tkhd") + 4 + 40  # version 0: the matrix begins 40 bytes into the box
    matrix = corners[0] + corners[1] + zero + corners[2] + corners[3] + zero + zero + zero
    path.write_bytes(data[:place] + matrix + data[place + len(matrix) :])
