"""Training as a command, on a model so small that a step takes a tenth of a second."""

import json
import os
import socket
import subprocess
import time
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file

from tests.commands.kills import Started, start
from tests.commands.runner import DYNAMICRAFTER, QUIET
from train.journal import read_rows

SMALL = [
    "model=tiny",
    "model.resolution=[16,16]",
    "model.frames=4",
    "model.resampler.frames=4",
    "model.unet.channel_mult=[1,2]",
    "model.unet.dropout=0.1",
    "recipe.stages=[joint]",
    "recipe.joint.start=[]",
    "recipe.joint.batch=4",
    "recipe.joint.checkpoint_every=3",
    "recipe.joint.ema_decay=0.9",
]


def arguments(shards: Path, folder: Path, steps: int, *more: str) -> list[str]:
    """`train` with one stage of a small video model, with averages."""
    return [
        "train", "+experiment=demo/train", f"data={shards}", f"run_dir={folder}",
        "on_change=refuse", "tracking=disabled", "threads=1", *SMALL,
        f"recipe.joint.steps={steps}", *more,
    ]  # fmt: skip


def train(shards: Path, folder: Path, steps: int, *more: str) -> subprocess.CompletedProcess:
    """Train to the end, or to the error."""
    return subprocess.run(
        [*DYNAMICRAFTER, *arguments(shards, folder, steps, *more)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **QUIET},
    )


def trained(shards: Path, folder: Path, steps: int, *more: str) -> Path:
    """Train to the end; the folder."""
    result = train(shards, folder, steps, *more)
    assert result.returncode == 0, result.stderr
    return folder


def start_ranks(count: int, shards: Path, folder: Path, steps: int, *more: str) -> list[Started]:
    """Start ranks as torchrun would, each with a log of its own beside `folder`."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    return [
        start(
            arguments(shards, folder, steps, *more),
            folder.with_suffix(f".{rank}.log"),
            RANK=str(rank),
            LOCAL_RANK=str(rank),
            WORLD_SIZE=str(count),
            MASTER_ADDR="127.0.0.1",
            MASTER_PORT=str(port),
        )
        for rank in range(count)
    ]


def stage(folder: Path, name: str = "01-joint") -> Path:
    """The folder of a stage."""
    return folder / "stages" / name


def steps_of(folder: Path) -> list[tuple[int, float, float, str]]:
    """Step, loss, gradient norm and the digest of the clips of every step."""
    return [
        (row["step"], row["loss"], row["gradient_norm"], row["clips"])
        for row in read_rows(stage(folder) / "metrics.jsonl")
    ]


def validations_of(folder: Path) -> list[tuple[int, dict]]:
    """Step and scalars of every validation."""
    rows = read_rows(stage(folder) / "validation.jsonl")
    return [(row["step"], row["scalars"]) for row in rows]


def same_tensors(first: Path, second: Path) -> bool:
    """Whether two weight files hold the same, to the bit."""
    one, other = load_file(first), load_file(second)
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def assert_alike(first: Path, second: Path, tolerance: float = 1e-6) -> None:
    """The same clips step by step, and losses within a relative tolerance."""
    one, other = steps_of(first), steps_of(second)
    assert [row[3] for row in one] == [row[3] for row in other]
    losses = np.array([[row[1] for row in rows] for rows in (one, other)])
    np.testing.assert_allclose(losses[1], losses[0], rtol=tolerance, atol=0)


def assert_same_training(first: Path, second: Path) -> None:
    """Losses, sample ids, validations, weights, averages and moments are equal to the bit."""
    assert steps_of(first) == steps_of(second)
    assert validations_of(first) == validations_of(second)
    assert same_tensors(stage(first) / "model.safetensors", stage(second) / "model.safetensors")
    averages = "ema/model.safetensors"
    assert same_tensors(stage(first) / averages, stage(second) / averages)
    newest = max((stage(first) / "checkpoints").iterdir())
    for path in newest.glob("*.safetensors"):
        other = stage(second) / "checkpoints" / newest.name / path.name
        assert same_tensors(path, other), path.name


def wait_for_step(run: Started, folder: Path, step: int, limit_s: float = 120) -> bool:
    """Wait until a run has written down `step`; False if it has ended before."""
    deadline = time.monotonic() + limit_s
    path = stage(folder) / "metrics.jsonl"
    while time.monotonic() < deadline:
        if run.process.poll() is not None:
            return False
        if path.exists() and path.read_bytes().count(b"\n") >= step:
            return True
        time.sleep(0.01)
    raise AssertionError(f"step {step} did not come: {run.log.read_text()[-2000:]}")


def state_of(checkpoint: Path) -> dict:
    """The state.json of a checkpoint."""
    return json.loads((checkpoint / "state.json").read_text())
