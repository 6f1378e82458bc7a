"""The whole model: U-Net, autoencoder, CLIP towers and image projection under their official names.

The parts of one model have to fit each other, so they are described by one configuration tree
(`AnimationConfig`). Parts that a configuration does not use do not exist: an ablation carries no
dead parameters.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, Literal

import torch
from einops import rearrange
from torch import Tensor, nn

from dynamicrafter.diffusion.guidance import Denoiser
from dynamicrafter.diffusion.schedule import Schedule, ScheduleConfig, official_buffers
from dynamicrafter.errors import InputError
from dynamicrafter.model.autoencoder import Autoencoder, AutoencoderConfig
from dynamicrafter.model.encoders import (
    ClipConfig,
    ImageEncoder,
    TextEncoder,
    resolve_clip_config,
    tokenize,
)
from dynamicrafter.model.resampler import (
    LinearProjector,
    Resampler,
    ResamplerConfig,
    frame_tokens,
)
from dynamicrafter.model.unet import UNet, UNetConfig

PIXELS_PER_CALL = 576 * 1024  # of frames that the autoencoder takes together


@dataclass(frozen=True, kw_only=True)
class AnimationConfig:
    """All parts of a model; the defaults are the released 512 model without its schedule.

    Attributes:
        unet: its `image_context` decides which image encoder parts exist.
        clip: open_clip model name, or a dict of `embed_dim`, `vision_cfg`, `text_cfg`.
        resampler: used with `image_context: full`.
        global_tokens: context tokens of the linear projector, used with `image_context: global`.
        scale_factor: multiplies the latents of the autoencoder.
        schedule: what the U-Net predicts, and over which noise levels.
        resolution: height and width in pixels that the model was trained at.
        frames: frames of a video that the model was trained on.
        fs_means: what the U-Net's fs input is: "stride" (source frames per frame) or "fps".
    """

    unet: UNetConfig = field(default_factory=UNetConfig)
    autoencoder: AutoencoderConfig = field(default_factory=AutoencoderConfig)
    clip: ClipConfig = "ViT-H-14"
    resampler: ResamplerConfig = field(default_factory=ResamplerConfig)
    global_tokens: int = 4
    scale_factor: float = 0.18215
    schedule: ScheduleConfig = field(default_factory=ScheduleConfig)
    resolution: tuple[int, int] = (320, 512)
    frames: int = 16
    fs_means: Literal["stride", "fps"] = "fps"

    def __post_init__(self) -> None:
        if self.fs_means not in ("stride", "fps"):
            raise InputError(f"model.fs_means is {self.fs_means!r}; choose stride or fps")
        clip = resolve_clip_config(self.clip)
        widths = [("clip.text_cfg.width", clip["text_cfg"]["width"], self.unet.context_dim)]
        if self.unet.image_context == "full":
            vision = clip["vision_cfg"]["width"]
            widths.append(
                ("resampler.output_dim", self.resampler.output_dim, self.unet.context_dim)
            )
            widths.append(("resampler.embedding_dim", self.resampler.embedding_dim, vision))
        for name, value, needed in widths:
            if value != needed:
                raise InputError(f"model: {name} is {value}, but its neighbour needs {needed}")

    @property
    def sees_image_latents(self) -> bool:
        """Whether the image's latents are concatenated to the noise (visual detail guidance)."""
        return self.unet.in_channels > self.unet.out_channels

    @classmethod
    def from_dict(cls, tree: Mapping[str, Any]) -> "AnimationConfig":
        """Build from plain dicts and lists, as a YAML file gives them.

        Raises:
            InputError: a key that no part knows, or parts that do not fit each other.
        """
        parts = {
            "unet": UNetConfig,
            "autoencoder": AutoencoderConfig,
            "resampler": ResamplerConfig,
            "schedule": ScheduleConfig,
        }
        values = {
            key: _from_dict(parts[key], value, f"model.{key}") if key in parts else value
            for key, value in tree.items()
        }
        return _from_dict(cls, values, "model")


def _from_dict(cls: type, values: Mapping[str, Any], where: str) -> Any:
    if not isinstance(values, Mapping):
        raise InputError(f"{where} is {values!r}; expected settings by name")
    known = {item.name for item in fields(cls)}
    unknown = sorted(set(values) - known)
    if unknown:
        raise InputError(
            f"{where} has no setting {unknown[0]!r}; it knows {', '.join(sorted(known))}"
        )
    return cls(**{k: tuple(v) if isinstance(v, list) else v for k, v in values.items()})


