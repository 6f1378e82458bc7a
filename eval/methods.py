"""Generated videos: the run folder of `animate`, or anyone's folder of videos named by key."""

import os
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dynamicrafter.errors import InputError
from dynamicrafter.files import file_digest, file_digests, inside, sha256_json
from dynamicrafter.shards import sample_key
from eval import sources
from eval.protocols import Protocol

SUFFIXES = (".avi", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".ts", ".webm")


@dataclass(frozen=True)
class Method:
    """The videos of a method.

    Attributes:
        name: in tables.
        folder: where they lie.
        videos: a file by key.
        prompts: by key; empty where the folder does not tell.
        settings: of `animate`; None for a folder of videos.
        digest: of the run, or of names and contents.
    """

    name: str
    folder: Path
    videos: dict[str, Path]
    prompts: dict[str, str]
    settings: dict[str, Any] | None
    digest: str

    @property
    def foreign(self) -> bool:
        """Whether somebody else made the files."""
        return self.settings is None


def open_method(path: str, name: str | None = None) -> Method:
    """The videos at `path`; the folder's own name serves where `name` is None.

    Raises:
        InputError: no such folder, no video in it, an unfinished run, two videos of one key.
    """
    folder = Path(path)
    made_by_animate = any((folder / name).is_file() for name in ("run.json", "items.json"))
    if folder.is_dir() and not made_by_animate:
        return _of_folder(folder, name)
    sources.run_folder(path, "animate", "generated")
    items = sources.document(folder / "items.json", ["settings", "items"])
    return Method(
        name or folder.name,
        folder,
        {item["key"]: inside(folder, item["video"]) for item in items["items"]},
        {item["key"]: item["prompt"] for item in items["items"]},
        items["settings"],
        sources.digest(folder),
    )


def video_files(folder: Path) -> dict[str, Path]:
    """The video files in a folder and below it, by the key that their names without suffix give.

    Raises:
        InputError: no video, or two of one key.
    """
    found = defaultdict(list)
    below = (os.path.join(place, name) for place, _, names in os.walk(folder) for name in names)
    for name in sorted(below):
        if os.path.splitext(name)[1].lower() in SUFFIXES and os.path.isfile(name):
            path = Path(name)
            found[sample_key(path.stem)].append(path)
    if not found:
        raise InputError(f"{folder} holds no video ({', '.join(SUFFIXES)})")
    for key, paths in found.items():
        if len(paths) > 1:
            raise InputError(f"{paths[0]} and {paths[1]} have the same key {key}; rename one")
    return {key: paths[0] for key, paths in found.items()}


def folder_digest(videos: dict[str, Path]) -> str:
    """Of the keys and contents of video files."""
    keys = sorted(videos)
    digests = file_digests([videos[key] for key in keys])
    return sha256_json([list(pair) for pair in zip(keys, digests, strict=True)])


def doubled(videos: dict[str, Path]) -> list[list[str]]:
    """The groups of keys whose files are equal byte for byte."""
    groups = defaultdict(list)
    for key, path in sorted(videos.items()):
        groups[file_digest(path)].append(key)
    return [keys for keys in groups.values() if len(keys) > 1]


def other_sampling(method: Method, protocol: Protocol) -> list[str]:
    """What the protocol says of the sampler and the method does otherwise, in words."""
    if method.settings is None or protocol.sampling is None:
        return []
    said = method.settings
    return [
        f"{name} is {said[name]}, not {wanted}" if name in said else f"{name} is not stated"
        for name, wanted in protocol.sampling.items()
        if name not in said or said[name] != wanted
    ]


def first_of(keys: Sequence[str]) -> str:
    """A few of many keys, for a message."""
    more = f" and {len(keys) - 3} more" if len(keys) > 3 else ""
    return ", ".join(keys[:3]) + more


def _of_folder(folder: Path, name: str | None) -> Method:
    videos = video_files(folder)
    return Method(name or folder.name, folder, videos, {}, None, folder_digest(videos))
