"""How strong the image stream is against the text, in every cross-attention of a forward pass.

    with recorded_attention(model.unet) as ratios, torch.no_grad():
        model.unet(x, t, context, fs)
    ratios["middle_block"]      # [tensor [b]], one for each pass

The gate λ alone does not tell: it weighs an output that may be large or small by itself.
"""

import contextlib
import functools
from collections.abc import Iterator

import torch
from torch import Tensor

from dynamicrafter.model.gates import gated_attentions
from dynamicrafter.model.unet import UNet


@contextlib.contextmanager
def recorded_attention(unet: UNet) -> Iterator[dict[str, list[Tensor]]]:
    """Record `image_to_text` of every layer with an image stream inside the block.

    Passes with gradient are left out: a layer that is recomputed in the backward pass would count
    twice.

    Yields:
        layer, named as in `gates.Gate` → a tensor `[b]` on the model's device for each pass; empty
        for a model without image stream.
    """
    layers = gated_attentions(unet)
    ratios: dict[str, list[Tensor]] = {layer: [] for layer in layers}
    for layer, attention in layers.items():
        attention.observer = functools.partial(_record, ratios[layer])
    try:
        yield ratios
    finally:
        for attention in layers.values():
            attention.observer = None


def image_to_text(text: Tensor, image: Tensor, samples: int) -> Tensor:
    """‖image‖ / ‖text‖ of each sample, with norms over all its frames, tokens and channels.

    Args:
        text: output of the text stream `[n, l, dim]`, the rows of a sample together.
        image: output of the image stream times λ, like text.
        samples: b, which divides n.

    Returns:
        float32 `[b]`.
    """
    image_norm, text_norm = (
        torch.linalg.vector_norm(x.reshape(samples, -1), dim=1, dtype=torch.float32)
        for x in (image, text)
    )
    return image_norm / text_norm


def _record(ratios: list[Tensor], text: Tensor, image: Tensor, samples: int) -> None:
    if not torch.is_grad_enabled():
        ratios.append(image_to_text(text, image, samples))
