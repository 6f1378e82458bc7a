"""Activation checkpointing: which activations of the U-Net are kept, and which computed again.

    none        everything is kept
    selective   inside a layer, what convolutions, matrix products and attention gave is kept;
                norms, activations and sums, which are cheap, are computed again
    full        only the inputs of layers are kept, and each layer is computed again
    names       the same for layers whose names begin so: init_attn,output_blocks.9

A layer here is a residual block, a spatial or a temporal transformer. Masks of dropout are
functions of the sample (`dynamicrafter.model.dropout`), so the second computation gives the same.
"""

import functools
from collections.abc import Callable, Iterator

import torch
from torch import nn
from torch.utils.checkpoint import (
    CheckpointPolicy,
    checkpoint,
    create_selective_checkpoint_contexts,
)

from dynamicrafter.errors import InputError
from dynamicrafter.model.compiled import LAYERS
from dynamicrafter.model.unet import UNet

CHOICES = ("none", "selective", "full")
aten = torch.ops.aten
KEPT = frozenset(
    {
        aten.mm.default,
        aten.addmm.default,
        aten.bmm.default,
        aten.convolution.default,
        aten._scaled_dot_product_flash_attention.default,
        aten._scaled_dot_product_flash_attention_for_cpu.default,
        aten._scaled_dot_product_efficient_attention.default,
        aten._scaled_dot_product_cudnn_attention.default,
    }
)


def recomputed_layers(unet: UNet) -> Iterator[nn.Module]:
    """The layers that are computed again, in the order of their names."""
    return (module for module in unet.modules() if isinstance(module, LAYERS))


def apply_recompute(unet: UNet, choice: str) -> None:
    """Let the layers of `unet` keep their activations as `choice` says; call it once.

    Raises:
        InputError: there is no such choice.
    """
    if choice == "none":
        return
    layers = list(recomputed_layers(unet))
    if choice not in CHOICES:
        names = tuple(choice.split(","))
        named = {name: m for name, m in unet.named_modules() if isinstance(m, LAYERS)}
        layers = [layer for name, layer in named.items() if name.startswith(names)]
        if not layers:
            raise InputError(
                f"recompute is {choice!r}; choose {', '.join(CHOICES)} or names of layers"
            )
    for layer in layers:
        layer.forward = _recomputed(layer.forward, selective=choice == "selective")


def _recomputed(forward: Callable, selective: bool) -> Callable:
    more = {}
    if selective:
        more["context_fn"] = functools.partial(create_selective_checkpoint_contexts, _policy)

    @functools.wraps(forward)
    def run(*inputs):
        if not torch.is_grad_enabled():
            return forward(*inputs)
        return checkpoint(forward, *inputs, use_reentrant=False, preserve_rng_state=False, **more)

    return run


def _policy(ctx: object, op: object, *args: object, **kwargs: object) -> CheckpointPolicy:
    return CheckpointPolicy.MUST_SAVE if op in KEPT else CheckpointPolicy.PREFER_RECOMPUTE
