"""Runs a function over many jobs in processes that may hang or die without harm.

A decoder can loop on a broken file or fall over; its process is then killed and replaced. The job
gets a second chance, and after that its failure is its result.
"""

import multiprocessing
import os
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, wait
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from dynamicrafter.errors import MediaError
from dynamicrafter.files import sweep_temporaries

STRIKES = 2
TIMEOUT, CRASHED = "timeout", "crashed"  # may go well another time, unlike what a MediaError names
JOBS_AHEAD = 2  # jobs handed out for each worker; few, so that an interrupt loses little

Job = TypeVar("Job")


@dataclass(frozen=True)
class Failure:
    """Why a job has no result: `timeout`, `crashed`, or the reason of its MediaError."""

    reason: str
    message: str

    @property
    def transient(self) -> bool:
        """Whether the same job may go well in another run."""
        return self.reason in (TIMEOUT, CRASHED)


def run_jobs(
    function: Callable[..., Any],
    jobs: Sequence[Job],
    arguments: tuple[Any, ...] = (),
    *,
    workers: int,
    timeout_s: float,
    folder: Path | None = None,
) -> Iterator[tuple[Job, Any]]:
    """Yield (job, function(job, *arguments) or a `Failure`) as jobs end, in no fixed order.

    Any exception but a MediaError is passed on and ends the run; leaving the iteration early stops
    the workers at once. Once they are stopped, what they left half-written below `folder` goes.
    """
    if not jobs:
        return
    from pebble import ProcessExpired, ProcessPool

    waiting = deque((job, 1) for job in jobs)
    running: dict[Any, tuple[Job, int]] = {}
    pool = ProcessPool(
        max_workers=min(workers, len(jobs)),
        context=multiprocessing.get_context("spawn"),
        initializer=_begin_worker,
        initargs=(os.getpid(),),
    )
    try:
        while waiting or running:
            while waiting and len(running) < JOBS_AHEAD * workers:
                job, strike = waiting.popleft()
                future = pool.schedule(function, args=(job, *arguments), timeout=timeout_s)
                running[future] = (job, strike)
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                job, strike = running.pop(future)
                try:
                    yield job, future.result()
                except MediaError as error:
                    yield job, Failure(error.reason, str(error))
                except (TimeoutError, ProcessExpired) as error:
                    if strike < STRIKES:
                        waiting.append((job, strike + 1))
                    else:
                        yield job, _failure(error, timeout_s)
    finally:
        pool.stop()
        pool.join()
        if folder is not None:
            sweep_temporaries(folder)


def _failure(error: Exception, timeout_s: float) -> Failure:
    if isinstance(error, TimeoutError):
        return Failure(TIMEOUT, f"not done in {timeout_s:g} s, {STRIKES} times")
    return Failure(CRASHED, f"its process died {STRIKES} times: {error}")


def _begin_worker(parent: int) -> None:
    """One thread a library, no share in the terminal's Ctrl-C, and no life without the driver."""
    os.environ["OMP_NUM_THREADS"] = "1"  # read by torch when it is first imported
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    import cv2

    cv2.setNumThreads(1)
    threading.Thread(target=_die_with, args=(parent,), daemon=True).start()


def _die_with(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(1)
