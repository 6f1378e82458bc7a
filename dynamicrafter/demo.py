"""The whole chain as a list of commands, each timed, each resumed by running the demo again.

The phases are plain commands of `conf/demo.yaml`, started as processes of their own: what the demo
does, a person can do by hand, line by line.
"""

import shlex
import subprocess
import sys
import time
from pathlib import Path

from dynamicrafter import files
from dynamicrafter.command import INTERRUPTED, compose, say
from dynamicrafter.errors import ToolkitError


class PhaseError(ToolkitError):
    """A phase ended badly; it has said why itself, and the demo ends with its exit code."""

    def __init__(self, exit_code: int):
        super().__init__("")
        self.exit_code = exit_code


def main() -> None:
    """Run the phases in order, then show the metrics and where the report lies."""
    compose("demo", _chain)


def _chain(config) -> None:
    folder = Path(config.run_dir)
    with files.folder_lock(folder):
        seconds = {
            name: _run_phase(name, [*arguments, *config.extra[name]])
            for name, arguments in config.phases.items()
        }
        _closing_words(folder, seconds)


def _run_phase(name: str, arguments: list[str]) -> float:
    say(f"── {name}: dynamicrafter {shlex.join(arguments)}")
    started = time.monotonic()
    process = subprocess.Popen([sys.executable, "-m", "dynamicrafter", *arguments])
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


def _closing_words(folder: Path, seconds: dict[str, float]) -> None:
    """The metrics as a short table, each phase's seconds, and where the report lies."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    results = files.read_json(folder / "eval" / "results.json")
    name, digest = results["protocol"]["name"], results["protocol"]["digest"][:12]
    table = Table(title=f"Protocol {name} ({digest})", title_justify="left", box=box.SIMPLE)
    table.add_column("metric")
    table.add_column("value", justify="right")
    table.add_column("samples and remarks")
    for row in results["rows"]:
        value = "absent" if row["value"] is None else f"{row['value']:.4g}"
        count = ", ".join(f"{number} {what}" for what, number in row["count"].items())
        remark = f"{count}: {row['reason']}" if row["reason"] else count
        label = ", ".join(part for part in (row["label"], row["unit"]) if part)
        table.add_row(label, value, remark, style=None if row["reliable"] else "dim")
    Console().print(table)
    times = " · ".join(f"{name} {spent:.0f} s" for name, spent in seconds.items())
    sys.stdout.write(f"{times} · together {sum(seconds.values()):.0f} s\n")
    sys.stdout.write(f"{(folder / 'report' / 'report.html').resolve()}\n")
