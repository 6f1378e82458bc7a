"""Features on disk, keyed by what they are a function of: content, network and preprocessing."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import safetensors
import safetensors.numpy

from dynamicrafter.files import sha256_bytes, sha256_json, write_bytes

Features = dict[str, np.ndarray]


def feature_key(content_sha256: str, network: str, preprocessing: str) -> str:
    """The key of an entry: hex SHA-256 of the video's digest, the network and the preprocessing."""
    return sha256_json([content_sha256, network, preprocessing])


def load_or_compute(folder: Path, key: str, compute: Callable[[], Features]) -> Features:
    """The entry `key` of the cache in `folder`; computed and stored if it is absent or broken.

    Writers do not disturb each other: an entry appears whole, and equal keys mean equal content.
    """
    stored = load(folder, key)
    return store(folder, key, compute()) if stored is None else stored


def store(folder: Path, key: str, features: Features) -> Features:
    """Write an entry, whole or not at all, and return it.

    A network does not wait for the disk: what a power cut tears is found broken and made anew.
    """
    features = {name: np.ascontiguousarray(array) for name, array in features.items()}
    content = safetensors.numpy.save(features, {"sha256": _digest(features)})
    write_bytes(_path(folder, key), content, durable=False)
    return features


def load(folder: Path, key: str) -> Features | None:
    """An entry; None where there is none or it is broken."""
    try:
        with safetensors.safe_open(_path(folder, key), "np") as file:
            features = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            expected = (file.metadata() or {}).get("sha256")
    except (FileNotFoundError, safetensors.SafetensorError):
        return None
    return features if _digest(features) == expected else None


def _path(folder: Path, key: str) -> Path:
    return Path(folder) / key[:2] / f"{key}.safetensors"


def _digest(features: Features) -> str:
    return sha256_json(
        {
            name: [str(array.dtype), list(array.shape), sha256_bytes(array.tobytes())]
            for name, array in features.items()
        }
    )
