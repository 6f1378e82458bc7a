"""Checkpoints: a folder per step that is whole or absent; the newest whole one wins.

    step-00000040/weights.safetensors      the trained tensors; the frozen ones come from where the
                                           stage started, whose digests are in state.json
                  optimizer.safetensors    <parameter>.exp_avg and so on
                  ema.safetensors          the averages, where there are any
                  state.json               step, sample number, W&B run, digests, names of the
                                           files above; written last

The loop waits only while the tensors are copied to host memory; a thread writes them. No state of a
generator is saved: there is none (see `dynamicrafter.draws`).
"""

import contextlib
import shutil
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import Tensor

from dynamicrafter import files
from dynamicrafter.command import say
from dynamicrafter.errors import InputError, MachineError
from train.optimizer import Ema
from train.parallel import fill, whole

WEIGHTS, OPTIMIZER, EMA = "weights.safetensors", "optimizer.safetensors", "ema.safetensors"
STATE = "state.json"


@dataclass(frozen=True)
class Training:
    """What of a training run changes from step to step.

    Attributes:
        trained: name → parameter.
        optimizer: over them, in this order.
        ema: their averages, or None.
    """

    trained: Mapping[str, Tensor]
    optimizer: torch.optim.Optimizer
    ema: Ema | None

    def averaged(self) -> contextlib.AbstractContextManager[None]:
        """Inside the block the model computes with the averages, if there are any."""
        return self.ema.in_place() if self.ema else contextlib.nullcontext()

    def tensors(self) -> dict[str, dict[str, Tensor]]:
        """Everything that a checkpoint holds: file → name → tensor, as it lies."""
        moments = {
            f"{name}.{field}": value
            for name, parameter in self.trained.items()
            for field, value in self.optimizer.state[parameter].items()
        }
        parts = {WEIGHTS: dict(self.trained), OPTIMIZER: moments}
        return {**parts, EMA: self.ema.average} if self.ema else parts


class Checkpoints:
    """The checkpoints of one stage.

    Only the rank that leads writes; all of them call, since all put a divided tensor together.
    """

    def __init__(self, folder: Path, leads: bool, keep_last: int, keep_every: int = 0):
        """Keep the newest `keep_last`, and those of steps that `keep_every` divides."""
        self.folder = folder
        self._leads = leads
        self._keep_last, self._keep_every = keep_last, keep_every
        self._writer = ThreadPoolExecutor(1, "checkpoint")
        self._writing: Future[None] | None = None
        self._buffers: dict[tuple[str, str], Tensor] = {}

    def save(self, step: int, training: Training, state: dict[str, Any]) -> None:
        """Copy everything to host memory and let a thread write it; the one before is whole then.

        Raises:
            MachineError: the disk has too little room.
            OSError: the checkpoint before could not be written.
        """
        self.wait()
        tensors = {
            name: {key: self._copied(name, key, tensor) for key, tensor in part.items()}
            for name, part in training.tensors().items()
        }
        if not self._leads:
            return
        self._check_room(tensors)
        content = {**state, "step": step, "files": sorted(tensors)}
        self._writing = self._writer.submit(self._write, step, tensors, content)

    def wait(self) -> None:
        """Wait for the checkpoint that is being written.

        Raises:
            OSError: it could not be written.
        """
        writing, self._writing = self._writing, None
        if writing is not None:
            writing.result()

    def close(self) -> None:
        """Let the checkpoint that is being written come to its end, good or bad; save no more."""
        self._writer.shutdown()

    def newest(self) -> Path | None:
        """The newest whole checkpoint; damaged ones are passed over, and told."""
        for path in sorted(self.folder.glob("step-*"), reverse=True):
            if trouble := _trouble(path):
                if self._leads:
                    say(f"checkpoint {path} is damaged ({trouble}); going on from an older one")
                continue
            return path
        return None

    def _copied(self, file: str, name: str, tensor: Tensor) -> Tensor:
        """A copy of all of a tensor in host memory, pinned and used again if it was on a GPU."""
        full = whole(tensor.detach())
        if not self._leads or not full.is_cuda:
            return full.clone() if self._leads else full
        if (file, name) not in self._buffers:
            self._buffers[file, name] = torch.empty_like(full, device="cpu", pin_memory=True)
        return self._buffers[file, name].copy_(full)

    def _check_room(self, tensors: dict[str, dict[str, Tensor]]) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        needed = sum(t.nbytes for part in tensors.values() for t in part.values())
        free = shutil.disk_usage(self.folder).free
        if free < needed:
            raise MachineError(
                f"a checkpoint takes {needed / 1e9:.2f} GB and {self.folder} has "
                f"{free / 1e9:.2f} GB left; free some space, then run the same command again"
            )

    def _write(self, step: int, tensors: dict[str, dict[str, Tensor]], state: dict) -> None:
        target = self.folder / f"step-{step:08d}"
        if target.exists():  # damaged, or of a run that went further than its metrics
            shutil.rmtree(target)
        with files.atomic_folder(target) as partial:
            for name, part in tensors.items():
                files.write_tensors(partial / name, part)
            files.write_json(partial / STATE, state)
        self._prune(self._keep_last)

    def keep_newest(self) -> None:
        """Remove all but the newest, and those that `keep_every` divides: the stage is over."""
        if self._leads:
            self._prune(1)

    def _prune(self, count: int) -> None:
        found = sorted(self.folder.glob("step-*"))
        whole_ones = [path for path in found if not _trouble(path)]
        kept = {*whole_ones[-count:]}
        if self._keep_every:
            kept |= {path for path in whole_ones if step_of(path) % self._keep_every == 0}
        for other in set(found) - kept:
            shutil.rmtree(other)


def step_of(checkpoint: Path) -> int:
    """The step of a checkpoint folder."""
    return int(checkpoint.name.removeprefix("step-"))


def read_state(checkpoint: Path) -> dict[str, Any]:
    """The `state.json` of a checkpoint."""
    return files.read_json(checkpoint / STATE)


@torch.no_grad()
def restore(checkpoint: Path, training: Training) -> None:
    """Load a checkpoint into the model's trained tensors, the optimizer and the averages."""
    weights = load_file(checkpoint / WEIGHTS)
    moments = load_file(checkpoint / OPTIMIZER)
    averages = load_file(checkpoint / EMA) if training.ema else {}
    on_device = training.optimizer.defaults["fused"]
    for name, parameter in training.trained.items():
        fill(parameter, weights[name])
        training.optimizer.state[parameter] = {}
        if f"{name}.step" in moments:  # else it has never had a gradient
            training.optimizer.state[parameter] = {
                "step": moments[f"{name}.step"].to(parameter.device if on_device else "cpu"),
                **{  # in memory as the weights are, which a fused step asks for
                    field: fill(torch.empty_like(parameter), moments[f"{name}.{field}"])
                    for field in ("exp_avg", "exp_avg_sq")
                },
            }
        if training.ema:
            fill(training.ema.average[name], averages[name])


def _trouble(checkpoint: Path) -> str | None:
    """What is wrong with a checkpoint, if anything."""
    try:
        names = read_state(checkpoint)["files"]
    except InputError as error:
        return str(error)
    for name in names:
        try:
            with safe_open(checkpoint / name, framework="pt"):  # compares header and length
                pass
        except (SafetensorError, OSError) as error:
            return f"{name}: {error}"
    return None