class AnimationModel(nn.Module):
    """Image and prompt to video, part by part.

    The autoencoder and the CLIP towers are frozen; the U-Net and the image projection train.
    Every method works on the device of its inputs, which has to be that of the model.
    """

    def __init__(self, config: AnimationConfig):
        super().__init__()
        self.config = config
        self.schedule = Schedule(config.schedule)
        self.model = nn.ModuleDict({"diffusion_model": UNet(config.unet)})
        self.first_stage_model = Autoencoder(config.autoencoder).requires_grad_(False)
        self.cond_stage_model = TextEncoder(config.clip).requires_grad_(False)
        self.embedder: ImageEncoder | None = None
        self.image_proj_model: Resampler | LinearProjector | None = None
        if config.unet.image_context != "none":
            self.embedder = ImageEncoder(config.clip).requires_grad_(False)
        if config.unet.image_context == "full":
            self.image_proj_model = Resampler(config.resampler)
        if config.unet.image_context == "global":
            self.image_proj_model = LinearProjector(
                resolve_clip_config(config.clip)["embed_dim"],
                config.unet.context_dim,
                config.global_tokens,
            )

    @property
    def unet(self) -> UNet:
        """The denoising U-Net."""
        return self.model["diffusion_model"]

    @property
    def device(self) -> torch.device:
        """Where the model lies."""
        return self.unet.out[-1].weight.device

    def latent_shape(self, frames: int, height: int, width: int) -> tuple[int, int, int, int]:
        """Shape `(c, t, h, w)` of the latents of a clip.

        Raises:
            InputError: the size cannot be halved as often as autoencoder and U-Net do.
        """
        factor = self.config.autoencoder.factor
        multiple = factor * 2 ** (len(self.config.unet.channel_mult) - 1)
        if height % multiple or width % multiple:
            raise InputError(f"size {height}x{width} is no multiple of {multiple} on both sides")
        return self.config.autoencoder.z_channels, frames, height // factor, width // factor

    @torch.no_grad()
    def encode_frames(
        self, video: Tensor, noise: Tensor, frames_per_call: int | None = None
    ) -> Tensor:
        """Scaled latents of a video, sampled with the given noise.

        video `[b, 3, t, H, W]` in [-1, 1], noise standard normal `[b, z, t, h, w]` → like noise.
        `frames_per_call` is as for `decode_latents`.
        """
        images = rearrange(video, "b c t h w -> (b t) c h w")
        noises = rearrange(noise, "b c t h w -> (b t) c h w")
        together = frames_per_call or frames_at_once(video.shape[-2] * video.shape[-1])
        pairs = zip(images.split(together), noises.split(together), strict=True)
        z = torch.cat([self.first_stage_model.encode(*pair) for pair in pairs])
        return rearrange(z * self.config.scale_factor, "(b t) c h w -> b c t h w", t=video.shape[2])

    @torch.no_grad()
    def decode_latents(self, z: Tensor, frames_per_call: int | None = None) -> Tensor:
        """Video `[b, 3, t, H, W]`, about [-1, 1], of scaled latents `[b, z, t, h, w]`.

        At most `frames_per_call` frames at a time; None is as many as `frames_at_once` says.
        """
        pixels = z.shape[-2] * z.shape[-1] * self.config.autoencoder.factor**2
        frames = rearrange(z / self.config.scale_factor, "b c t h w -> (b t) c h w")
        parts = frames.split(frames_per_call or frames_at_once(pixels))
        decoded = torch.cat([self.first_stage_model.decode(part) for part in parts])
        return rearrange(decoded, "(b t) c h w -> b c t h w", t=z.shape[2])

    @torch.no_grad()
    def encode_prompts(self, prompts: Sequence[str]) -> Tensor:
        """Text features `[b, 77, d]`; the negative prompt is the empty string."""
        device = self.cond_stage_model.model.positional_embedding.device
        return self.cond_stage_model(tokenize(prompts).to(device))

    @torch.no_grad()
    def image_features(self, images: Tensor) -> Tensor:
        """CLIP features of images `[b, 3, H, W]` in [-1, 1]; zeros stand for no image.

        Returns:
            `[b, 257, width]` with `image_context: full`, `[b, embed_dim]` with `global`.
        """
        if self.config.unet.image_context == "global":
            return self.embedder.embedding(images)
        return self.embedder(images)

    def image_tokens(self, features: Tensor, frames: int | None = None) -> Tensor:
        """Context tokens of image features, with gradient: `[b, 16*t, d]` or `[b, n, d]`.

        `frames`: t, where it is not the trained number (see `resampler.frame_tokens`).
        """
        tokens = self.image_proj_model(features)
        if frames is None or self.config.unet.image_context == "global":
            return tokens
        return frame_tokens(tokens, frames)

    def context(self, text: Tensor, image_tokens: Tensor | None = None) -> Tensor:
        """The U-Net's context: text `[b, 77, d]`, then the image tokens if there are any."""
        return text if image_tokens is None else torch.cat([text, image_tokens], dim=1)

    def official_state_dict(self, buffers: Mapping[str, Tensor] | None = None) -> dict[str, Tensor]:
        """All weights with the schedule's buffers: what the official code loads strictly.

        `buffers`: those that came with a checkpoint (`weights.schedule_buffers`), to give them back
        bit for bit; None computes them.
        """
        return {**self.state_dict(), **(buffers or official_buffers(self.schedule))}

    def denoiser(
        self,
        context: Tensor,
        fs: Tensor | None = None,
        condition: Tensor | None = None,
        unet: Callable[..., Tensor] | None = None,
    ) -> Denoiser:
        """The U-Net bound to its conditions, as the sampler wants it.

        Args:
            context: `[b, l, d]`; b counts guidance branches too (`guidance.batched`).
            fs: `[b]` or None.
            condition: latents `[b, z, t, h, w]` to concatenate, with 8 input channels.
            unet: how the U-Net is called, as it is itself: None for a plain call.
        """
        unet = unet or self.unet

        def denoise(x: Tensor, t: Tensor) -> Tensor:
            if condition is not None:
                x = torch.cat([x, condition], dim=1)
            return unet(x, t, context, fs)

        return denoise


def frames_at_once(pixels: int) -> int:
    """How many frames of so many pixels the autoencoder takes at once.

    As many as have the pixels of one frame of the largest model, so that its memory does not grow
    with the resolution.
    """
    return max(PIXELS_PER_CALL // pixels, 1)
