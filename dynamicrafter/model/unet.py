"""The denoising U-Net, for video and, without its temporal layers, for images.

The image model of the context stage is the same class with `temporal=False`; the layers that remain
keep their names (hence blocks keyed by the official indices, with gaps), so its weights load into
the video model as they are.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from einops import rearrange
from torch import Tensor, nn

from dynamicrafter.errors import InputError
from dynamicrafter.model.attention import SpatialTransformer
from dynamicrafter.model.blocks import Downsample, ResBlock, Upsample, timestep_embedding
from dynamicrafter.model.layers import GroupNormSiLU, laid_out, zero_init
from dynamicrafter.model.resampler import FRAME_TOKENS
from dynamicrafter.model.temporal import TemporalTransformer, as_clips, as_frames

TEXT_TOKENS = 77
INIT_ATTENTION_HEADS = 8


@dataclass(frozen=True, kw_only=True)
class UNetConfig:
    """Shape of the U-Net; the defaults are the released 512 and 1024 models.

    Attributes:
        in_channels: 4 latent channels, or 8 with visual detail guidance (noisy, then condition).
        attention_resolutions: down-sampling factors at which transformers sit.
        head_channels: width of an attention head.
        temporal: temporal layers, init attention and fs embedding; False is the image model.
        image_context: image tokens that reach the cross-attention: "none", "full" (16 for each
            frame, from the query transformer) or "global" (a few, shared by all frames).
        learned_gate: a learned scalar on the image attention of every layer; else it is 1.
        default_fs: frame stride or fps that stands in where none is given.
    """

    in_channels: int = 8
    out_channels: int = 4
    model_channels: int = 320
    channel_mult: tuple[int, ...] = (1, 2, 4, 4)
    num_res_blocks: int = 2
    attention_resolutions: tuple[int, ...] = (1, 2, 4)
    head_channels: int = 64
    transformer_depth: int = 1
    context_dim: int = 1024
    dropout: float = 0.1
    temporal: bool = True
    image_context: Literal["none", "full", "global"] = "full"
    learned_gate: bool = False
    default_fs: int = 10

    def __post_init__(self) -> None:
        for mult in self.channel_mult:
            channels = self.model_channels * mult
            if channels % 32 or channels % self.head_channels:
                raise InputError(
                    f"unet: {channels} channels are no multiple of 32 and of head_channels "
                    f"{self.head_channels}; change model_channels or channel_mult"
                )
        if self.image_context not in ("none", "full", "global"):
            raise InputError(
                f"unet.image_context is {self.image_context!r}; choose none, full or global"
            )


class Block(nn.ModuleDict):
    """Layers that run one after the other; the keys are the indices in the official names."""

    def forward(
        self, h: Tensor, emb: Tensor, text: Tensor, image: Tensor | None, frames: int
    ) -> Tensor:
        """`[(b t), c, h, w]` → `[(b t), c', h', w']`; emb `[(b t), e]`, frames is t."""
        for layer in self.values():
            if isinstance(layer, ResBlock):
                h = layer(h, emb, frames)
            elif isinstance(layer, SpatialTransformer):
                h = layer(h, text, image)
            elif isinstance(layer, TemporalTransformer):
                h = as_frames(layer(as_clips(h, frames)), h)
            else:
                h = layer(h)
        return h


class UNet(nn.Module):
    """Predict noise or velocity from noisy latents, timestep, context and fs."""

    def __init__(self, config: UNetConfig):
        super().__init__()
        self.config = config
        width = config.model_channels
        emb_dim = 4 * width
        self.time_embed = nn.Sequential(
            nn.Linear(width, emb_dim), nn.SiLU(), nn.Linear(emb_dim, emb_dim)
        )
        if config.temporal:
            self.fps_embedding = nn.Sequential(
                nn.Linear(width, emb_dim), nn.SiLU(), zero_init(nn.Linear(emb_dim, emb_dim))
            )
        self.input_blocks = nn.ModuleList(
            [Block({"0": nn.Conv2d(config.in_channels, width, 3, padding=1)})]
        )
        if config.temporal:
            init_attention = TemporalTransformer(
                width,
                INIT_ATTENTION_HEADS,
                config.head_channels,
                depth=config.transformer_depth,
                pointwise_conv=True,
            )
            self.init_attn = nn.Sequential(init_attention)

        channels = width
        skips = [width]  # channels of every input block, for the way up
        last_level = len(config.channel_mult) - 1
        for level, mult in enumerate(config.channel_mult):
            attention = 2**level in config.attention_resolutions
            for _ in range(config.num_res_blocks):
                self.input_blocks.append(self._block(channels, width * mult, attention))
                channels = width * mult
                skips.append(channels)
            if level < last_level:
                self.input_blocks.append(Block({"0": Downsample(channels)}))
                skips.append(channels)

        self.middle_block = self._block(channels, channels, attention=True)
        self.middle_block["3"] = self._res_block(channels, channels)

        self.output_blocks = nn.ModuleList()
        for level, mult in reversed(list(enumerate(config.channel_mult))):
            attention = 2**level in config.attention_resolutions
            for i in range(config.num_res_blocks + 1):
                block = self._block(channels + skips.pop(), width * mult, attention)
                channels = width * mult
                if level > 0 and i == config.num_res_blocks:
                    block["3" if attention else "1"] = Upsample(channels, channels)
                self.output_blocks.append(block)

        self.out = nn.Sequential(
            GroupNormSiLU(channels, eps=1e-5),
            nn.Identity(),
            zero_init(nn.Conv2d(channels, config.out_channels, 3, padding=1)),
        )

    def _res_block(self, in_channels: int, out_channels: int) -> ResBlock:
        config = self.config
        emb_dim = 4 * config.model_channels
        return ResBlock(
            in_channels, out_channels, emb_dim, config.dropout, temporal=config.temporal
        )

    def _block(self, in_channels: int, out_channels: int, attention: bool) -> Block:
        config = self.config
        block = Block({"0": self._res_block(in_channels, out_channels)})
        heads = out_channels // config.head_channels
        if attention:
            block["1"] = SpatialTransformer(
                out_channels,
                config.context_dim,
                heads,
                depth=config.transformer_depth,
                image=config.image_context != "none",
                learned_gate=config.learned_gate,
            )
        if attention and config.temporal:
            block["2"] = TemporalTransformer(
                out_channels, heads, config.head_channels, depth=config.transformer_depth
            )
        return block

    def forward(
        self, x: Tensor, timesteps: Tensor, context: Tensor, fs: Tensor | None = None
    ) -> Tensor:
        """Predict the target of the noisy latents.

        Args:
            x: `[b, c_in, t, h, w]`, noisy latents, then the condition latents if c_in is 8.
            timesteps: `[b]`, 0 to 999.
            context: `[b, 77 (+ 16*t frame by frame | + n shared), context_dim]`: text, then image.
            fs: `[b]`, frame stride or fps; None means `default_fs`.

        Returns:
            `[b, c_out, t, h, w]`.

        Raises:
            InputError: the context or fs does not fit the configuration.
        """
        batch, _, frames, _, _ = x.shape
        text, image = self._split_context(context, frames)
        emb = self._embedding(timesteps, fs).repeat_interleave(frames, dim=0)  # [(b t), emb]
        streams = (emb, text, image, frames)

        h = laid_out(rearrange(x, "b c t h w -> (b t) c h w"))
        skips = []
        for index, block in enumerate(self.input_blocks):
            h = block(h, *streams)
            if index == 0 and self.config.temporal:
                h = as_frames(self.init_attn(as_clips(h, frames)), h)
            skips.append(h)
        h = self.middle_block(h, *streams)
        for block in self.output_blocks:
            h = block(torch.cat([h, skips.pop()], dim=1), *streams)
        h = self.out(h)
        return rearrange(h, "(b t) c h w -> b c t h w", b=batch)

    def _embedding(self, timesteps: Tensor, fs: Tensor | None) -> Tensor:
        """Embed timesteps and fs `[b]` → `[b, emb]`."""
        width, dtype = self.config.model_channels, self.time_embed[0].weight.dtype
        emb = self.time_embed(timestep_embedding(timesteps, width).to(dtype))
        if not self.config.temporal:
            if fs is not None:
                raise InputError("the image U-Net (temporal=False) takes no fs; pass None")
            return emb
        if fs is None:
            fs = torch.full_like(timesteps, self.config.default_fs)
        return emb + self.fps_embedding(timestep_embedding(fs, width).to(dtype))

    def _split_context(self, context: Tensor, frames: int) -> tuple[Tensor, Tensor | None]:
        """Split into text `[b, 77, d]` and image tokens `[(b t), 16, d]`, `[b, n, d]` or None.

        16*t tokens belong 16 by 16 to the frames; any other number is shared by all frames.
        """
        stream = self.config.image_context
        tokens = context.shape[1] - TEXT_TOKENS
        if tokens < 0 or (tokens == 0) != (stream == "none"):
            raise InputError(
                f"context of {context.shape[1]} tokens does not fit image_context {stream!r}: "
                f"expected {TEXT_TOKENS} text tokens, then the image tokens if there are any"
            )
        text, image = context[:, :TEXT_TOKENS], context[:, TEXT_TOKENS:]
        if stream == "none":
            return text, None
        if stream == "full" and tokens == FRAME_TOKENS * frames:
            image = rearrange(image, "b (t n) d -> (b t) n d", t=frames)
        return text, image
