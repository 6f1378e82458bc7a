"""Features of windows: from the cache, or decoded once and seen by every network that lacks them.

A network is loaded when a window needs it, so a second look at the same videos loads none.
"""

import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from omegaconf import DictConfig
from torch.utils.data import Dataset

from dynamicrafter.ahead import ahead, cores
from dynamicrafter.errors import InputError, MediaError, ToolkitError
from dynamicrafter.features.cache import feature_key, load, store
from dynamicrafter.features.network import Network
from dynamicrafter.files import sha256_bytes, sha256_json
from dynamicrafter.loaders import loaded
from dynamicrafter.progress import progress
from eval.methods import first_of
from eval.windows import Seen

Compute = Callable[[np.ndarray], np.ndarray]

AUTO = "auto"
MOST_WORKERS = 16  # that `auto` starts: more than one network keeps busy
ENOUGH_SHARED = 2**31  # bytes of shared memory for the batches of so many
LARGEST_PACK = 2**27  # bytes of the features of a set that are also kept in one file


class Features:
    """Features on disk, in `folder`, by content, network and preprocessing."""

    def __init__(self, folder: Path, batch: int, workers: int | str, device: torch.device):
        """`batch` videos are seen at a time, decoded by `workers` processes, see `decoded`."""
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
            unseen = [windows[index] for index in waiting]
            for part, frames in ahead(decoded(unseen, self.batch, self.workers, self.device)):
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

    def _see(self, network: Network, frames: np.ndarray, keys: Sequence[str]) -> np.ndarray:
        if network.fingerprint not in self._loaded:
            self._loaded[network.fingerprint] = network.load(self.device)
        found = np.asarray(self._loaded[network.fingerprint](frames))
        finite = np.isfinite(found).reshape(len(found), -1).all(axis=1)
        if not finite.all():
            bad = [key for key, good in zip(keys, finite, strict=True) if not good]
            raise InputError(f"{network.name} gives values that are not finite for {first_of(bad)}")
        return found


def decoded(
    windows: Sequence[Seen], batch: int, workers: int | str, device: torch.device
) -> Iterator[tuple[list[int], np.ndarray]]:
    """Their frames, `batch` windows at a time: the windows' numbers, and uint8 `[b, t, h, w, 3]`.

    Args:
        windows: of one size.
        batch: windows at a time.
        workers: processes that decode, 0 for this one; `auto`: for a GPU all cores but one, which
            has the network to feed, and at most 16; for a CPU 0.
        device: where the networks are.

    Raises:
        InputError: a window cannot be read; `workers` is no number of processes.
        MachineError: a process that decodes was killed.
    """
    parts = [
        list(range(first, min(first + batch, len(windows))))
        for first in range(0, len(windows), batch)
    ]
    cuda = device.type == "cuda"
    if workers == AUTO:
        workers = min(cores() - 1, MOST_WORKERS) if cuda else 0
    if not isinstance(workers, int) or workers < 0:
        raise InputError(f"workers={workers} is no number of processes; choose one, or {AUTO}")
    processes = min(workers, len(parts))
    stacked = _in_shared_memory if _shared_memory() >= ENOUGH_SHARED else _stacked
    remedy = "pass a lower workers or batch"
    frames = loaded(_Frames(windows), parts, stacked, processes, remedy, pinned=cuda)
    for part, stack in zip(parts, frames, strict=True):
        yield part, np.asarray(stack)


class _Frames(Dataset):
    """Index → frames, or why not: an exception that is raised would lose its type on the way."""

    def __init__(self, windows: Sequence[Seen]):
        self.windows = windows

    def __len__(self) -> int:
        return len(self.windows)

    def __getitem__(self, index: int) -> np.ndarray | ToolkitError:
        window = self.windows[index]
        try:
            return window.read()
        except (MediaError, OSError) as error:
            return InputError(f"the video {window.key} cannot be read: {error}")
        except InputError as error:
            return error


def _stacked(rows: list[np.ndarray | ToolkitError]) -> np.ndarray | ToolkitError:
    errors = [row for row in rows if isinstance(row, ToolkitError)]
    return errors[0] if errors else np.stack(rows)


def _in_shared_memory(rows: list[np.ndarray | ToolkitError]) -> torch.Tensor | ToolkitError:
    """A tensor, which another process need not copy as it does an array."""
    whole = _stacked(rows)
    return whole if isinstance(whole, ToolkitError) else torch.from_numpy(whole)


def _shared_memory() -> int:
    """Bytes that are free in it; containers often have no more than 64 MB."""
    folder = Path("/dev/shm")
    return shutil.disk_usage(folder).free if folder.is_dir() else ENOUGH_SHARED
