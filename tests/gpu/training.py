"""`python -m tests.gpu.training SHARDS [CASE…]`: trainings that are killed on a GPU and go on.

A small model is trained through the command, once undisturbed and once killed after a checkpoint
and begun again. Both take the same clips; it is told how far their losses are apart, since some
kernels of a GPU add up in the order in which their threads end. Ends with 1 if a run fails, if the
clips differ or a loss is off by more than 1 %. SHARDS is a folder that `dynamicrafter curate` made,
of clips of 16 frames. Settings may follow: `device=cpu model.resolution=[16,16]` tries it without a
GPU, where the bits are equal.
"""

import sys
import tempfile
import time
from pathlib import Path

import torch

from tests.commands.kills import kill, start
from tests.train.small_runs import arguments, assert_same_training, steps_of, train, wait_for_step

STEPS, KILLED_AFTER = 8, 5  # checkpoints at 3, 6 and the end
ROUNDING = 1e-2  # of a loss, relative; growing from step to step
SETTINGS = [
    "device=cuda",
    "loader_workers=2",
    "model.resolution=[128,128]",
    "model.frames=16",
    "model.resampler.frames=16",
    "model.unet.model_channels=64",
    "model.unet.head_channels=64",
]
CASES = {
    "eager": [],
    "compiled": ["compile=true"],
    "recorded": ["compile=true", "record_steps=true"],
}


def main() -> int:
    """Run the named cases (all); 1 if one of them is not as it should be."""
    settings = [one for one in sys.argv[2:] if "=" in one]
    names = [one for one in sys.argv[2:] if "=" not in one] or list(CASES)
    return int(not all([_case(Path(sys.argv[1]), name, settings) for name in names]))


def _case(shards: Path, name: str, more: list[str]) -> bool:
    """Train twice, tell the outcome; whether it is as it should be."""
    settings = [*SETTINGS, *CASES[name], *more]
    with tempfile.TemporaryDirectory() as parent:
        whole, torn = Path(parent) / "whole", Path(parent) / "torn"
        began = time.monotonic()
        result = train(shards, whole, STEPS, *settings)
        seconds = time.monotonic() - began
        if result.returncode:
            _say(f"{name}: {result.stderr[-3000:]}")
            return False
        run = start(arguments(shards, torn, STEPS, *settings), torn.with_suffix(".log"))
        was_killed = wait_for_step(run, torn, KILLED_AFTER, limit_s=600)
        kill(run.process)
        result = train(shards, torn, STEPS, *settings)
        if result.returncode or not was_killed:
            _say(f"{name}, killed: {result.stderr[-3000:]}")
            return False
        return _told(name, whole, torn, seconds)


def _told(name: str, whole: Path, torn: Path, seconds: float) -> bool:
    one, other = steps_of(whole), steps_of(torn)
    apart = max(abs(b[1] / a[1] - 1) for a, b in zip(one, other, strict=True))
    try:
        assert_same_training(whole, torn)
        equal = "equal to the bit"
    except AssertionError:
        equal = f"losses within {apart:.1e}, relative"
    where = torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU"
    _say(
        f"{name} ({where}, torch {torch.__version__}): {seconds:.0f} s undisturbed, loss "
        f"{one[0][1]:.6f} to {one[-1][1]:.6f}; killed and begun again: {equal}"
    )
    return [a[3] for a in one] == [b[3] for b in other] and apart < ROUNDING


def _say(line: str) -> None:
    print(line, flush=True)  # noqa: T201


if __name__ == "__main__":
    sys.exit(main())
