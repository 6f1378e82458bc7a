"""What is computed in bf16: everything under autocast, over master weights that stay in fp32.

Norms, losses and the optimizer are in fp32 (`model/layers.py`, `diffusion/objective.py`). Layers of
the U-Net and the CLIP towers that are not trained are also kept in bf16, which autocast would make
of them at every call. The autoencoder's weights stay in fp32.
"""

import contextlib
from typing import Literal

import torch
from torch import nn

from dynamicrafter.errors import InputError
from dynamicrafter.model.animation import AnimationModel
from dynamicrafter.model.placement import LOWERED_LAYERS, PRECISIONS, best_precision

Precision = Literal["fp32", "bf16"]


def choose_precision(name: str, device: torch.device) -> Precision:
    """The precision that a setting names: `auto` is bf16 on a GPU that computes in it.

    Raises:
        InputError: there is no such choice.
    """
    if name not in PRECISIONS:
        raise InputError(f"precision={name}; choose {', '.join(PRECISIONS)}")
    return best_precision(device) if name == "auto" else name


def autocast(device: torch.device, precision: Precision) -> contextlib.AbstractContextManager:
    """The context that forward passes are computed in."""
    return torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16")


def lower_frozen(model: AnimationModel) -> None:
    """Keep the frozen linear and convolutional layers of U-Net and CLIP towers in bf16.

    The originals are gone: whoever saves the model takes its frozen tensors from where they came.
    """
    for part in (model.unet, model.cond_stage_model, model.embedder):
        for layer in part.modules() if part is not None else ():
            if isinstance(layer, LOWERED_LAYERS) and not _is_trained(layer):
                layer.to(torch.bfloat16)


def _is_trained(layer: nn.Module) -> bool:
    return any(parameter.requires_grad for parameter in layer.parameters())
