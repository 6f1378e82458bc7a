"""The CLIP network that alignment and aesthetic score stand on: loaded once a process."""

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from dynamicrafter.files import sha256_bytes, sha256_file

if TYPE_CHECKING:
    from dynamicrafter.features.clip import Clip

_last: dict[str, np.ndarray] = {}  # at most one entry: both measures ask for the same frames


def missing(what: str, path: str | None) -> str:
    """Why a file of weights cannot be read, or an empty string.

    Args:
        what: name of the setting that holds the path.
        path: the setting.
    """
    if not path:
        return f"no weights are given; set {what}"
    if not Path(path).is_file():
        return f"there is no file {path}; set {what}"
    return ""


def digest(path: str) -> str:
    """Hex SHA-256 of a file of weights; computed again only if the file has changed."""
    facts = Path(path).stat()
    return _digest(path, facts.st_size, facts.st_mtime_ns)


@functools.cache
def _digest(path: str, size: int, changed_ns: int) -> str:
    return sha256_file(path)


@functools.cache
def load(checkpoint: str, model: str, device: str) -> "Clip":
    """The network, see `dynamicrafter.features.clip.load_clip`."""
    from dynamicrafter.features.clip import load_clip

    return load_clip(checkpoint, model, device)


def frame_embeddings(clip: "Clip", frames: Sequence[np.ndarray], count: int) -> np.ndarray:
    """Embeddings of at most `count` evenly spaced frames, the first among them.

    Args:
        clip: the network.
        frames: uint8 RGB [h, w, 3] each.
        count: how many.

    Returns:
        float32 [n, d], each of length 1.
    """
    count = min(count, len(frames))
    chosen = np.linspace(0, len(frames) - 1, count).round().astype(int)
    video = np.stack([frames[i] for i in chosen])  # [n, h, w, 3]
    key = f"{clip.fingerprint}/{video.shape}/{sha256_bytes(video.tobytes())}"
    if key not in _last:
        _last.clear()
        _last[key] = normalised(clip.images(video))
    return _last[key]


def normalised(embeddings: np.ndarray) -> np.ndarray:
    """Rows of [n, d] brought to length 1."""
    return embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)
