"""Layers of the U-Net compiled for training on a GPU; what they compute changes by rounding alone.

Layers are compiled, not the whole network: layers of equal shapes share one compilation, and the
compiler's cache on disk serves every later run. The compiler also decides what a layer keeps for
its backward pass: results of products and attention, and of the rest only what is not had back
cheaply. Sampling needs none of this (`sampling_kernels.py`, `graphs.py`).
"""

import torch
from torch import nn

from dynamicrafter.model.attention import SpatialTransformer
from dynamicrafter.model.blocks import ResBlock
from dynamicrafter.model.temporal import TemporalTransformer

LAYERS = (ResBlock, SpatialTransformer, TemporalTransformer)
SHAPES = 64  # of inputs that one kind of layer may be compiled for: many channels, few sizes


def compile_layers(unet: nn.Module) -> None:
    """Compile each layer of `unet` at its first call; passes without gradient stay as they are."""
    torch._dynamo.config.recompile_limit = SHAPES
    for layer in [*(m for m in unet.modules() if isinstance(m, LAYERS)), unet.out]:
        layer.forward = _with_gradient(layer.forward)


def channels_last(module: nn.Module) -> None:
    """Let the weights of convolutions lie as channels-last inputs want them."""
    formats = {4: torch.channels_last, 5: torch.channels_last_3d}
    for parameter in module.parameters():
        if parameter.ndim in formats:
            parameter.data = parameter.data.contiguous(memory_format=formats[parameter.ndim])


def _with_gradient(forward):
    compiled = torch.compile(forward, dynamic=False)

    def run(*inputs):
        return compiled(*inputs) if torch.is_grad_enabled() else forward(*inputs)

    return run
