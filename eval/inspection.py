"""A look into video files before they are compared: readable, and long enough?"""

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dynamicrafter.errors import MediaError
from dynamicrafter.features.cache import load, store
from dynamicrafter.files import file_digest, sha256_json
from dynamicrafter.media.decode import read_frames
from dynamicrafter.media.isolation import Isolation
from dynamicrafter.media.probe import probe
from dynamicrafter.progress import progress

TIMEOUT_S = 60.0  # for one file
VERSION = 1  # of the look; another one makes new entries in the cache


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


@dataclass(frozen=True)
class Inspector:
    """Looks into video files.

    Attributes:
        workers: processes for foreign files, which may be killed; 0 looks into them in this one.
        cache: the folder where a set that was found good stays known by its contents.
    """

    workers: int
    cache: Path

    def __call__(self, videos: Mapping[str, Path], frames: int, foreign: bool) -> Inspected:
        """Look into videos, each of which must have `frames` frames.

        Args:
            videos: a file by key.
            frames: fewer are too few.
            foreign: whether somebody else made the files: those are decoded up to there.
        """
        keys = sorted(videos)
        contents = [[key, file_digest(videos[key])] for key in keys]
        place = sha256_json([f"inspection/{VERSION}", frames, foreign, contents])
        if (known := load(self.cache, place)) is not None:
            return Inspected(dict(zip(keys, map(_facts, known["facts"]), strict=True)), {})
        good: dict[str, Facts] = {}
        bad: dict[str, str] = {}
        with progress("inspect", len(videos), "videos") as advance:
            for key, found in _looks(videos, frames, foreign, self.workers):
                if isinstance(found, Facts):
                    good[key] = found
                else:
                    bad[key] = found
                advance(1)
        if not bad:
            rows = [(one.frames, *one.size, one.fps) for one in (good[key] for key in keys)]
            store(self.cache, place, {"facts": np.array(rows, np.float64)})
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


def _looks(
    videos: Mapping[str, Path], frames: int, foreign: bool, workers: int
) -> Iterator[tuple[str, Facts | str]]:
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


def _told(call: Callable[..., Facts], frames: int, *arguments: object) -> Facts | str:
    """The facts, or in words why the video cannot be used."""
    try:
        return call(*arguments)
    except MediaError as error:
        if error.reason == "too_short":
            return f"shorter than the {frames} frames of a window"
        return f"{error.reason}: {error}"


def _facts(row: np.ndarray) -> Facts:
    frames, width, height, fps = row.tolist()
    return Facts(int(frames), (int(width), int(height)), fps)
