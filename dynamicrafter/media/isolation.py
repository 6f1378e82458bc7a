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
from concurrent.futures.process import BrokenProcessPool
from typing import TYPE_CHECKING, Any, Self

from dynamicrafter.errors import MediaError

if TYPE_CHECKING:
    from pebble import ProcessPool

STRIKES = 2
BREAKS = 5  # deaths of idle processes that a call sits out: they are rarely its fault
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
        self._workers, self._timeout_s = workers, timeout_s
        self._running: set[Future] = set()
        self._stopped = False
        self._ended = threading.Event()
        self._changes = threading.Lock()  # of the pool
        self._pool = self._new_pool()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *details: object) -> None:
        self.stop()

    def stop(self) -> None:
        """End the processes; calls that wait for one, and later ones, raise CancelledError."""
        with self._changes:
            self._stopped = True
        for future in list(self._running):
            future.cancel()
        self._pool.stop()
        self._pool.join()
        self._ended.set()

    def __call__(self, function: Callable[..., Any], *args: Any) -> Any:
        """Run `function`, of a module's top level, in a process."""
        from pebble import ProcessExpired

        strikes = breaks = 0
        while True:
            pool = self._pool
            future = None
            try:
                future = pool.schedule(function, args=args, timeout=self._timeout_s)
                self._running.add(future)
                if self._stopped:  # after the look at those that run
                    future.cancel()
                return future.result()
            except TimeoutError:
                reason, message = TIMEOUT, f"not done in {self._timeout_s:g} s"
                strikes += 1
            except ProcessExpired as error:
                reason, message = CRASHED, f"its process died: {error}"
                strikes += 1
            except RuntimeError as error:  # BrokenProcessPool is one
                if future is not None and not isinstance(error, BrokenProcessPool):
                    raise  # the function's own
                # A process that had nothing to do died, and pebble gave the pool up.
                self._replace(pool)
                reason, message = CRASHED, "the processes died"
                breaks += 1
            finally:
                self._running.discard(future)
            if strikes == STRIKES or breaks == BREAKS:
                times = STRIKES if strikes == STRIKES else BREAKS
                raise MediaError(reason, f"{message}, {times} times")

    def _replace(self, broken: "ProcessPool") -> None:
        """Put a new pool in the place of one that takes no calls any more.

        Raises:
            CancelledError: it takes none because this has been stopped.
        """
        with self._changes:
            if self._stopped:
                raise CancelledError
            if self._pool is broken:
                self._pool = self._new_pool()
                broken.stop()
                broken.join()

    def _new_pool(self) -> "ProcessPool":
        from pebble import ProcessPool

        pool = ProcessPool(
            max_workers=self._workers,
            context=multiprocessing.get_context("spawn"),
            initializer=_begin_worker,
            initargs=(os.getpid(),),
        )
        # It starts its processes in the thread that first uses it, and they die with that.
        started: Future = Future()

        def start() -> None:
            try:
                started.set_result(pool.schedule(os.getpid))
            except BaseException as error:  # noqa: BLE001 - raised below
                started.set_exception(error)
            self._ended.wait()

        threading.Thread(target=start, daemon=True).start()
        started.result()
        return pool


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
