"""Random weights under which no layer of a model is silent, for measuring it without real ones."""

import torch

from dynamicrafter.model.animation import AnimationConfig, AnimationModel

RESIDUAL_OUTPUTS = (
    ".out_layers.3.weight",
    ".conv4.3.weight",
    ".proj_out.weight",
    ".to_out.0.weight",
    ".ff.net.2.weight",
)


@torch.no_grad()
def fill(module: torch.nn.Module, seed: int = 0) -> torch.nn.Module:
    """Weights N(0, 1/fan_in), those that end a residual branch times 0.1; norms near identity."""
    device = next(module.parameters()).device
    chance = torch.Generator(device).manual_seed(seed)
    for name, parameter in module.named_parameters():
        if parameter.ndim < 2:  # biases, norms, gates
            parameter.normal_(std=0.02, generator=chance)
            continue
        parameter.normal_(std=parameter[0].numel() ** -0.5, generator=chance)
        if name.endswith(RESIDUAL_OUTPUTS):
            parameter.mul_(0.1)
    for layer in module.modules():
        if isinstance(layer, torch.nn.GroupNorm | torch.nn.LayerNorm):
            layer.weight.add_(1)
    return module


def full_size(config: AnimationConfig) -> AnimationModel:
    """A frozen model on the GPU, filled there, so it takes seconds."""
    with torch.device("meta"):
        model = AnimationModel(config)
    return fill(model.to_empty(device="cuda")).eval().requires_grad_(False)
