"""One optimizer step's forward and backward passes, micro-batch by micro-batch.

The gradient is that of the mean loss over the global batch, whatever the number of ranks and
micro-batches it is put together from.
"""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from dynamicrafter import draws
from dynamicrafter.errors import InputError
from dynamicrafter.model.animation import AnimationModel
from dynamicrafter.model.compiled import channels_last, compile_layers
from dynamicrafter.model.dropout import keyed_dropout
from dynamicrafter.model.placement import visiting
from dynamicrafter.ranks import Ranks
from train.data import Batch
from train.graphed import GraphedGradients, is_tensors, tensors_of, with_tensors
from train.objectives import Objective
from train.parallel import average_scalars, shard
from train.precision import Precision, autocast, lower_frozen
from train.recompute import apply_recompute
from train.stopwatch import Stopwatch


@dataclass(frozen=True)
class Fit:
    """How a stage is made to fit its machine. None of it changes what is computed but in rounding.

    Attributes:
        precision: "fp32", or "bf16" over fp32 master weights.
        recompute: "none", "selective" or "full" (`train/recompute.py`).
        offload: the CLIP towers and the autoencoder are on the device only while they encode.
        parallel: "alone", "ddp" or "fsdp".
        compiled: layers of the U-Net are compiled (`dynamicrafter/model/compiled.py`).
        recorded: forward and backward pass of a step that is one micro-batch are recorded as a CUDA
            graph (`train/graphed.py`).
    """

    precision: Precision = "fp32"
    recompute: str = "none"
    offload: bool = False
    parallel: str = "alone"
    compiled: bool = False
    recorded: bool = False


def choose_compiled(choice: str | bool, device: torch.device, parallel: str) -> bool:
    """Whether layers are compiled: `auto` is on a single GPU.

    Raises:
        InputError: there is no such choice.
    """
    if choice not in ("auto", True, False):
        raise InputError(f"compile={choice}; choose auto, true or false")
    if choice == "auto":
        return device.type == "cuda" and parallel == "alone"
    return bool(choice)


def choose_recorded(choice: bool, device: torch.device, parallel: str) -> bool:
    """Whether steps are recorded.

    Raises:
        InputError: they are to be, and there is not a single GPU.
    """
    if choice and (device.type != "cuda" or parallel != "alone"):
        raise InputError(
            f"record_steps=true is for a single GPU, not for {device.type}, parallel={parallel}; "
            "pass record_steps=false"
        )
    return bool(choice)


