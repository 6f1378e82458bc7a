"""The whole chain on real clips: the plain commands of `conf/demo.yaml`, one after the other."""

import sys
from pathlib import Path

from dynamicrafter import files
from dynamicrafter.chain import run_phases
from dynamicrafter.command import compose


def main() -> None:
    """Run the phases in order, then show the metrics and where the report lies."""
    compose("demo", _demo)


def _demo(config) -> None:
    folder = Path(config.run_dir)
    phases = {name: [*given, *config.extra[name]] for name, given in config.phases.items()}
    with files.folder_lock(folder):
        _closing_words(folder, run_phases(phases, {}))


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
