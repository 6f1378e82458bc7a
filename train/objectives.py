"""What a stage minimises: one function per objective, batch and draws → scalar loss.

`diffusion` is the objective of all three stages of the paper; whether it trains an image model
(one frame, no visual detail guidance) or a video model is decided by the model and the batch.
`reconstruction` trains an autoencoder where none is at hand.
"""

from collections.abc import Callable

import torch
from einops import rearrange
from torch import Tensor

from dynamicrafter.diffusion.objective import (
    dropped_conditions,
    repeat_frame,
    replace_dropped,
    sample_losses,
    training_pair,
)
from dynamicrafter.diffusion.schedule import TIMESTEPS
from dynamicrafter.draws import BatchDraws
from dynamicrafter.model.animation import AnimationModel
from train.data import Batch

KL_WEIGHT = 1e-6  # as for the autoencoder of latent diffusion (arXiv:2112.10752, section 3.1)


def to_video(frames: Tensor, device: torch.device) -> Tensor:
    """uint8 `[b, t, h, w, 3]` → float `[b, 3, t, h, w]` in [-1, 1] on `device`."""
    video = rearrange(frames.to(device), "b t h w c -> b c t h w")
    return video.float() / 127.5 - 1


def reconstruction(model: AnimationModel, batch: Batch, chance: BatchDraws) -> Tensor:
    """Squared error of the decoded posterior sample, plus a small KL term."""
    video = to_video(batch.frames, model.device)
    _, _, t, h, w = video.shape
    images = rearrange(video, "b c t h w -> (b t) c h w")
    mean, logvar = model.first_stage_model.moments(images)  # [(b t), z, h/f, w/f]
    noise = chance.normal("posterior", model.latent_shape(t, h, w)).to(images)
    noise = rearrange(noise, "b z t h w -> (b t) z h w")
    decoded = model.first_stage_model.decode(mean + (0.5 * logvar).exp() * noise)
    divergence = 0.5 * (mean**2 + logvar.exp() - 1 - logvar).flatten(1).sum(dim=1).mean()
    return (decoded - images).square().mean() + KL_WEIGHT * divergence


def diffusion(
    *, condition_frame: str, drop_conditions: float, fs: str
) -> Callable[[AnimationModel, Batch, BatchDraws], Tensor]:
    """The denoising objective with both condition streams.

    Args:
        condition_frame: "random" draws it per sample, "first" is always frame 0.
        drop_conditions: share of samples that lose the text alone, the image alone, both.
        fs: what the model's fs input means: "stride" (source frames per frame) or "fps".
    """

    def loss(model: AnimationModel, batch: Batch, chance: BatchDraws) -> Tensor:
        video = to_video(batch.frames, model.device)
        b, _, t, h, w = video.shape
        shape = model.latent_shape(t, h, w)
        z = model.encode_frames(video, chance.normal("posterior", shape).to(video))
        index = chance.integers("condition_frame", 0, t if condition_frame == "random" else 1)
        index = index.to(video.device)
        chances = chance.uniform("drop").to(video.device)
        drop_text, drop_image = dropped_conditions(chances, drop_conditions)

        text, no_text = model.encode_prompts(batch.captions), model.encode_prompts([""])
        text = replace_dropped(text, drop_text, no_text)  # [b, 77, d]
        tokens = None
        if model.image_proj_model is not None:
            images = video[torch.arange(b, device=video.device), :, index]  # [b, 3, h, w]
            images = replace_dropped(images, drop_image, torch.zeros_like(images[:1]))
            tokens = model.image_tokens(model.image_features(images))

        steps = chance.integers("timestep", 0, TIMESTEPS).to(video.device)
        noisy, target = training_pair(model.schedule, z, steps, chance.normal("noise", shape).to(z))
        if model.config.sees_image_latents:
            noisy = torch.cat([noisy, repeat_frame(z, index)], dim=1)  # visual detail guidance
        speed = None
        if model.config.unet.temporal:
            speed = (batch.frame_stride if fs == "stride" else batch.fps.long()).to(video.device)
        prediction = model.unet(noisy, steps, model.context(text, tokens), speed)
        return sample_losses(prediction, target).mean()

    return loss
