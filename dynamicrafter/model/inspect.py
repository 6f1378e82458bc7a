"""`dynamicrafter assets inspect FILE`: what a checkpoint is, and what a model would make of it.

Prints what became of every tensor (by parameter group; each by name with --names), and can write
the model in the official layout, as a `.ckpt` or safetensors file that the official code loads.
"""

import argparse
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from rich import box
from rich.console import Console
from rich.table import Table

from dynamicrafter.errors import InputError
from dynamicrafter.model.names import parameter_group
from dynamicrafter.model.pretrained import build, find
from dynamicrafter.model.weights import (
    LoadReport,
    read_state_dict,
    save_weights,
    schedule_buffers,
)

HEADINGS = ("loaded", "reshaped", "missing", "unexpected", "schedule")


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command with `argv` (None: the command line's).

    Raises:
        InputError: the file is no checkpoint, or not of the model that it should be.
    """
    arguments = _parser().parse_args(argv)
    target = arguments.save_as
    if target is not None and target.suffix not in (".ckpt", ".safetensors"):
        raise InputError(f"--save-as {target}: the suffix has to be .ckpt or .safetensors")
    found = find(arguments.file, arguments.kind)
    model, report = build(found)
    console = Console()
    console.print(_table(report))
    if arguments.names:
        for heading in HEADINGS:
            for name in getattr(report, heading):
                console.print(f"{heading:<11}{name}", highlight=False, soft_wrap=True)
    console.print(f"{found.weights}: {report.summary()}", highlight=False, soft_wrap=True)
    if target is not None:
        buffers = schedule_buffers(read_state_dict(found.weights))
        save_weights(target, model.official_state_dict(buffers))
        console.print(f"written: {target}", highlight=False, soft_wrap=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="dynamicrafter assets inspect",
        description="What a checkpoint is, and what became of its tensors when it was loaded.",
    )
    parser.add_argument("file", help="a checkpoint, a model folder, or a released model's name")
    parser.add_argument("--kind", help="what it is: a name of conf/model, or a YAML file")
    parser.add_argument("--names", action="store_true", help="list every tensor")
    parser.add_argument(
        "--save-as", type=Path, help="write it in the official layout (.ckpt, .safetensors)"
    )
    return parser


def _table(report: LoadReport) -> Table:
    table = Table("group", *HEADINGS, box=box.SIMPLE)
    counts = {
        heading: Counter(
            "noise schedule" if heading == "schedule" else parameter_group(name)
            for name in getattr(report, heading)
        )
        for heading in HEADINGS
    }
    for group in sorted(set().union(*counts.values())):
        table.add_row(group, *(str(counts[heading][group] or "") for heading in HEADINGS))
    return table
