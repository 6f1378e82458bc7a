"""One cell of the matrix: an arm under a seed, by three plain commands, one after the other.

    <cell>/train, animate, eval    their run folders
    <cell>/train.log …             what they said

Each command resumes by itself, and answers at once where its result is whole, so a cell that was
stopped anywhere goes on when it is run again. A command that outlived the one who started it is
waited for.
"""

import contextlib
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import filelock

from dynamicrafter.command import say

POLL_S = 0.5


@dataclass(frozen=True)
class Job:
    """What it takes to make a cell.

    Attributes:
        arm: name of its file in conf/ablation.
        seed: of the training.
        folder: of the cell.
        phases: arguments of `dynamicrafter` by phase, in order.
        gpus: processes that train together, each with a GPU of its own.
    """

    arm: str
    seed: int
    folder: Path
    phases: dict[str, list[str]]
    gpus: int

    @property
    def name(self) -> str:
        """For people."""
        return f"{self.arm}, seed {self.seed}"


def make(job: Job, stop: threading.Event) -> str | None:
    """Run the phases of a cell until one fails; returns why it has no result, or None.

    Args:
        job: the cell.
        stop: once it is set, the command that runs is told to stop.

    Raises:
        KeyboardInterrupt: `stop` was set.
    """
    job.folder.mkdir(parents=True, exist_ok=True)
    with _held(job.folder, f"{job.name}: another process makes it; waiting for that", stop):
        for phase, arguments in job.phases.items():
            if (job.folder / phase).is_dir():
                words = f"{job.name}: {phase} still runs from before; waiting for it"
                with _held(job.folder / phase, words, stop):
                    pass
            if reason := _run(job, phase, arguments, stop):
                say(f"{job.name}: {phase} ended: {reason}")
                return f"{phase}: {reason}"
    return None


@contextlib.contextmanager
def _held(folder: Path, words: str, stop: threading.Event) -> Iterator[None]:
    """Hold a run folder inside the block; who has to wait for it says so once."""
    lock = filelock.FileLock(folder / ".lock", blocking=False)
    told = False
    while True:
        try:
            lock.acquire()
            break
        except filelock.Timeout:
            if not told:
                say(words)
            told = True
            if stop.wait(POLL_S):
                raise KeyboardInterrupt from None
    try:
        yield
    finally:
        lock.release()


def _run(job: Job, phase: str, arguments: list[str], stop: threading.Event) -> str | None:
    """Run a command; returns why it ended badly, or None."""
    log = job.folder / f"{phase}.log"
    spread = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={job.gpus}"]
    launch = spread if phase == "train" and job.gpus > 1 else []
    say(f"{job.name}: {phase}, told in {log}")
    began = time.monotonic()
    with log.open("wb") as file:
        command = [sys.executable, *launch, "-m", "dynamicrafter", *arguments]
        code = _wait(subprocess.Popen(command, stdout=file, stderr=file), stop)
    if code == 0:
        say(f"{job.name}: {phase} took {time.monotonic() - began:.0f} s")
        return None
    return _last_words(log, code)


def _wait(process: subprocess.Popen, stop: threading.Event) -> int:
    """The exit code of a command."""
    while not stop.is_set():
        with contextlib.suppress(subprocess.TimeoutExpired):
            return process.wait(POLL_S)
    try:  # Ctrl-C reached it, too (same terminal); a SIGTERM only us
        process.wait(timeout=3)
    except subprocess.TimeoutExpired:
        process.terminate()
        process.wait()
    raise KeyboardInterrupt


def _last_words(log: Path, code: int) -> str:
    """The line with which a command said why it ended, or the last one that it wrote."""
    lines = [line for line in log.read_text(errors="replace").splitlines() if line.strip()]
    said = [line for line in lines if line.startswith("dynamicrafter: ")]
    if said:
        return said[-1].removeprefix("dynamicrafter: ")
    return f"exit code {code}: {lines[-1].strip() if lines else 'it said nothing'}"