class Step:
    """The model as it is trained: placed, wrapped, and asked for gradients.

    Attributes:
        trained: name → parameter, of those that are trained.
    """

    def __init__(
        self,
        model: AnimationModel,
        objective: Objective,
        device: torch.device,
        fit: Fit,
        ranks: Ranks,
    ):
        """Place `model` on `device` as `fit` says; it is changed in place."""
        self._model, self._objective = model, objective
        self._device, self._fit, self._ranks = device, fit, ranks
        parts, others = _split(model)
        if fit.precision == "bf16" and fit.parallel != "fsdp":  # which gathers weights in one type
            lower_frozen(model)
        self._encoders = nn.ModuleList(others)
        nn.ModuleList(parts).to(device)
        if not fit.offload:
            self._encoders.to(device)
        if fit.compiled:
            if fit.parallel != "fsdp":  # which divides only what lies in the usual order
                channels_last(model.unet)
            compile_layers(model.unet)
        # What is cheap to have back a compiled layer computes again by itself.
        redundant = fit.compiled and fit.recompute == "selective"
        apply_recompute(model.unet, "none" if redundant else fit.recompute)
        if fit.parallel == "fsdp":
            shard(parts, fit.precision)
        self.trained = {n: p for n, p in model.named_parameters() if p.requires_grad}
        self._losses: nn.Module = _Losses(model, objective, parts)
        self._graphed: GraphedGradients | None = None
        if fit.parallel == "ddp":
            self._losses = DistributedDataParallel(self._losses, gradient_as_bucket_view=True)

    def train(self, mode: bool = True) -> None:
        """Dropout on; or off, and the memory of a recorded step given back to others."""
        self._model.train(mode)
        if self._graphed is not None and not mode:
            self._graphed.forget()

    def gradients(
        self,
        batches: list[Batch],
        seed: int,
        stream: str,
        global_batch: int,
        watch: Stopwatch,
    ) -> Tensor:
        """Leave the gradient of the global batch's mean loss in the parameters.

        Args:
            batches: this rank's micro-batches.
            seed: the run's seed.
            stream: the stage; prefix of the draws' names.
            global_batch: clips of all ranks together.
            watch: what the phases are timed by.

        Returns:
            The losses of this rank's samples, on the device.
        """
        found = []
        for number, batch in enumerate(batches):
            chance = draws.BatchDraws(seed, stream, batch.numbers)
            is_last = number == len(batches) - 1
            with (
                self._sync_if(is_last),
                keyed_dropout(self._model.unet, seed, f"{stream}/dropout", batch.numbers),
            ):
                with watch("encode"), self.encoding():
                    encoded = self._objective.encode(self._model, batch, chance)
                    drawn = self._objective.draw(self._model, encoded, chance)
                if self._is_recorded(len(batches), encoded, drawn):
                    with watch("backward"):  # and forward
                        losses = self._replayed(encoded, drawn, self._ranks.count / global_batch)
                else:
                    with watch("forward"), autocast(self._device, self._fit.precision):
                        losses = self._losses(encoded, drawn)
                    with watch("backward"):
                        (losses.sum() * self._ranks.count / global_batch).backward()
            found.append(losses.detach())
        if self._fit.parallel == "fsdp":
            average_scalars(self.trained.values())
        return torch.cat(found)

    def _is_recorded(self, rounds: int, encoded: object, drawn: object) -> bool:
        """Whether forward and backward pass are one recording: it does not add gradients up."""
        return self._fit.recorded and rounds == 1 and is_tensors(encoded) and is_tensors(drawn)

    def _replayed(self, encoded: object, drawn: object, weight: float) -> Tensor:
        clips, chances = tensors_of(encoded), tensors_of(drawn)
        if self._graphed is None:

            def losses(*tensors: Tensor | None) -> Tensor:
                with autocast(self._device, self._fit.precision):
                    return self._losses(
                        with_tensors(encoded, tensors[: len(clips)]),
                        with_tensors(drawn, tensors[len(clips) :]),
                    )

            self._graphed = GraphedGradients(losses, list(self.trained.values()))
        return self._graphed([*clips, *chances], weight)

    @contextlib.contextmanager
    def encoding(self) -> Iterator[None]:
        """Inside the block the encoders are on the device, and compute in the precision."""
        visit = contextlib.nullcontext()
        if self._fit.offload:
            visit = visiting(self._encoders, self._device)
        with visit, autocast(self._device, self._fit.precision):
            yield

    def _sync_if(self, is_last: bool) -> contextlib.AbstractContextManager:
        """Ranks add their gradients up in the last micro-batch."""
        if is_last or not isinstance(self._losses, DistributedDataParallel):
            return contextlib.nullcontext()
        return self._losses.no_sync()


class _Losses(nn.Module):
    """The losses as a module of exactly the parts that have a gradient, as DDP wants it."""

    def __init__(self, model: AnimationModel, objective: Objective, parts: list[nn.Module]):
        super().__init__()
        self.parts = nn.ModuleList(parts)
        self._whole = [model]  # in a list, so that its other parts are not registered here
        self._objective = objective

    def forward(self, encoded: object, drawn: object) -> Tensor:
        return self._objective.losses(self._whole[0], encoded, drawn)


def _split(model: AnimationModel) -> tuple[list[nn.Module], list[nn.Module]]:
    """The parts that have a gradient, and the others."""
    parts: list[nn.Module | None] = [model.unet, model.image_proj_model]
    others: list[nn.Module | None] = [model.cond_stage_model, model.embedder]
    autoencoder = model.first_stage_model
    if any(parameter.requires_grad for parameter in autoencoder.parameters()):
        parts, others = [autoencoder], parts + others
    else:
        others = [autoencoder, *others]
    return [x for x in parts if x is not None], [x for x in others if x is not None]
