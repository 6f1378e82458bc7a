"""What a stage minimises.

An objective is three functions, called in this order:

    encoded = objective.encode(model, batch, draws)     the frozen parts' work, without gradient
    drawn = objective.draw(model, encoded, draws)       noise, timesteps, dropped conditions
    losses = objective.losses(model, encoded, drawn)    [b], with gradient

They are apart so that encoded clips can be kept, and so that validation can look at the same
clips under draws of its own. `Diffusion` is the objective of all three stages of the paper; whether
it trains an image model or a video model is decided by the model and the batch. `Reconstruction`
trains an autoencoder where none is at hand.
"""

from dataclasses import dataclass
from typing import Any, Protocol

import torch
from einops import rearrange
from torch import Tensor

from dynamicrafter.diffusion.objective import (
    dropped_conditions,
    keep_ends,
    repeat_frame,
    replace_dropped,
    sample_losses,
    training_pair,
)
from dynamicrafter.diffusion.schedule import TIMESTEPS
from dynamicrafter.draws import BatchDraws
from dynamicrafter.errors import InputError
from dynamicrafter.model.animation import AnimationModel
from train.data import Batch, condition_frames
from train.encoded.frozen import frame_moments, latents, prompt_states

KL_WEIGHT = 1e-6  # as for the autoencoder of latent diffusion (arXiv:2112.10752, section 3.1)
CONDITION_FRAMES = ("random", "first")
FS_MEANINGS = ("stride", "fps")


class Objective(Protocol):
    """What the loop asks of an objective; see the head of this file."""

    def encode(self, model: AnimationModel, batch: Batch, chance: BatchDraws) -> Any:
        """The batch as the losses want it."""

    def draw(self, model: AnimationModel, encoded: Any, chance: BatchDraws) -> Any:
        """The random part, a function of each sample's number."""

    def losses(self, model: AnimationModel, encoded: Any, drawn: Any) -> Tensor:
        """The loss of each sample, `[b]`, with gradient."""


@dataclass(frozen=True)
class Encoded:
    """Clips and their conditions as the U-Net's neighbours make them.

    Attributes:
        z: scaled latents `[b, c, t, h, w]`.
        condition: latents to concatenate, like z; None without visual detail guidance.
        text: features of the captions `[b, 77, d]`; no_text: of the empty prompt `[1, 77, d]`.
        features: CLIP features of the condition frame `[b, ...]`; no_features: of no image
            `[1, ...]`; both None without image stream.
        speed: the fs input `[b]`; None for an image model.
    """

    z: Tensor
    condition: Tensor | None
    text: Tensor
    no_text: Tensor
    features: Tensor | None
    no_features: Tensor | None
    speed: Tensor | None


@dataclass(frozen=True)
class Corruption:
    """What is done to the clips: noise like z, timesteps `[b]`, dropped conditions bool `[b]`."""

    timesteps: Tensor
    noise: Tensor
    drop_text: Tensor
    drop_image: Tensor


