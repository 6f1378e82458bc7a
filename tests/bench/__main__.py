"""`python -m tests.bench [--json FILE]`: run the jobs one after the other and print the table."""

import argparse
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import torch
from rich import box
from rich.console import Console
from rich.table import Table

from dynamicrafter import assets, files
from dynamicrafter.features import I3D_ASSET
from dynamicrafter.progress import progress
from tests.bench import (
    captions,
    curate,
    data,
    decode,
    frechet,
    i3d,
    matrix,
    metrics,
    motion,
    plan,
    unet,
)
from tests.bench.timing import Row


def main() -> None:
    """Measure, print, and write the rows where `--json` says."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the rows to FILE")
    arguments = parser.parse_args()
    rows = measure(jobs())
    Console().print(table(rows))
    if arguments.json:
        written = [{**asdict(row), "ratio": row.ratio} for row in rows]
        files.write_json(arguments.json, {"machine": machine(), "rows": written})


def jobs() -> list[Callable[[], list[Row]]]:
    """What is measured here: with a GPU also its ceiling and the full U-Net on it."""
    clip, film = assets.fetch(["sports2d", "big-buck-bunny"])
    assets.fetch([I3D_ASSET])
    chosen = [
        lambda: matrix.rows(matrix.CPU),
        lambda: decode.rows(clip),
        lambda: motion.rows(clip),
        lambda: curate.rows(film),
        plan.rows,
        i3d.rows,
        unet.training_rows,
        data.rows,
        frechet.rows,
        metrics.rows,
        captions.rows,
    ]
    if torch.cuda.is_available():
        chosen += [lambda: matrix.rows(matrix.CUDA), lambda: unet.forward_rows(matrix.CUDA)]
    return chosen


def measure(chosen: list[Callable[[], list[Row]]]) -> list[Row]:
    """The rows of all jobs."""
    rows: list[Row] = []
    with progress("bench", len(chosen), "jobs") as advance:
        for job in chosen:
            rows += job()
            advance(1)
    return rows


def table(rows: list[Row]) -> Table:
    """The rows for a terminal."""
    shown = Table("part", "rate", "reference", "its rate", "ratio", title=machine(), box=box.SIMPLE)
    for row in rows:
        reference_rate = f"{row.reference_rate:.4g}" if row.reference_rate else ""
        ratio = f"{row.ratio:.2f}" if row.ratio else ""
        shown.add_row(
            row.part, f"{row.rate:.4g} {row.unit}/s", row.reference, reference_rate, ratio
        )
    return shown


def machine() -> str:
    """The machine in a line."""
    gpu = f", {torch.cuda.get_device_name()}" if torch.cuda.is_available() else ""
    return f"torch {torch.__version__}, {torch.get_num_threads()} CPU threads{gpu}"


if __name__ == "__main__":
    main()
