"""A Ray cluster: Ray hands out jobs, which are ids and settings, and never carries video bytes.

Each job has a worker process of its own for what may fail, as in the local engine. What a job makes
it writes into the run folder, which all nodes see; if Ray runs a job twice, the second time finds
the result. When the driver ends, however it ends, Ray ends the jobs of its run.
"""

import contextlib
import functools
import os
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from curation.engines import EngineSettings, Seat, Work
from dynamicrafter.errors import InputError, MachineError
from dynamicrafter.media.isolation import Isolation, die_with

JOBS_AHEAD = 2  # for each CPU of the cluster
RETRIES = 3  # of a job whose node died


@contextlib.contextmanager
def ray_engine(settings: EngineSettings, seat: Seat) -> Iterator["RayEngine"]:
    """An engine on the cluster at `settings.address`; `local` starts one on this machine.

    Raises:
        InputError: Ray is not installed.
        MachineError: there is no such cluster.
    """
    try:
        import ray
    except ImportError:
        remedy = "pip install 'dynamicrafter-toolkit[cluster]'"
        raise InputError(f"engine=ray needs Ray: {remedy}") from None
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # quiets a warning
    try:
        ray.init(
            address=settings.address,
            num_cpus=seat.workers if settings.address == "local" else None,
            include_dashboard=False if settings.address == "local" else None,
            log_to_driver=False,
            logging_level="error",
            configure_logging=True,
        )
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise MachineError(f"no Ray cluster at {settings.address!r}: {error}") from None
    try:
        yield RayEngine(settings, seat)
    finally:
        ray.shutdown()


class RayEngine:
    """See `curation.engines.Engine`."""

    def __init__(self, settings: EngineSettings, seat: Seat):
        """Ray must be initialised."""
        import ray

        self._seat = seat
        self._ahead = max(1, int(JOBS_AHEAD * ray.cluster_resources().get("CPU", 1)))
        self._run = ray.remote(num_cpus=settings.cpus_per_job, max_retries=RETRIES)(run_job)

    def run(self, work: Work, jobs: Iterable[Any]) -> Iterator[dict[str, Any]]:
        """Yield the counts of every job; the first exception of a job is passed on."""
        import ray

        shared = ray.put(work)
        waiting = iter(jobs)
        running: list[Any] = []
        try:
            while True:
                while len(running) < self._ahead and (job := next(waiting, None)) is not None:
                    running.append(self._run.remote(shared, job, self._seat.timeout_s))
                if not running:
                    return
                done, running = ray.wait(running, num_returns=1)
                yield from ray.get(done)
        except ray.exceptions.RayTaskError as error:
            raise error.cause from None
        finally:
            for job in running:
                ray.cancel(job, force=True)

    def meet(self, name: str) -> None:
        """Ray has waited already."""

    def lead(self, name: str, work: Callable[[], None]) -> None:
        """Do the work here, in the driver."""
        work()


def run_job(work: Work, job: Any, timeout_s: float) -> dict[str, Any]:
    """Run a job in a worker process of Ray."""
    return work(job, _isolation(timeout_s))


@functools.cache
def _isolation(timeout_s: float) -> Isolation:
    """The process of this worker of Ray in which calls may fail; it stays for the next jobs."""
    die_with(os.getppid())
    return Isolation(1, timeout_s)
