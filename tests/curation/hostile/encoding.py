"""Small videos and sounds as other tools write them, from scenes of real clips."""

import io
import os
import signal
import time
from pathlib import Path

import av
import numpy as np

from dynamicrafter.media.decode import iterate_frames
from tests.media.clips import in_own_thread

FPS, FRAMES = 30, 60


def deadly(frames: list[np.ndarray]) -> float:
    """A classifier that kills its process over pictures of 2:1 and holds it over those of 3:1."""
    height, width = frames[0].shape[:2]
    if width == 2 * height:
        os.kill(os.getpid(), signal.SIGKILL)
    if width == 3 * height:
        time.sleep(3600)
    return 0.0


# Clips that are well.


def scenes(sources: list[Path]) -> list[np.ndarray]:
    """FRAMES frames of each source, uint8 [t, h, w, 3] with a short side of 96."""
    found = []
    for path in sources:
        frames = []
        for _, frame in iterate_frames(path, short_side=96):
            frames.append(frame)
            if len(frames) == FRAMES:
                break
        found.append(np.stack(frames)[:, :, : frames[0].shape[1] // 2 * 2])
    return found


@in_own_thread
def video(
    frames: np.ndarray,
    codec: str = "libx264",
    container: str = "mp4",
    pix_fmt: str = "yuv420p",
    fps: float = FPS,
    options: dict[str, str] | None = None,
    times: list[int] | None = None,
    muxing: dict[str, str] | None = None,
    sound: bool = False,
) -> bytes:
    """Encode frames; `times` are in units of 1/fps."""
    if codec == "libx264":
        options = {"preset": "ultrafast", "bf": "2", "g": "24", "threads": "1", **(options or {})}
    if codec.startswith("mpeg"):
        options = {"b": "4M", **(options or {})}
    file = io.BytesIO()
    layout = {1: "gray", 4: "rgba"}.get(frames.shape[-1], "rgb24")
    with av.open(
        file, "w", format=container, options={"fflags": "bitexact", **(muxing or {})}
    ) as opened:
        stream = opened.add_stream(codec, fps, options=options or {})
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = pix_fmt
        if sound:
            audio = opened.add_stream("aac" if container != "webm" else "libopus", rate=48000)
        for number, frame in enumerate(frames):
            picture = av.VideoFrame.from_ndarray(frame, format=layout)
            if times is not None:
                picture.pts, picture.time_base = times[number], 1 / stream.codec_context.framerate
            opened.mux(stream.encode(picture))
        opened.mux(stream.encode())
        if sound:
            silence = av.AudioFrame.from_ndarray(np.zeros((2, 48000), np.float32), "fltp", "stereo")
            silence.sample_rate = 48000
            fifo = av.AudioFifo()
            fifo.write(silence)
            for part in fifo.read_many(960 if container == "webm" else 1024):
                opened.mux(audio.encode(part))
            opened.mux(audio.encode())
    return file.getvalue()


def audio_only(container: str, codec: str) -> bytes:
    file = io.BytesIO()
    with av.open(file, "w", format=container, options={"fflags": "bitexact"}) as opened:
        stream = opened.add_stream(codec, rate=48000)
        silence = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
        silence.sample_rate = 48000
        for number in range(40):
            silence.pts = 1024 * number
            opened.mux(stream.encode(silence))
        opened.mux(stream.encode())
    return file.getvalue()


def size_of(frames: np.ndarray) -> tuple[int, int]:
    return frames.shape[2], frames.shape[1]


def window(frames: np.ndarray, number: int) -> np.ndarray:
    """Another look at a scene: mirrored and tinted, so that it is no copy of the others."""
    tint = np.roll([1.0, 0.85, 0.7], number)
    frames = (frames * tint).astype(np.uint8)
    return np.ascontiguousarray(frames[:, :, ::-1] if number % 2 else frames)


def moov_first(folder: Path, frames: np.ndarray) -> bytes:
    """As plain, with the index at the beginning."""
    path = folder / ".moov-first.mp4"
    with av.open(str(path), "w", options={"movflags": "faststart"}) as opened:
        stream = opened.add_stream("libx264", FPS, options={"preset": "ultrafast", "threads": "1"})
        stream.height, stream.width, stream.pix_fmt = *frames.shape[1:3], "yuv420p"
        for frame in frames:
            opened.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        opened.mux(stream.encode())
    data = path.read_bytes()
    path.unlink()
    return data
