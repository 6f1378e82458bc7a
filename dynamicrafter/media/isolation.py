"""Calls that may hang or die without harm, in worker processes that are killed and replaced.

A decoder can loop on a broken file or fall over. A call gets a second chance, and after that its
failure is its result. Every engine works through this, so a clip is quarantined by the same rule
everywhere.
"""

import ctypes
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import CancelledError, Future
from typing import Any, Self

from dynamicrafter.errors import MediaError

STRIKES = 2
TIMEOUT, CRASHED = "timeout", "crashed"


class Isolation:
    """Calls a function in a worker process: `isolated(function, *args)` is function(*args).

    Or it raises a MediaError: the function's own, `timeout` or `crashed`. Any other exception
    passes through.

    As many threads may call it at once as there are workers. The processes end with the block, and
    die with this process however it ends.
    """

    def __init__(self, workers: int, timeout_s: float):
        """Args are the number of processes, of one thread each, and the seconds for one call."""
        from pebble import ProcessPool

        self._timeout_s = timeout_s
        self._running: set[Future] = set()
        self._stopped = False
        self._pool = ProcessPool(
            max_workers=workers,
            context=multiprocessing.get_context("spawn"),
            initializer=_begin_worker,
            initargs=(os.getpid(),),
        )
        # The pool starts its processes in the thread that first uses it, and they die with that.
        self._pool.schedule(os.getpid)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *details: object) -> None:
        self.stop()

    def stop(self) -> None:
        """End the processes; calls that wait for one, and later ones, raise CancelledError."""
        self._stopped = True
        for future in list(self._running):
            future.cancel()
        self._pool.stop()
        self._pool.join()

    def __call__(self, function: Callable[..., Any], *args: Any) -> Any:
        """Run `function`, of a module's top level, in a process."""
        from pebble import ProcessExpired

        for strike in range(1, STRIKES + 1):
            if self._stopped:
                raise CancelledError
            try:
                future = self._pool.schedule(function, args=args, timeout=self._timeout_s)
            except RuntimeError:
                if self._stopped:  # between the look and the call
                    raise CancelledError from None
                raise
            self._running.add(future)
            try:
                return future.result()
            except TimeoutError:
                reason, message = TIMEOUT, f"not done in {self._timeout_s:g} s"
            except ProcessExpired as error:
                reason, message = CRASHED, f"its process died: {error}"
            finally:
                self._running.discard(future)
            if strike == STRIKES:
                raise MediaError(reason, f"{message}, {STRIKES} times")
        raise AssertionError("unreachable")


Isolated = Callable[..., Any]
"""What a pass asks of an `Isolation`."""


def _begin_worker(parent: int) -> None:
    """One thread a library, no share in the terminal's Ctrl-C, and no life without the parent."""
    os.environ["OMP_NUM_THREADS"] = "1"  # read by torch when it is first imported
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    die_with(parent)
    import cv2

    cv2.setNumThreads(1)


def die_with(parent: int) -> None:
    """End this process when its parent ends, even while it hangs in a library's code."""
    if sys.platform == "linux":
        pr_set_pdeathsig = 1
        ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGKILL)
    threading.Thread(target=_watch, args=(parent,), daemon=True).start()


def _watch(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(1)
