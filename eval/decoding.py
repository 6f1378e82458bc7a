"""Windows decoded a batch at a time, for the networks that see them."""

import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from torch.utils.data import Dataset

from dynamicrafter.ahead import cores
from dynamicrafter.errors import InputError, MediaError, ToolkitError
from dynamicrafter.loaders import loaded
from eval.windows import Seen

AUTO = "auto"
MOST_WORKERS = 16  # that `auto` starts: more than one network keeps busy
ENOUGH_SHARED = 2**31  # bytes of shared memory for the batches of so many


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
