"""The gates λ of the image stream, layer by layer: reading them, and scaling chosen ones.

λ = tanh(alpha) + 1 weighs the image tokens against the text in every cross-attention (paper,
section 3.2 and figure 2); a model without learned gates has λ = 1 throughout.
"""

import contextlib
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from dynamicrafter.errors import InputError
from dynamicrafter.model.attention import DualCrossAttention
from dynamicrafter.model.unet import UNet

ALL = "all"


@dataclass(frozen=True)
class Gate:
    """One gate.

    Attributes:
        layer: the layer's place, as in the official names: input_blocks.1, middle_block and so on;
            with several transformer blocks at a place, their number is appended.
        width: channels there.
        value: λ.
        learned: whether it was trained.
    """

    layer: str
    width: int
    value: float
    learned: bool


def read_gates(unet: UNet) -> list[Gate]:
    """The gates in the order of the forward pass; none for a model without image stream."""
    return [
        Gate(
            layer=layer,
            width=attention.to_q.out_features,
            value=1.0 if attention.alpha is None else math.tanh(attention.alpha.item()) + 1,
            learned=attention.alpha is not None,
        )
        for layer, attention in gated_attentions(unet).items()
    ]


@contextlib.contextmanager
def scaled_gates(unet: UNet, factors: Mapping[str, float]) -> Iterator[None]:
    """Multiply λ of chosen layers inside the block.

    `factors`: a layer, the beginning of some (input_blocks, output_blocks) or all → the factor. The
    longest name that fits a layer decides.

    Raises:
        InputError: no layer has such a name, or the factor is no finite number.
    """
    check_factors(unet, factors)
    gated = gated_attentions(unet)
    before = {layer: attention.gate_factor for layer, attention in gated.items()}
    for layer, attention in gated.items():
        fitting = [name for name in factors if _fits(name, layer)]
        if fitting:
            attention.gate_factor = float(factors[max(fitting, key=_rank)])
    try:
        yield
    finally:
        for layer, attention in gated.items():
            attention.gate_factor = before[layer]


def check_factors(unet: UNet, factors: Mapping[str, float]) -> None:
    """Refuse factors that `scaled_gates` could not apply.

    Raises:
        InputError: see there.
    """
    layers = list(gated_attentions(unet)) if factors else []
    for name, factor in factors.items():
        if not any(_fits(name, layer) for layer in layers):
            known = ", ".join(layers) or "none: the model has no image stream"
            raise InputError(f"gates: there is no layer {name!r}; the layers are {known}")
        if isinstance(factor, bool) or not isinstance(factor, int | float):
            raise InputError(f"gates: the factor of {name} is {factor!r}; expected a number")
        if not math.isfinite(factor):
            raise InputError(f"gates: the factor of {name} is {factor}; expected a finite number")


def gated_attentions(unet: UNet) -> dict[str, DualCrossAttention]:
    """The cross-attentions with an image stream, by layer as in `Gate`, in the forward's order."""
    if unet.config.image_context == "none":
        return {}
    several = unet.config.transformer_depth > 1
    found = {}
    for name, module in unet.named_modules():
        if isinstance(module, DualCrossAttention):
            place, rest = name.split(".1.transformer_blocks.")
            found[f"{place}.{rest.split('.')[0]}" if several else place] = module
    return found


def _fits(name: str, layer: str) -> bool:
    return name in (ALL, layer) or layer.startswith(f"{name}.")


def _rank(name: str) -> int:
    return 0 if name == ALL else len(name)
