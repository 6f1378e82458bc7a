"""`dynamicrafter bench`: the cases one after the other, a table, and `bench.json`.

A case is a process of its own, so that neither memory nor compiled code of one is in the figures of
another. One that fails is named with the last line that it wrote; the others go on.
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from dynamicrafter import files
from dynamicrafter.command import command, say
from dynamicrafter.errors import FailedShareError, InputError
from dynamicrafter.text_table import table_lines

RESULT = "bench.json"
ON_CPU = {"forward-cpu": "dynamicrafter.bench.cpu", "tiny-cpu": "train.bench_cpu"}
ON_GPU = {  # case → the module that runs it; named by text alone
    "train-256": "train.bench",
    "train-512": "train.bench",
    "curves": "train.bench",
    "noise": "train.bench",
    "sample-256": "dynamicrafter.bench.sampling",
    "sample-512": "dynamicrafter.bench.sampling",
    "batch-256": "dynamicrafter.bench.sampling",
    "cold-256": "dynamicrafter.bench.sampling",
}

main = command("bench", "dynamicrafter.bench.command")


def inputs(config: DictConfig) -> dict[str, str]:
    """There are none; the cases are checked.

    Raises:
        InputError: there is no such case, or no GPU for it.
    """
    chosen_cases(config.cases)
    return {}


def run(config: DictConfig, folder: Path) -> dict[str, Any]:
    """Run the cases.

    Raises:
        FailedShareError: one of them failed.
    """
    import torch

    rows: list[dict[str, Any]] = []
    failed: dict[str, str] = {}
    for name, module in chosen_cases(config.cases).items():
        say(f"{name} …")
        done = subprocess.run(
            [sys.executable, "-m", module, name], capture_output=True, text=True, check=False
        )
        rows += [{"case": name, **json.loads(line)} for line in done.stdout.splitlines()]
        if done.returncode:
            failed[name] = (done.stderr.strip().splitlines() or ["no word"])[-1]
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    machine = {"gpu": gpu, "torch": torch.__version__, "threads": torch.get_num_threads()}
    files.write_json(folder / RESULT, {"machine": machine, "rows": rows, "failed": failed})
    for line in lines_of(rows):
        say(line)
    if failed:
        raise FailedShareError("; ".join(f"{name}: {why}" for name, why in failed.items()))
    return {"rows": len(rows)}


def chosen_cases(names: Any) -> dict[str, str]:
    """Case → module, of those named, or of all that this machine can run.

    Raises:
        InputError: there is no such case, or no GPU for it.
    """
    import torch

    here = ON_CPU | (ON_GPU if torch.cuda.is_available() else {})
    if names is None:
        return here
    for name in names:
        if name not in ON_CPU | ON_GPU:
            raise InputError(f"there is no case {name!r}; choose {', '.join(ON_CPU | ON_GPU)}")
        if name not in here:
            raise InputError(f"case {name} needs a GPU")
    return {name: here[name] for name in names}


def lines_of(rows: list[dict[str, Any]]) -> list[str]:
    """The rows as a table for the terminal."""
    head = ("what", "value", "", "official", "goal", "beyond")
    cells = [
        (r["what"], f"{r['value']:.4g}", r["unit"], r["official"], r["goal"], r["beyond"])
        for r in rows
    ]
    return table_lines([head, *cells], "lrllll")
