"""Things made of a data set by processes of their own, which outlive no one and stop for nobody."""

import contextlib
import mmap
import pickle
import signal
import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator
from multiprocessing.reduction import DupFd
from multiprocessing.util import Finalize
from typing import IO, Any, TypeVar

from torch.utils.data import DataLoader, Dataset

from dynamicrafter.ahead import step_back
from dynamicrafter.errors import MachineError, ToolkitError
from dynamicrafter.stopping import kept_from_children

Value = TypeVar("Value")

PREFETCHED = 2  # things that each process holds ready


def loaded(
    dataset: Dataset,
    positions: Iterable[list[int]],
    collate: Callable[[list], Value | ToolkitError],
    workers: int,
    remedy: str,
    pinned: bool,
    prefetched: int = PREFETCHED,
) -> Iterator[Value]:
    """What `workers` processes (0: this one) make of a data set, `prefetched` ready in each.

    Args:
        dataset: indexed by numbers; may give errors as items.
        positions: a list of numbers for each thing that is yielded.
        collate: makes a thing of items; may give an error, which is raised here.
        workers: processes; they give way to others that want the cores, see `step_back`.
        remedy: what to do where they need too much memory, for the message.
        pinned: tensors come in memory from which a GPU fetches them by itself.
        prefetched: things that each holds ready.

    Raises:
        ToolkitError: one that was given.
        MachineError: a loader process was killed.
    """
    loader = DataLoader(
        _Handed(dataset) if workers else dataset,
        batch_sampler=positions,
        collate_fn=collate,
        num_workers=workers,
        multiprocessing_context="spawn" if workers else None,
        prefetch_factor=prefetched if workers else None,
        pin_memory=pinned,
        worker_init_fn=step_back if workers else None,
    )
    with _own_child_signal(), kept_from_children():
        ready = iter(loader)
    _end_with_this_process(ready)
    while (batch := _next(ready, remedy)) is not None:
        if isinstance(batch, ToolkitError):
            raise batch
        yield batch


class _Handed(Dataset):
    """A data set that its processes read from one file, which has no name and ends with them.

    As part of what a process is started with, one that is larger than a pipe holds would keep the
    next from starting until this one had imported all that it needs: a minute for 15 of them.
    """

    def __init__(self, dataset: Dataset):
        self._dataset = dataset
        self._file: IO[bytes] | None = None

    def __getitem__(self, index: int) -> Any:
        return self._dataset[index]

    def __reduce__(self) -> tuple:
        if self._file is None:
            self._file = tempfile.TemporaryFile()  # noqa: SIM115 - ends with the data set
            pickle.dump(self._dataset, self._file, pickle.HIGHEST_PROTOCOL)
            self._file.flush()
        return _received, (DupFd(self._file.fileno()),)


def _received(descriptor: Any) -> Dataset:
    # The processes share one place in the file, so each looks at all of it without moving there.
    with (
        open(descriptor.detach(), "rb") as file,
        mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data,
    ):
        return pickle.loads(data)


def _next(ready: Iterator[Value | ToolkitError], remedy: str) -> Value | ToolkitError | None:
    try:
        return next(ready, None)
    except (RuntimeError, ConnectionError, EOFError, FileNotFoundError) as error:
        # Of the latter three one comes where a worker dies while a batch is being taken from it.
        said = str(error)
        told = "DataLoader worker" in said and "exited unexpectedly" in said
        if isinstance(error, RuntimeError) and not told:
            raise
        raise MachineError(
            "a loader process was killed, likely for want of memory or of shared memory "
            f"(/dev/shm); {remedy}"
        ) from None


@contextlib.contextmanager
def _own_child_signal() -> Iterator[None]:
    """Keep torch from raising the death of a worker wherever this process happens to be.

    Its handler of SIGCHLD would end a training step in the middle; without it, the death shows
    when the next batch is asked for.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.getsignal(signal.SIGCHLD)
    try:
        yield
    finally:
        signal.signal(signal.SIGCHLD, before)


def _end_with_this_process(ready: Iterator) -> None:
    """Kill workers that still live when this process, or what is made of them, ends.

    Python would send them SIGTERM, which they never see, and wait for their end for ever.
    """
    if workers := getattr(ready, "_workers", []):
        Finalize(ready, _kill, (workers,), exitpriority=0)


def _kill(workers: list) -> None:
    for worker in workers:
        worker.kill()
