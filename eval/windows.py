"""The windows of frames that are compared: cut from real videos, or generated.

A window is read when it is needed and not kept, so 2048 of them take no more memory than one batch.
It can be sent to a process that decodes it.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol as Interface

import numpy as np

from dynamicrafter.draws import generator
from dynamicrafter.errors import InputError
from dynamicrafter.files import file_digest, sha256_bytes, sha256_json
from dynamicrafter.images import open_image
from dynamicrafter.media.decode import read_frames
from dynamicrafter.media.sampling import center_crop
from dynamicrafter.shards import ShardReader
from eval.protocols import Protocol


class Seen(Interface):
    """What a network sees: a key for messages, the frames, and a digest of both."""

    key: str

    def read(self) -> np.ndarray:
        """The frames, uint8 `[t, h, w, 3]`."""

    def content(self) -> str:
        """Hex SHA-256 of all that `read` depends on."""


@dataclass(frozen=True)
class Member:
    """A clip in a shard."""

    reader: ShardReader
    index: int

    def data(self) -> bytes:
        """Its mp4 file."""
        return self.reader[self.index].video

    def digest(self) -> str:
        """Of the mp4 file."""
        return sha256_bytes(self.data())


@dataclass(frozen=True)
class VideoFile:
    """A video file; `sha256` where it is known, and then the file must have it when it is read."""

    path: Path
    sha256: str | None = None

    def data(self) -> Path:
        """Where it lies.

        Raises:
            InputError: it has changed since its digest was taken.
        """
        if self.sha256 is not None and file_digest(self.path) != self.sha256:
            raise InputError(f"{self.path} is not the file that was selected; select again")
        return self.path

    def digest(self) -> str:
        """Of the file."""
        return self.sha256 or file_digest(self.path)


@dataclass(frozen=True)
class Window:
    """`frames` frames of a video, `stride` apart from `start` on, brought to a size.

    `fps` are frames of the window per second of the scene.
    """

    key: str
    video: Member | VideoFile
    start: int
    frames: int
    stride: int
    resolution: tuple[int, int]  # height, width
    fps: float

    def read(self) -> np.ndarray:
        """The frames, uint8 `[t, h, w, 3]`, fitted as `animate` fits the image it starts from."""
        end = self.start + self.frames * self.stride
        frames = read_frames(self.video.data(), range(self.start, end, self.stride))
        return center_crop(frames, self.resolution)

    def content(self) -> str:
        """The digest of the video and of how it is cut and timed."""
        cut = [self.start, self.frames, self.stride, self.resolution, self.fps]
        return sha256_json([self.video.digest(), cut])


@dataclass(frozen=True)
class Still:
    """An image, brought to a size: a window of one frame."""

    key: str
    path: Path
    resolution: tuple[int, int]  # height, width

    def read(self) -> np.ndarray:
        """uint8 `[1, h, w, 3]`."""
        return center_crop(open_image(self.path)[None], self.resolution)

    def content(self) -> str:
        """The digest of the file and of the size."""
        return sha256_json([file_digest(self.path), self.resolution])


def shard_windows(
    reader: ShardReader, keys: Sequence[str], protocol: Protocol, count: int | None = None
) -> tuple[list[Window], list[str]]:
    """The first `count` windows of the clips `keys`, and the keys that were too short for one."""
    place = {key: index for index, key in enumerate(reader.keys)}
    windows, short = [], []
    for key in keys:
        if len(windows) == count:
            break
        index = place[key]
        frames = int(reader.frames[index])
        if frames < protocol.span:
            short.append(key)
            continue
        fps = float(reader.fps[index]) / protocol.stride
        start = window_start(protocol, key, frames)
        windows.append(window(key, Member(reader, index), start, protocol, protocol.stride, fps))
    return windows, short


def window(
    key: str,
    video: Member | VideoFile,
    start: int,
    protocol: Protocol,
    stride: int,
    fps: float,
) -> Window:
    """A window of the length and size that the protocol says."""
    return Window(key, video, start, protocol.frames, stride, protocol.resolution, fps)


def window_start(protocol: Protocol, key: str, frames: int) -> int:
    """Where the real window begins in a video of `frames` frames: a function of seed and key."""
    if protocol.start == "first":
        return 0
    starts = frames - protocol.span + 1
    return int(generator(protocol.seed, 0, f"start/{key}").integers(starts))


def by_hash(keys: Sequence[str]) -> list[str]:
    """The keys in the order of their hashes: a choice that depends on nothing else."""
    return sorted(keys, key=lambda key: hashlib.sha256(key.encode()).hexdigest())
