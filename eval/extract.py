"""Features of windows: from the cache, or decoded once and seen by every network that lacks them.

A network is loaded when a window needs it, so a second look at the same videos loads none.
"""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from omegaconf import DictConfig
from torch.utils.data import DataLoader, Dataset

from dynamicrafter.ahead import ahead, step_back
from dynamicrafter.errors import InputError, MediaError
from dynamicrafter.features.cache import feature_key, load, store
from dynamicrafter.features.network import Network, ready_to_travel
from dynamicrafter.files import sha256_bytes, sha256_json
from dynamicrafter.progress import progress
from eval.methods import first_of
from eval.windows import Seen

Compute = Callable[[np.ndarray], np.ndarray]

LARGEST_PACK = 2**27  # bytes of the features of a set that are also kept in one file


class Features:
    """Features on disk, in `folder`, by content, network and preprocessing."""

    def __init__(self, folder: Path, batch: int, workers: int, device: torch.device):
        """`batch` videos are seen at a time, decoded by `workers` processes (0: by this one)."""
        self.folder = folder
        self.batch = batch
        self.workers = workers
        self.device = device
        self._loaded: dict[str, Compute] = {}

    def of(
        self, windows: Sequence[Seen], networks: Sequence[Network], title: str
    ) -> dict[str, np.ndarray]:
        """The features of `windows` in their order, `[n, ...]`, by the name of the network.

        Raises:
            InputError: a video cannot be decoded, or its features are not finite.
            MissingWeights: a network is needed and its weights do not fit.
        """
        keys = [
            [feature_key(content, one.fingerprint, one.preprocessing) for one in networks]
            for content in (window.content() for window in windows)
        ]
        packs = [sha256_json([key[column] for key in keys]) for column in range(len(networks))]
        whole = [load(self.folder, pack) for pack in packs]
        if all(pack is not None for pack in whole):
            return {
                one.name: pack["features"]
                for one, pack in zip(networks, whole, strict=True)
                if pack is not None
            }
        rows = [[load(self.folder, key) for key in of_window] for of_window in keys]
        waiting = [index for index, found in enumerate(rows) if any(row is None for row in found)]
        with progress(title, len(windows), "videos", start=len(windows) - len(waiting)) as advance:
            for indices, frames in ahead(self._decoded(windows, waiting)):
                for column, network in enumerate(networks):
                    wanted = [n for n, i in enumerate(indices) if rows[i][column] is None]
                    if not wanted:
                        continue
                    names = [windows[indices[n]].key for n in wanted]
                    for n, row in zip(
                        wanted, self._see(network, frames[wanted], names), strict=True
                    ):
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

    def _see(self, network: Network, frames: np.ndarray, keys: Sequence[str]) -> np.ndarray:
        if network.fingerprint not in self._loaded:
            self._loaded[network.fingerprint] = network.load(self.device)
        found = np.asarray(self._loaded[network.fingerprint](frames))
        finite = np.isfinite(found).reshape(len(found), -1).all(axis=1)
        if not finite.all():
            bad = [key for key, good in zip(keys, finite, strict=True) if not good]
            raise InputError(f"{network.name} gives values that are not finite for {first_of(bad)}")
        return found

    def _decoded(
        self, windows: Sequence[Seen], indices: Sequence[int]
    ) -> Iterator[tuple[list[int], np.ndarray]]:
        """Batches of indices with their frames `[b, t, h, w, 3]`."""
        if not indices:
            return
        loader = DataLoader(
            _Frames([windows[index] for index in indices]),
            batch_size=self.batch,
            num_workers=self.workers,
            multiprocessing_context="spawn" if self.workers else None,
            collate_fn=list,
            worker_init_fn=step_back if self.workers else None,
        )
        first = 0
        for rows in loader:
            part = indices[first : first + len(rows)]
            first += len(rows)
            if failures := [row for row in rows if isinstance(row, str)]:
                raise InputError(failures[0])
            yield list(part), ready_to_travel(np.stack(rows), self.device)


class _Frames(Dataset):
    """Index → frames, or in words why not: an exception would lose its type on the way."""

    def __init__(self, windows: Sequence[Seen]):
        self.windows = windows

    def __len__(self) -> int:
        return len(self.windows)

    def __getitem__(self, index: int) -> np.ndarray | str:
        window = self.windows[index]
        try:
            return window.read()
        except MediaError as error:
            return f"the video {window.key} cannot be read: {error}"
        except InputError as error:
            return str(error)
