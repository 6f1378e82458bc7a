"""The denoising U-Net: a training step of the tiny one, a forward pass of the full one."""

import torch

from dynamicrafter.model.animation import AnimationConfig
from dynamicrafter.model.pretrained import model_config
from dynamicrafter.model.resampler import FRAME_TOKENS
from dynamicrafter.model.unet import TEXT_TOKENS, UNet
from tests.bench.matrix import CPU, Machine, network_row
from tests.bench.timing import Row

BATCH = 4  # clips of a training step, as in the demo


def training_rows() -> list[Row]:
    """Forward, backward and optimizer step of the demo's U-Net on latents."""
    config = AnimationConfig.from_dict(model_config("tiny"))
    unet, inputs = UNet(config.unet), random_inputs(config, BATCH, CPU)
    target = torch.randn_like(inputs[0][:, : config.unet.out_channels])
    optimizer = torch.optim.AdamW(unet.parameters())

    def step() -> None:
        (unet(*inputs) - target).square().mean().backward()
        optimizer.step()
        optimizer.zero_grad()

    return [network_row("tiny U-Net, training", step, CPU, count=BATCH, unit="clips")]


def forward_rows(machine: Machine) -> list[Row]:
    """One denoising step of one clip by the U-Net of the released 256 model, random weights."""
    config = AnimationConfig.from_dict(model_config("dynamicrafter_256"))
    unet = UNet(config.unet).to(machine.device, machine.dtype).eval()
    inputs = random_inputs(config, 1, machine)

    @torch.inference_mode()
    def work() -> torch.Tensor:
        return unet(*inputs)

    return [network_row(f"256 U-Net, {machine}", work, machine, count=1, unit="clips")]


def random_inputs(config: AnimationConfig, batch: int, machine: Machine) -> tuple:
    """Latents, timesteps, context and frame strides of `batch` clips."""
    height, width = (side // config.autoencoder.factor for side in config.resolution)
    x = torch.randn(batch, config.unet.in_channels, config.frames, height, width)
    tokens = TEXT_TOKENS + FRAME_TOKENS * config.frames
    context = torch.randn(batch, tokens, config.unet.context_dim)
    steps = torch.randint(1000, (batch,), device=machine.device)
    strides = torch.full((batch,), 3, device=machine.device)
    return (
        x.to(machine.device, machine.dtype),
        steps,
        context.to(machine.device, machine.dtype),
        strides,
    )
