"""Where the cells of a matrix are made: on this machine, some at once, or as jobs of a cluster.

Both give back, for every cell in order, why it has no result, or None. A cell that fails stops no
other. Nothing of the order is part of a result: arms that share a stage wait for the one that
trains it.
"""

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from dynamicrafter.command import say
from dynamicrafter.errors import InputError
from train.ablation.cells import Job, make

Launch = Callable[[Sequence[Job]], list[str | None]]


def launcher(name: str, side_by_side: int, cluster: dict[str, Any], folder: Path) -> Launch:
    """What makes the cells.

    Args:
        name: local or submitit.
        side_by_side: cells that are made at once, here.
        cluster: of submitit: `executor` (null for the one it finds, slurm, local) and
            `parameters`, as submitit names them.
        folder: where submitit keeps its jobs.

    Raises:
        InputError: there is no such launcher, or submitit is not installed.
    """
    if side_by_side < 1:
        raise InputError(f"side_by_side={side_by_side}; it must be at least 1")
    if name == "local":
        return lambda jobs: _here(jobs, side_by_side)
    if name == "submitit":
        _submitit()  # asked for before anything is trained
        return lambda jobs: _submitted(jobs, cluster, folder)
    raise InputError(f"launcher={name}; choose local or submitit")


def make_alone(job: Job) -> str | None:
    """Make a cell in a process that is the cell's own: what a job of a cluster runs."""
    return make(job, threading.Event())


def _here(jobs: Sequence[Job], side_by_side: int) -> list[str | None]:
    stop = threading.Event()
    with ThreadPoolExecutor(side_by_side) as pool:
        made = [pool.submit(_unless_stopped, job, stop) for job in jobs]
        try:
            return [one.result() for one in made]
        except BaseException:
            stop.set()  # the commands that run stop, and none begins
            raise


def _unless_stopped(job: Job, stop: threading.Event) -> str | None:
    if stop.is_set():
        raise KeyboardInterrupt
    return make(job, stop)


def _submitted(jobs: Sequence[Job], cluster: dict[str, Any], folder: Path) -> list[str | None]:
    executor = _submitit().AutoExecutor(folder=folder, cluster=cluster["executor"])
    executor.update_parameters(**cluster["parameters"])
    sent = [executor.submit(make_alone, job) for job in jobs]
    for job, one in zip(jobs, sent, strict=True):
        say(f"{job.name}: job {one.job_id}, {one.paths.stdout}")
    return [_outcome(job, one) for job, one in zip(jobs, sent, strict=True)]


def _outcome(job: Job, sent: Any) -> str | None:
    """What a job gives back; a job that died of anything has no result, and the others have."""
    try:
        return sent.result()
    except Exception as error:  # noqa: BLE001 - whatever ended it, on a machine that is not ours
        last = (str(error).strip().splitlines() or [type(error).__name__])[-1]
        say(f"{job.name}: job {sent.job_id} ended: {last}")
        return f"job {sent.job_id}: {last}"


def _submitit() -> Any:
    try:
        import submitit
    except ImportError:
        raise InputError(
            "launcher=submitit needs submitit: pip install 'dynamicrafter-toolkit[cluster]'"
        ) from None
    return submitit
