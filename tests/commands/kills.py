"""Runs that are killed without warning, their helpers watched, and begun again."""

import os
import signal
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from tests.commands.runner import DYNAMICRAFTER, QUIET

ORPHANS_MAY_LIVE_S = 5.0


@dataclass
class Started:
    """A command that runs, and every process that ever was below it."""

    process: subprocess.Popen
    log: Path
    seen: dict[int, psutil.Process] = field(default_factory=dict)

    def look(self) -> list[psutil.Process]:
        """The processes below it now."""
        try:
            below = psutil.Process(self.process.pid).children(recursive=True)
        except psutil.NoSuchProcess:
            below = []
        self.seen |= {one.pid: one for one in below}
        return below

    def orphans(self) -> list[str]:
        """Who of those it once had is still alive after the time that orphans are given."""
        deadline = time.monotonic() + ORPHANS_MAY_LIVE_S
        while time.monotonic() < deadline and any(map(_lives, self.seen.values())):
            time.sleep(0.1)
        return [_line(one) for one in self.seen.values() if _lives(one)]

    def wait_until(self, seconds: float) -> bool:
        """Look on for so long; False if the command ended before."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                return False
            self.look()
            time.sleep(0.05)
        return self.process.poll() is None

    def finish(self, limit_s: float = 300) -> int:
        """Its exit code."""
        return self.process.wait(timeout=limit_s)


def start(arguments: list[str], log: Path, **environment: str) -> Started:
    """Start a command in a group of its own; stdout and stderr go to `log`."""
    with log.open("ab") as file:
        process = subprocess.Popen(
            [*DYNAMICRAFTER, *arguments],
            stdout=file,
            stderr=subprocess.STDOUT,
            env={**os.environ, **QUIET, **environment},
            start_new_session=True,
        )
    return Started(process, log)


def kill(process: psutil.Process | subprocess.Popen) -> None:
    """SIGKILL one process, and no other of its group."""
    try:
        os.kill(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        return
    if isinstance(process, subprocess.Popen):
        process.wait()


def _lives(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _line(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())[:200]
    except psutil.NoSuchProcess:
        return str(process.pid)
