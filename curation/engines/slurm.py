"""The ranks of a Slurm array, each running the same command over the same run folder.

Rank 0 leads: it lists, decides and plans, and holds the folder's lock. Every rank does its share of
the jobs of a pass and waits for the others at its end; they tell each other through small files.

    ranks/<run>-<pass>.<rank>    this rank has done its share
    ranks/<run>-<pass>.done      rank 0 has done what only one may do

A rank that died is started again with the same command (or by Slurm's `--requeue`): what it had
done is there, and the others are still waiting.
"""

import contextlib
import os
import time
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from curation.engines import EngineSettings, Seat, Work
from curation.engines.local import LocalEngine
from dynamicrafter.errors import InputError, MachineError
from dynamicrafter.files import write_text
from dynamicrafter.media.isolation import Isolation

RANKS = "ranks"
POLL_S = 0.5


def rank_and_count() -> tuple[int, int]:
    """This process's rank, from 0, and how many there are, from the environment of a Slurm array.

    Raises:
        InputError: this is no rank of an array.
    """
    names = ("SLURM_ARRAY_TASK_ID", "SLURM_ARRAY_TASK_COUNT")
    try:
        own, count = (int(os.environ[name]) for name in names)
        first = int(os.environ.get("SLURM_ARRAY_TASK_MIN", 0))
        step = int(os.environ.get("SLURM_ARRAY_TASK_STEP", 1))
    except (KeyError, ValueError):
        needed = " and ".join(names)
        raise InputError(f"engine=slurm needs {needed}: submit it as an array") from None
    rank, rest = divmod(own - first, step)
    if rest or not 0 <= rank < count:
        raise InputError(f"SLURM_ARRAY_TASK_ID={own} is none of {count} ranks from {first}")
    return rank, count


@contextlib.contextmanager
def slurm_engine(settings: EngineSettings, seat: Seat) -> Iterator["SlurmEngine"]:
    """The engine of this rank, with the seat's workers on its machine."""
    rank, count = rank_and_count()
    with Isolation(seat.workers, seat.timeout_s) as isolated:
        yield SlurmEngine(rank, count, settings.wait_s, seat, LocalEngine(seat.workers, isolated))


class SlurmEngine:
    """See `curation.engines.Engine`."""

    def __init__(self, rank: int, count: int, wait_s: float, seat: Seat, local: LocalEngine):
        """`local` runs this rank's share."""
        self._rank, self._count, self._wait_s = rank, count, wait_s
        self._folder, self._run, self._local = seat.folder / RANKS, seat.run, local

    def run(self, work: Work, jobs: Iterable[Any]) -> Iterator[dict[str, Any]]:
        """Yield the counts of this rank's jobs: every `count`-th one."""
        return self._local.run(work, islice(jobs, self._rank, None, self._count))

    def meet(self, name: str) -> None:
        """Wait until every rank has done its share."""
        write_text(self._mark(f"{name}.{self._rank}"), "")
        self._wait([self._mark(f"{name}.{rank}") for rank in range(self._count)])

    def lead(self, name: str, work: Callable[[], None]) -> None:
        """Do the work on rank 0; the others wait for it."""
        mark = self._mark(f"{name}.done")
        if self._rank == 0:
            work()
            write_text(mark, "")
        else:
            self._wait([mark])

    def _mark(self, name: str) -> Path:
        return self._folder / f"{self._run}-{name}"

    def _wait(self, marks: list[Path]) -> None:
        began = time.monotonic()
        while missing := [mark.name for mark in marks if not mark.exists()]:
            if time.monotonic() - began > self._wait_s:
                raise MachineError(
                    f"waited {self._wait_s:g} s for {', '.join(missing)}; start the ranks that "
                    "are missing with the same command, or raise engine.wait_s"
                )
            time.sleep(POLL_S)
