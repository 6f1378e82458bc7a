"""Commands as a person runs them: processes that can be stopped at a given moment."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

DYNAMICRAFTER = [sys.executable, "-m", "dynamicrafter"]
QUIET = {"OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"}


def run(*arguments: str, prefix: tuple[str, ...] = ()) -> subprocess.CompletedProcess:
    """Run a command to its end."""
    return subprocess.run(
        [*prefix, *DYNAMICRAFTER, *arguments],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **QUIET},
    )


def run_until(
    arguments: list[str], moment: Callable[[], bool], stop: int = signal.SIGINT, limit_s: int = 120
) -> subprocess.CompletedProcess:
    """Start a command, stop it by a signal to its whole group as soon as `moment()` is true."""
    process = subprocess.Popen(
        [*DYNAMICRAFTER, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **QUIET},
        start_new_session=True,
    )
    deadline = time.monotonic() + limit_s
    while process.poll() is None and not moment():
        assert time.monotonic() < deadline, "the moment to stop did not come"
        time.sleep(0.02)
    assert process.poll() is None, f"ended before it was stopped: {process.communicate()[1]}"
    os.killpg(process.pid, stop)
    out, err = process.communicate(timeout=60)
    return subprocess.CompletedProcess(arguments, process.returncode, out, err)


def partials(folder: Path) -> list[Path]:
    """What an interrupted writer left below `folder`."""
    return list(folder.rglob("*.partial"))
