"""Commands one after the other, each a process of its own and timed.

What a chain does, a person can do by hand, line by line; a chain that is run again resumes each.
"""

import shlex
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence

from dynamicrafter.command import INTERRUPTED, say
from dynamicrafter.errors import ToolkitError


class PhaseError(ToolkitError):
    """A phase ended badly; it has said why itself, and the chain ends with its exit code."""

    def __init__(self, exit_code: int):
        super().__init__("")
        self.exit_code = exit_code


def run_phases(phases: Mapping[str, Sequence[str]], gpus: Mapping[str, int]) -> dict[str, float]:
    """Run `dynamicrafter <arguments>` for each phase; returns its seconds.

    Args:
        phases: arguments by name, in order.
        gpus: how many processes share a phase, each with its own GPU; 1 where it says nothing.

    Raises:
        PhaseError: a phase ended badly.
    """
    return {
        name: _run_phase(name, [str(one) for one in arguments], gpus.get(name, 1))
        for name, arguments in phases.items()
    }


def _run_phase(name: str, arguments: list[str], gpus: int) -> float:
    say(f"── {name}: dynamicrafter {shlex.join(arguments)}")
    started = time.monotonic()
    spread = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={gpus}"]
    launch = spread if gpus > 1 else []
    process = subprocess.Popen([sys.executable, *launch, "-m", "dynamicrafter", *arguments])
    try:
        code = process.wait()
    except KeyboardInterrupt:
        _let_it_close(process)
        raise PhaseError(INTERRUPTED) from None
    if code != 0:
        raise PhaseError(code if code > 0 else 128 - code)
    return time.monotonic() - started


def _let_it_close(process: subprocess.Popen) -> None:
    """Ctrl-C reached the phase too (same terminal), a SIGTERM only us: wait, then pass it on."""
    try:
        process.wait(timeout=3)
    except subprocess.TimeoutExpired:
        process.terminate()
        process.wait()
