"""The default engine: threads of this process, each with a worker process for what may fail.

The threads only wait and write small files; decoding and measuring happen in the processes.
"""

import contextlib
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import Any

from curation.engines import EngineSettings, Seat, Work
from dynamicrafter.media.isolation import Isolation

JOBS_AHEAD = 2  # handed out for each worker; few, so that an interrupt loses little


@contextlib.contextmanager
def local_engine(settings: EngineSettings, seat: Seat) -> Iterator["LocalEngine"]:
    """An engine of the seat's workers on this machine."""
    with Isolation(seat.workers, seat.timeout_s) as isolated:
        yield LocalEngine(seat.workers, isolated)


class LocalEngine:
    """See `curation.engines.Engine`."""

    def __init__(self, workers: int, isolated: Isolation):
        """`isolated` must bear calls from `workers` threads."""
        self._workers, self._isolated = workers, isolated

    def run(self, work: Work, jobs: Iterable[Any]) -> Iterator[dict[str, Any]]:
        """Yield the counts of every job; an exception or an interrupt stops the rest at once."""
        with ThreadPoolExecutor(self._workers, thread_name_prefix="job") as pool:
            try:
                yield from bounded(
                    lambda job: pool.submit(work, job, self._isolated),
                    jobs,
                    JOBS_AHEAD * self._workers,
                )
            except BaseException:
                self._isolated.stop()  # else the threads would finish their jobs first
                raise

    def meet(self, name: str) -> None:
        """There is nobody to wait for."""

    def lead(self, name: str, work: Callable[[], None]) -> None:
        """Do the work."""
        work()


def bounded(
    submit: Callable[[Any], "Future[dict[str, Any]]"], jobs: Iterable[Any], ahead: int
) -> Iterator[dict[str, Any]]:
    """Yield results as they come, with at most `ahead` jobs submitted and not yielded."""
    waiting = iter(jobs)
    running: set[Future[dict[str, Any]]] = set()
    try:
        while True:
            while len(running) < ahead and (job := next(waiting, None)) is not None:
                running.add(submit(job))
            if not running:
                return
            done, running = wait(running, return_when=FIRST_COMPLETED)
            for future in done:
                yield future.result()
    finally:
        for future in running:
            future.cancel()
