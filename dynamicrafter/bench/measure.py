"""What every case of the benchmark times with, and is checked by.

Times are medians over calls on random data, by the GPU's own clock, after calls that are not
counted. Cases may compile side by side: they time one at a time. A timing whose result is not
finite, or does not depend on its input, is none.
"""

import fcntl
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

PEAK = 989.4  # TFLOP/s: dense bf16 of an H100 or H200 SXM, by its data sheet
FORWARD = {256: 4.904, 512: 12.60}  # TFLOP of a forward pass of 16 frames, by the model
DECODE = {256: 9.95, 512: 25.0}  # of their decoding
SIDE = 8192  # of the matrices of the ceiling
LOCK = Path(tempfile.gettempdir()) / "dynamicrafter-bench.lock"  # held while anything is timed


@dataclass(frozen=True)
class Row:
    """One line of the table: what was measured, and what was hoped for."""

    what: str
    value: float
    unit: str
    goal: str = ""
    beyond: str = ""
    official: str = ""
    details: dict[str, Any] = field(default_factory=dict)


def print_rows(rows: Iterable[Row]) -> None:
    """Print rows as lines of JSON, each as soon as it is there."""
    for row in rows:
        sys.stdout.write(json.dumps(asdict(row)) + "\n")
        sys.stdout.flush()


def seconds(work: Callable[[], object], repeats: int, warm_up: int = 2) -> float:
    """Median seconds of a call."""
    for _ in range(warm_up):
        work()
    with open(LOCK, "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        work()
        return statistics.median(_seconds(work) for _ in range(repeats))


def _seconds(work: Callable[[], object]) -> float:
    if not torch.cuda.is_available():
        began = time.perf_counter()
        work()
        return time.perf_counter() - began
    begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    begin.record()
    work()
    end.record()
    torch.cuda.synchronize()
    return begin.elapsed_time(end) / 1000


def matrix_tflops(device: str = "cuda", dtype: torch.dtype = torch.bfloat16) -> float:
    """TFLOP/s of one large matrix product: the ceiling of this process."""
    side = SIDE if device == "cuda" else SIDE // 4
    a, b = torch.randn(2, side, side, device=device).to(dtype)
    return 2 * side**3 / seconds(lambda: a @ b, 10) / 1e12


def peak_gib(recorded: bool = False) -> float:
    """GiB of GPU memory that were allocated at once since `torch.cuda.reset_peak_memory_stats`.

    What a recording computes in stays reserved and does not count as allocated, so with `recorded`
    it is the memory that was reserved, for this and all else.
    """
    most = torch.cuda.max_memory_reserved if recorded else torch.cuda.max_memory_allocated
    return round(most() / 2**30, 2)


def relative(value: Tensor, expected: Tensor) -> float:
    """Relative L2 difference."""
    value, expected = value.double(), expected.double()
    return float((value - expected).norm() / expected.norm())


def check(good: bool, what: str) -> None:
    """Refuse a timing that means nothing.

    Raises:
        RuntimeError: it does.
    """
    if not good:
        raise RuntimeError(f"this timing means nothing: {what}")
