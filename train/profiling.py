"""A profile of a few steps on request: `profile.json`, for chrome://tracing or Perfetto."""

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

import torch

from dynamicrafter import files
from dynamicrafter.command import say

SKIPPED = 2  # first steps, which prepare


@contextlib.contextmanager
def profiler(steps: int, folder: Path, first_step: int) -> Iterator[Callable[[], None]]:
    """Profile `steps` steps after the first two; yields what is to be called after each step."""
    if not steps:
        yield lambda: None
        return

    def write(profile: torch.profiler.profile) -> None:
        path = folder / f"profile-{first_step + SKIPPED + 1:08d}.json"
        with files.atomic_path(path) as temporary:
            profile.export_chrome_trace(str(temporary))
        say(f"profile of {steps} steps: {path}")

    schedule = torch.profiler.schedule(wait=0, warmup=SKIPPED, active=steps, repeat=1)
    with torch.profiler.profile(
        schedule=schedule, on_trace_ready=write, record_shapes=True, profile_memory=True
    ) as profile:
        yield profile.step
