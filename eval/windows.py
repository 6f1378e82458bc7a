"""The windows of frames that are compared: cut from real clips, or generated.

A window is read when it is needed and not kept, so 2048 of them take no more memory than one batch.
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dynamicrafter.errors import InputError
from dynamicrafter.files import inside, sha256_bytes, sha256_json
from dynamicrafter.media.decode import read_frames
from dynamicrafter.media.probe import probe
from dynamicrafter.media.sampling import center_crop
from dynamicrafter.shards import ShardReader
from eval.protocols import Protocol


@dataclass(frozen=True)
class Window:
    """One window: `frames` frames of a video, `stride` apart from the first on, cut to a size."""

    key: str
    video: Callable[[], bytes]  # reads the mp4
    frames: int
    stride: int
    resolution: tuple[int, int]  # height, width
    fps: float  # frames of the window per second of the scene

    def read(self) -> np.ndarray:
        """The frames, uint8 [t, h, w, 3], fitted as `animate` fits the image it starts from."""
        wanted = range(0, self.frames * self.stride, self.stride)
        return center_crop(read_frames(self.video(), wanted), self.resolution)

    def content(self) -> str:
        """The digest of the video and of how it is cut and timed."""
        cut = [self.frames, self.stride, self.resolution, self.fps]
        return sha256_json([sha256_bytes(self.video()), cut])


def real_windows(
    reader: ShardReader, keys: Sequence[str], protocol: Protocol, count: int | None = None
) -> tuple[list[Window], list[str]]:
    """The first `count` windows of the clips `keys`, and the keys that were too short for one."""
    place = {key: index for index, key in enumerate(reader.keys)}
    windows, short = [], []
    for key in keys:
        if len(windows) == count:
            break
        index = place[key]
        if reader.frames[index] < protocol.span:
            short.append(key)
            continue
        fps = float(reader.fps[index]) / protocol.stride
        windows.append(_window(key, _member(reader, index), protocol, protocol.stride, fps))
    return windows, short


def generated_windows(
    folder: Path, items: Sequence[Mapping[str, Any]], real: Sequence[Window], protocol: Protocol
) -> list[Window]:
    """The generated videos that belong to `real`, in its order.

    Raises:
        InputError: a video is not what the protocol says.
    """
    by_key = {item["key"]: item for item in items}
    windows = []
    for window in real:
        path = inside(folder, by_key[window.key]["video"])
        facts = probe(path)
        height, width = protocol.resolution
        if (facts.frames, facts.width, facts.height) != (protocol.frames, width, height):
            raise InputError(
                f"{path} has {facts.frames} frames of {facts.width}x{facts.height}, protocol "
                f"{protocol.name} says {protocol.frames} of {width}x{height}; sample at that "
                "size or choose another protocol"
            )
        windows.append(_window(window.key, path.read_bytes, protocol, 1, window.fps))
    return windows


def by_hash(keys: Sequence[str]) -> list[str]:
    """The keys in the order of their hashes: a choice that depends on nothing else."""
    return sorted(keys, key=lambda key: hashlib.sha256(key.encode()).hexdigest())


def _member(reader: ShardReader, index: int) -> Callable[[], bytes]:
    return lambda: reader[index].video


def _window(
    key: str, video: Callable[[], bytes], protocol: Protocol, stride: int, fps: float
) -> Window:
    return Window(key, video, protocol.frames, stride, protocol.resolution, fps)
