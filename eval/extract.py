"""Features of windows: from the cache, or decoded once and seen by every network that lacks them.

A network is loaded when a window needs it, so a second look at the same videos loads none, nor
torch.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from omegaconf import DictConfig

from dynamicrafter.ahead import ahead
from dynamicrafter.command import choose_device
from dynamicrafter.errors import InputError
from dynamicrafter.features.cache import feature_key, load, store
from dynamicrafter.features.network import Network
from dynamicrafter.files import sha256_bytes, sha256_json
from dynamicrafter.progress import progress
from eval.methods import first_of
from eval.windows import Seen

if TYPE_CHECKING:
    import torch

Compute = Callable[[np.ndarray], np.ndarray]

LARGEST_PACK = 2**27  # bytes of the features of a set that are also kept in one file


class Features:
    """Features on disk, in `folder`, by content, network and preprocessing."""

    def __init__(self, folder: Path, batch: int, workers: int | str, device: str):
        """`batch` videos are seen at a time, decoded by `workers` processes, see `decoded`.

        `device` is looked for when a network is needed, see `choose_device`.
        """
        self.folder = folder
        self.batch = batch
        self.workers = workers
        self._device_name = device
        self._loaded: dict[str, Compute] = {}

    @cached_property
    def device(self) -> "torch.device":
        """Where networks run."""
        return choose_device(self._device_name)

    def of(
        self, windows: Sequence[Seen], networks: Sequence[Network], title: str
    ) -> dict[str, np.ndarray]:
        """The features of `windows` in their order, `[n, ...]`, by the name of the network.

        Raises:
            InputError: a video cannot be decoded, or its features are not finite.
            MissingWeights: a network is needed and its weights do not fit.
        """
        contents = [window.content() for window in windows]
        packs = _keys(sha256_json(contents), networks)
        whole = [load(self.folder, pack) for pack in packs]
        if all(pack is not None for pack in whole):
            return {
                one.name: pack["features"]
                for one, pack in zip(networks, whole, strict=True)
                if pack is not None
            }
        keys = [_keys(content, networks) for content in contents]
        rows = [[load(self.folder, key) for key in of_window] for of_window in keys]
        waiting = [index for index, found in enumerate(rows) if any(row is None for row in found)]
        with progress(title, len(windows), "videos", start=len(windows) - len(waiting)) as advance:
            for part, frames in self._decoded([windows[index] for index in waiting]):
                indices = [waiting[number] for number in part]
                for column, network in enumerate(networks):
                    wanted = [n for n, i in enumerate(indices) if rows[i][column] is None]
                    if not wanted:
                        continue
                    names = [windows[indices[n]].key for n in wanted]
                    needed = frames if len(wanted) == len(frames) else frames[wanted]
                    for n, row in zip(wanted, self._see(network, needed, names), strict=True):
                        store(self.folder, keys[indices[n]][column], {"features": row})
                        rows[indices[n]][column] = {"features": row}
                advance(len(indices))
        together = {
            network.name: np.stack([found[column]["features"] for found in rows])
            for column, network in enumerate(networks)
        }
        for pack, features in zip(packs, together.values(), strict=True):
            if features.nbytes <= LARGEST_PACK:
                store(self.folder, pack, {"features": features})
        return together

    def texts(self, prompts: Sequence[str], network: Network, config: DictConfig) -> np.ndarray:
        """CLIP's embeddings of prompts, `[n, d]`; the model is loaded if one is not known yet."""
        keys = [
            feature_key(sha256_bytes(prompt.encode()), network.fingerprint, "text")
            for prompt in prompts
        ]
        rows = [load(self.folder, key) for key in keys]
        missing = [index for index, row in enumerate(rows) if row is None]
        if missing:
            from dynamicrafter.features.clip import load_clip

            model = load_clip(config.clip, config.clip_name, self.device)
            found = model.texts([prompts[index] for index in missing])
            for index, embedding in zip(missing, found, strict=True):
                rows[index] = store(self.folder, keys[index], {"features": embedding})
        return np.stack([row["features"] for row in rows if row is not None])

    def _decoded(self, windows: Sequence[Seen]) -> Iterator[tuple[list[int], np.ndarray]]:
        if not windows:
            return
        from eval.decoding import decoded  # imports torch

        yield from ahead(decoded(windows, self.batch, self.workers, self.device))

    def _see(self, network: Network, frames: np.ndarray, keys: Sequence[str]) -> np.ndarray:
        if network.fingerprint not in self._loaded:
            self._loaded[network.fingerprint] = network.load(self.device)
        found = np.asarray(self._loaded[network.fingerprint](frames))
        finite = np.isfinite(found).reshape(len(found), -1).all(axis=1)
        if not finite.all():
            bad = [key for key, good in zip(keys, finite, strict=True) if not good]
            raise InputError(f"{network.name} gives values that are not finite for {first_of(bad)}")
        return found


def _keys(content: str, networks: Sequence[Network]) -> list[str]:
    return [feature_key(content, one.fingerprint, one.preprocessing) for one in networks]
