"""A look into video files before they are compared: readable, and long enough?"""

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from dynamicrafter.errors import MediaError
from dynamicrafter.media.decode import read_frames
from dynamicrafter.media.isolation import Isolation
from dynamicrafter.media.probe import probe
from dynamicrafter.progress import progress

TIMEOUT_S = 60.0  # for one file


@dataclass(frozen=True)
class Facts:
    """Of a readable video; `size` is width and height in pixels."""

    frames: int
    size: tuple[int, int]
    fps: float


@dataclass(frozen=True)
class Inspected:
    """Facts of the good ones and what is wrong with the bad ones, by key."""

    good: dict[str, Facts]
    bad: dict[str, str]


def inspected(videos: Mapping[str, Path], frames: int, foreign: bool, workers: int) -> Inspected:
    """Look into videos, each of which must have `frames` frames.

    Foreign files are decoded up to there in processes that may be killed; our own are probed.

    Args:
        videos: a file by key.
        frames: fewer are too few.
        foreign: whether somebody else made the files.
        workers: processes for foreign files; 0 looks into them in this one.
    """
    good: dict[str, Facts] = {}
    bad: dict[str, str] = {}
    with progress("inspect", len(videos), "videos") as advance:
        for key, found in _looks(videos, frames, foreign, workers):
            if isinstance(found, Facts):
                good[key] = found
            else:
                bad[key] = found
            advance(1)
    return Inspected(good, bad)


def look(path: Path, frames: int, decode: bool) -> Facts:
    """The facts of a video that has `frames` frames; with `decode` the last of them is read.

    Raises:
        MediaError: not a readable video, or `too_short`.
    """
    facts = probe(path)
    if decode:
        read_frames(path, [frames - 1])
    elif facts.frames < frames:
        raise MediaError("too_short", f"{facts.frames} frames")
    return Facts(facts.frames, (facts.width, facts.height), float(facts.fps))


def _looks(videos: Mapping[str, Path], frames: int, foreign: bool, workers: int):
    if not foreign or workers == 0:
        for key, path in videos.items():
            yield key, _told(look, frames, path, frames, foreign)
        return
    with Isolation(workers, TIMEOUT_S) as isolated, ThreadPoolExecutor(workers) as threads:
        calls = {
            key: threads.submit(_told, isolated, frames, look, path, frames, True)
            for key, path in videos.items()
        }
        for key, call in calls.items():
            yield key, call.result()


def _told(call, frames: int, *arguments: object) -> Facts | str:
    """The facts, or in words why the video cannot be used."""
    try:
        return call(*arguments)
    except MediaError as error:
        if error.reason == "too_short":
            return f"shorter than the {frames} frames of a window"
        return f"{error.reason}: {error}"
