"""Things made while the last ones are used: in a thread, or by processes that step back for it."""

import os
import queue
import threading
from collections.abc import Iterable, Iterator
from typing import TypeVar

Item = TypeVar("Item")

READY = 2  # things that are made before they are asked for
STEP_BACK = 10  # by which the priority of a process that decodes is lowered


def ahead(items: Iterable[Item], count: int = READY) -> Iterator[Item]:
    """The items in their order, up to `count` of them made before they are asked for.

    An error of theirs is raised here, after what came before it. When nobody asks any more, the
    thread ends with the item that it is at.
    """
    ready: queue.Queue = queue.Queue(count)
    abandoned = threading.Event()

    def put(value: object) -> None:
        while not abandoned.is_set():
            try:
                return ready.put(value, timeout=0.1)
            except queue.Full:
                continue

    def make() -> None:
        try:
            for item in items:
                put((item, None))
                if abandoned.is_set():
                    return
            put((None, None))
        except BaseException as error:  # noqa: BLE001 - raised where the item is asked for
            put((None, error))

    thread = threading.Thread(target=make, daemon=True)
    thread.start()
    try:
        while True:
            item, error = ready.get()
            if error is not None:
                raise error
            if item is None:
                return
            yield item
    finally:
        abandoned.set()
        thread.join()


def step_back(worker: int = 0) -> None:
    """Let this process give way to the one that uses what it makes, where all want the cores.

    For DataLoader's `worker_init_fn`: a GPU waits for the process that starts its kernels.
    """
    os.nice(STEP_BACK)


def cores() -> int:
    """How many this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
