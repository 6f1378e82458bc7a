"""Who runs the jobs of a pass: this machine, a Ray cluster, the ranks of a Slurm array.

A pass is a pure function `work(job, isolated) -> dict of counts` over small picklable jobs (ids,
never video bytes); what it makes, it writes. An engine yields the counts in the order in which jobs
end; a job whose result is already there returns at once, so any engine may repeat any job.
"""

import contextlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from dynamicrafter.errors import InputError

Work = Callable[..., dict[str, Any]]


@dataclass
class EngineSettings:
    """`engine` of conf/curate.yaml, see conf/engine/."""

    name: str
    address: str | None = None  # ray
    cpus_per_job: float = 1.0  # ray
    wait_s: float = 0.0  # slurm


class Engine(Protocol):
    """What the passes need of an engine."""

    def run(self, work: Work, jobs: Iterable[Any]) -> Iterator[dict[str, Any]]:
        """Yield the counts of every job that falls to this process."""
        ...

    def meet(self, name: str) -> None:
        """Return once all processes have done their jobs of the pass `name`."""
        ...

    def lead(self, name: str, work: Callable[[], None]) -> None:
        """Let one process do a work that only one may do, and return once it is done."""
        ...


@dataclass(frozen=True)
class Seat:
    """Where an engine works, besides its own settings."""

    workers: int  # processes on this machine
    timeout_s: float  # seconds for one call into a worker
    folder: Path  # the run folder, which all processes see
    run: str  # digest of the run: processes of other runs do not meet


@contextlib.contextmanager
def open_engine(settings: EngineSettings, seat: Seat) -> Iterator[Engine]:
    """The engine that the configuration names.

    Raises:
        InputError: there is no such engine, or what it needs is not there.
    """
    if settings.name == "local":
        from curation.engines.local import local_engine as engine
    elif settings.name == "ray":
        from curation.engines.ray import ray_engine as engine
    elif settings.name == "slurm":
        from curation.engines.slurm import slurm_engine as engine
    else:
        raise InputError(f"engine.name is {settings.name!r}; choose local, ray or slurm")
    with engine(settings, seat) as opened:
        yield opened
