"""Where the time of a step goes.

    watch = Stopwatch(device)
    with watch("forward"): ...
    watch.read()      {"data": 0.01, "encode": 0.1, …} seconds since the last reading

On a GPU the work is timed by events on its stream: nothing waits for them but the reading.
"""

import contextlib
import time
from collections.abc import Iterator

import torch

PHASES = ("data", "encode", "forward", "backward", "optimizer", "save", "other")
OFF_DEVICE = ("data", "save")  # timed by the clock also where a GPU does the rest
# Dense bf16 products with fp32 sums, by the makers' data sheets. The first name that is part of a
# device's counts, so the more exact ones stand before the others.
PEAK_FLOPS = {
    "B200": 2250e12,
    "H200": 989.4e12,
    "H100 PCIe": 756e12,
    "H100 NVL": 835e12,
    "H100": 989.4e12,
    "A100": 312e12,
    "L40S": 362e12,
    "RTX 6000 Ada": 364e12,
    "RTX 4090": 165.2e12,
    "RTX 3090": 71e12,
}


class Stopwatch:
    """Adds up the seconds of each phase."""

    def __init__(self, device: torch.device):
        """Time work on `device`; waiting for data is timed by the clock anyway."""
        self._events = device.type == "cuda"
        self._seconds = dict.fromkeys(PHASES, 0.0)
        self._pending: list[tuple[str, torch.cuda.Event, torch.cuda.Event]] = []
        self._began = time.perf_counter()

    @contextlib.contextmanager
    def __call__(self, phase: str) -> Iterator[None]:
        """Count what happens inside the block as `phase`."""
        if self._events and phase not in OFF_DEVICE:
            first, last = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            first.record()
            yield
            last.record()
            self._pending.append((phase, first, last))
            return
        began = time.perf_counter()
        yield
        self._seconds[phase] += time.perf_counter() - began

    def read(self) -> dict[str, float]:
        """Seconds of each phase since the last reading, and of all of them under `step`."""
        for phase, first, last in self._pending:
            last.synchronize()
            self._seconds[phase] += first.elapsed_time(last) / 1000
        self._pending.clear()
        whole = time.perf_counter() - self._began
        named = sum(seconds for phase, seconds in self._seconds.items() if phase != "other")
        row = {**self._seconds, "other": max(whole - named, 0.0), "step": whole}
        self._seconds = dict.fromkeys(PHASES, 0.0)
        self._began = time.perf_counter()
        return row


def peak_flops(device: torch.device) -> float | None:
    """The most operations a second of a device, where it is known."""
    if device.type != "cuda":
        return None
    name = torch.cuda.get_device_name(device)
    return next((flops for part, flops in PEAK_FLOPS.items() if part in name), None)