@dataclass(frozen=True)
class Diffusion:
    """The denoising objective with both condition streams.

    Attributes:
        condition_frame: "random" draws it per sample, "first" is always frame 0.
        drop_conditions: share of samples that lose the text alone, the image alone, both.
        fs: what the model's fs input means: "stride" (source frames per frame) or "fps".
        interpolation: the condition latents are the first and the last frame with zeros between,
            and the CLIP image is the first frame.
    """

    condition_frame: str
    drop_conditions: float
    fs: str
    interpolation: bool = False

    def __post_init__(self) -> None:
        if self.condition_frame not in CONDITION_FRAMES:
            raise InputError(
                f"condition_frame is {self.condition_frame!r}; choose {', '.join(CONDITION_FRAMES)}"
            )
        if self.fs not in FS_MEANINGS:
            raise InputError(f"fs is {self.fs!r}; choose {', '.join(FS_MEANINGS)}")
        if not 0 <= self.drop_conditions <= 1 / 3:
            raise InputError(f"drop_conditions is {self.drop_conditions}; choose 0 to 1/3")

    @property
    def draws_condition(self) -> bool:
        """Whether the condition frame is drawn for each sample; else it is the first."""
        return self.condition_frame == "random" and not self.interpolation

    @torch.no_grad()
    def encode(self, model: AnimationModel, batch: Batch, chance: BatchDraws) -> Encoded:
        """Latents, text and image features; the condition frame and the posterior are drawn."""
        video = to_video(batch.frames, model.device)
        (b, _, _, h, w), kept = video.shape, batch.kept
        moments = kept.moments.to(video.device) if kept else frame_moments(model, video)
        t = moments.shape[1]
        noise = chance.normal("posterior", model.latent_shape(t, h, w)).to(video)
        z = latents(model, moments, noise)
        index = condition_frames(chance, t, self.draws_condition).to(video.device)
        features = no_features = condition = speed = None
        if model.image_proj_model is not None:
            seen = torch.zeros_like(index) if kept else index  # then the frame is alone
            images = video[torch.arange(b, device=video.device), :, seen]  # [b, 3, h, w]
            features = model.image_features(images)
            no_features = model.image_features(torch.zeros_like(images[:1]))
        if model.config.sees_image_latents:  # visual detail guidance
            condition = keep_ends(z) if self.interpolation else repeat_frame(z, index)
        if model.config.unet.temporal:
            speed = batch.frame_stride if self.fs == "stride" else batch.fps.long()
            speed = speed.to(video.device)
        if kept:
            text, no_text = (states.to(video.device) for states in (kept.text, kept.no_text))
        else:
            states = prompt_states(model, [*batch.captions, ""])
            text, no_text = states[:-1], states[-1:]
        return Encoded(z, condition, text, no_text, features, no_features, speed)

    def draw(self, model: AnimationModel, encoded: Encoded, chance: BatchDraws) -> Corruption:
        """Timesteps uniform over the schedule, noise, and which conditions are dropped."""
        z = encoded.z
        drop_text, drop_image = dropped_conditions(chance.uniform("drop"), self.drop_conditions)
        return Corruption(
            timesteps=chance.integers("timestep", 0, TIMESTEPS).to(z.device),
            noise=chance.normal("noise", tuple(z.shape[1:])).to(z),
            drop_text=drop_text.to(z.device),
            drop_image=drop_image.to(z.device),
        )

    def losses(self, model: AnimationModel, encoded: Encoded, drawn: Corruption) -> Tensor:
        """Mean squared error of the prediction, sample by sample: `[b]`."""
        prediction, target = predict(model, encoded, drawn)
        return sample_losses(prediction, target)


def predict(model: AnimationModel, encoded: Encoded, drawn: Corruption) -> tuple[Tensor, Tensor]:
    """The U-Net's prediction for corrupted clips, and its target: both like z."""
    text = replace_dropped(encoded.text, drawn.drop_text, encoded.no_text)
    tokens = None
    if encoded.features is not None:
        features = replace_dropped(encoded.features, drawn.drop_image, encoded.no_features)
        tokens = model.image_tokens(features)
    noisy, target = training_pair(model.schedule, encoded.z, drawn.timesteps, drawn.noise)
    denoiser = model.denoiser(model.context(text, tokens), encoded.speed, encoded.condition)
    return denoiser(noisy, drawn.timesteps), target


@dataclass(frozen=True)
class Reconstruction:
    """Squared error of the decoded posterior sample, plus a small KL term."""

    def encode(self, model: AnimationModel, batch: Batch, chance: BatchDraws) -> Tensor:
        """The frames as images `[b, t, 3, h, w]` in [-1, 1]."""
        return rearrange(to_video(batch.frames, model.device), "b c t h w -> b t c h w")

    def draw(self, model: AnimationModel, encoded: Tensor, chance: BatchDraws) -> Tensor:
        """Noise of the posterior `[b, t, z, h, w]`."""
        _, t, _, h, w = encoded.shape
        noise = chance.normal("posterior", model.latent_shape(t, h, w)).to(encoded)
        return rearrange(noise, "b z t h w -> b t z h w")

    def losses(self, model: AnimationModel, encoded: Tensor, drawn: Tensor) -> Tensor:
        """Loss of each sample `[b]`."""
        b = len(encoded)
        images = encoded.flatten(0, 1)
        mean, logvar = model.first_stage_model.moments(images)  # [(b t), z, h/f, w/f]
        decoded = model.first_stage_model.decode(mean + (0.5 * logvar).exp() * drawn.flatten(0, 1))
        divergence = 0.5 * (mean**2 + logvar.exp() - 1 - logvar).flatten(1).sum(dim=1)
        error = (decoded - images).square().flatten(1).mean(dim=1)
        return (error + KL_WEIGHT * divergence).reshape(b, -1).mean(dim=1)


def to_video(frames: Tensor, device: torch.device) -> Tensor:
    """uint8 `[b, t, h, w, 3]` → float `[b, 3, t, h, w]` in [-1, 1] on `device`."""
    video = rearrange(frames.to(device), "b t h w c -> b c t h w")
    return video.float() / 127.5 - 1
