"""Forward and backward pass of a step as one CUDA graph.

A step of the full-size U-Net starts eight thousand kernels, which takes Python longer than it takes
a GPU to compute them. Recorded once, they are started at once.
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from dynamicrafter.model.graphs import Recording, shapes


class GraphedGradients:
    """Losses of a batch, and the gradient of their weighted sum in the parameters."""

    def __init__(self, losses: Callable[..., Tensor], trained: Sequence[Tensor]):
        """`losses(*tensors)` gives `[b]` with gradient; `trained` are the parameters.

        Autocast belongs inside: what it keeps for a pass would otherwise outlive the recording.
        """
        self._losses, self._trained = losses, trained
        self._made_for: tuple | None = None
        self._recording: Recording | None = None
        self._gradients: list[Tensor | None] = []

    def __call__(self, inputs: Sequence[Tensor | None], weight: float) -> Tensor:
        """The losses `[b]`, and in each parameter's `grad` the gradient, until the next call.

        Args:
            inputs: of the losses. Another shape than before is recorded anew.
            weight: of the sum of the losses.
        """
        if self._made_for != (made_for := (weight, shapes(inputs))):
            self.forget()

            def run(*given: Tensor | None) -> Tensor:
                found = self._losses(*given)
                (found.sum() * weight).backward()
                return found.detach()

            self._recording = Recording(run, inputs, before=self._no_gradients)
            # They lie in the recording's memory; a pass begins with writing over them.
            self._gradients = [parameter.grad for parameter in self._trained]
            self._made_for = made_for
        losses = self._recording(*inputs).clone()
        for parameter, gradient in zip(self._trained, self._gradients, strict=True):
            parameter.grad = gradient
        return losses

    def forget(self) -> None:
        """Give the recording's memory back; the next call records anew."""
        self._made_for = self._recording = None
        self._gradients = []
        self._no_gradients()

    def _no_gradients(self) -> None:
        for parameter in self._trained:
            parameter.grad = None


def tensors_of(record: Any) -> list[Tensor | None]:
    """The fields of a dataclass of tensors."""
    return [getattr(record, field.name) for field in dataclasses.fields(record)]


def with_tensors(record: Any, tensors: Sequence[Tensor | None]) -> Any:
    """The same dataclass with other tensors."""
    names = [field.name for field in dataclasses.fields(record)]
    return dataclasses.replace(record, **dict(zip(names, tensors, strict=True)))


def is_tensors(record: Any) -> bool:
    """Whether all that a record holds are tensors, so that it can be the input of a recording."""
    return dataclasses.is_dataclass(record) and all(
        one is None or isinstance(one, torch.Tensor) for one in tensors_of(record)
    )
