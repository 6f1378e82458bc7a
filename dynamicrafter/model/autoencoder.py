"""The KL autoencoder between frames and latents, one image at a time.

The down-sampling factor is 2 to the number of resolution levels less one: four levels make the f8
autoencoder of every released model, three an f4.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from dynamicrafter.model.attention import attend
from dynamicrafter.model.layers import GroupNorm, GroupNormSiLU, laid_out


@dataclass(frozen=True, kw_only=True)
class AutoencoderConfig:
    """Shape of the autoencoder; the defaults are the released one (f8)."""

    ch: int = 128
    ch_mult: tuple[int, ...] = (1, 2, 4, 4)
    num_res_blocks: int = 2
    z_channels: int = 4
    in_channels: int = 3

    @property
    def factor(self) -> int:
        """Pixels per latent position along each axis."""
        return 2 ** (len(self.ch_mult) - 1)


INITIAL_LOG_VARIANCE = -5.0


class ResnetBlock(nn.Module):
    """Two convolutions with a skip."""

    def __init__(self, in_channels: int, out_channels: int):
        super().__init__()
        self.norm1 = GroupNormSiLU(in_channels, eps=1e-6)
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, padding=1)
        self.norm2 = GroupNormSiLU(out_channels, eps=1e-6)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1)
        if in_channels != out_channels:
            self.nin_shortcut = nn.Conv2d(in_channels, out_channels, 1)
        else:
            self.nin_shortcut = nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """`[n, c, h, w]` → `[n, c', h, w]`."""
        h = self.conv1(self.norm1(x))
        h = self.conv2(self.norm2(h))
        return self.nin_shortcut(x) + h


class AttentionBlock(nn.Module):
    """Single-head self-attention over all positions, with a residual."""

    def __init__(self, channels: int):
        super().__init__()
        self.norm = GroupNorm(channels, eps=1e-6)
        self.q = nn.Conv2d(channels, channels, 1)
        self.k = nn.Conv2d(channels, channels, 1)
        self.v = nn.Conv2d(channels, channels, 1)
        self.proj_out = nn.Conv2d(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """`[n, c, h, w]` → `[n, c, h, w]`."""
        h = self.norm(x)
        q, k, v = (
            rearrange(layer(h), "n c h w -> n (h w) c") for layer in (self.q, self.k, self.v)
        )
        h = rearrange(attend(q, k, v, heads=1), "n (h w) c -> n c h w", h=x.shape[2])
        return x + self.proj_out(h)


class Downsample(nn.Module):
    """Halve height and width: pad right and bottom by one, then a strided convolution."""

    def __init__(self, channels: int):
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        """`[n, c, h, w]` → `[n, c, h/2, w/2]`."""
        return self.conv(F.pad(x, (0, 1, 0, 1)))


class Upsample(nn.Module):
    """Double height and width: nearest neighbour, then a convolution."""

    def __init__(self, channels: int):
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """`[n, c, h, w]` → `[n, c, 2h, 2w]`."""
        return self.conv(F.interpolate(x, scale_factor=2, mode="nearest"))


class Middle(nn.Module):
    """Residual block, attention, residual block."""

    def __init__(self, channels: int):
        super().__init__()
        self.block_1 = ResnetBlock(channels, channels)
        self.attn_1 = AttentionBlock(channels)
        self.block_2 = ResnetBlock(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        """`[n, c, h, w]` → `[n, c, h, w]`."""
        return self.block_2(self.attn_1(self.block_1(x)))


class Level(nn.Module):
    """The blocks of one resolution, then a change of resolution where there is one."""

    def __init__(self, in_channels: int, out_channels: int, blocks: int):
        super().__init__()
        self.block = nn.ModuleList(
            ResnetBlock(in_channels if i == 0 else out_channels, out_channels)
            for i in range(blocks)
        )
        self.downsample: nn.Module | None = None
        self.upsample: nn.Module | None = None

    def forward(self, x: Tensor) -> Tensor:
        """`[n, c, h, w]` → `[n, c', h', w']`."""
        for block in self.block:
            x = block(x)
        if self.downsample is not None:
            x = self.downsample(x)
        if self.upsample is not None:
            x = self.upsample(x)
        return x


class Encoder(nn.Module):
    """Frames to the moments of their latents, before the last 1x1 convolution."""

    def __init__(self, config: AutoencoderConfig):
        super().__init__()
        channels = config.ch
        self.conv_in = nn.Conv2d(config.in_channels, channels, 3, padding=1)
        self.down = nn.ModuleList()
        for i, mult in enumerate(config.ch_mult):
            level = Level(channels, config.ch * mult, config.num_res_blocks)
            channels = config.ch * mult
            if i < len(config.ch_mult) - 1:
                level.downsample = Downsample(channels)
            self.down.append(level)
        self.mid = Middle(channels)
        self.norm_out = GroupNormSiLU(channels, eps=1e-6)
        self.conv_out = nn.Conv2d(channels, 2 * config.z_channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """`[n, 3, h, w]` → `[n, 2*z, h/f, w/f]`."""
        h = self.conv_in(x)
        for level in self.down:
            h = level(h)
        return self.conv_out(self.norm_out(self.mid(h)))


class Decoder(nn.Module):
    """Latents to frames; `up` counts from the highest resolution, as the encoder's `down` does."""

    def __init__(self, config: AutoencoderConfig):
        super().__init__()
        channels = config.ch * config.ch_mult[-1]
        self.conv_in = nn.Conv2d(config.z_channels, channels, 3, padding=1)
        self.mid = Middle(channels)
        levels = []
        for i, mult in reversed(list(enumerate(config.ch_mult))):
            level = Level(channels, config.ch * mult, config.num_res_blocks + 1)
            channels = config.ch * mult
            if i > 0:
                level.upsample = Upsample(channels)
            levels.append(level)
        self.up = nn.ModuleList(reversed(levels))
        self.norm_out = GroupNormSiLU(channels, eps=1e-6)
        self.conv_out = nn.Conv2d(channels, config.in_channels, 3, padding=1)

    def forward(self, z: Tensor) -> Tensor:
        """`[n, z, h, w]` → `[n, 3, h*f, w*f]`."""
        h = self.mid(self.conv_in(z))
        for level in reversed(self.up):
            h = level(h)
        return self.conv_out(self.norm_out(h))


class Autoencoder(nn.Module):
    """KL autoencoder; latents here are unscaled."""

    def __init__(self, config: AutoencoderConfig):
        super().__init__()
        self.config = config
        z = config.z_channels
        self.encoder = Encoder(config)
        self.decoder = Decoder(config)
        self.quant_conv = nn.Conv2d(2 * z, 2 * z, 1)
        self.post_quant_conv = nn.Conv2d(z, z, 1)
        with torch.no_grad():  # a narrow posterior, so that training does not begin in noise
            self.quant_conv.bias[z:] = INITIAL_LOG_VARIANCE

    def moments(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log variance of the latents of images in [-1, 1].

        `[n, 3, h, w]` → two of `[n, z, h/f, w/f]`; the log variance is clamped to [-30, 20].
        """
        mean, logvar = self.quant_conv(self.encoder(laid_out(images))).chunk(2, dim=1)
        return mean, logvar.clamp(-30.0, 20.0)

    def encode(self, images: Tensor, noise: Tensor) -> Tensor:
        """A sample of the latents of images, from standard normal noise `[n, z, h/f, w/f]`."""
        mean, logvar = self.moments(images)
        return mean + torch.exp(0.5 * logvar) * noise

    def decode(self, z: Tensor) -> Tensor:
        """Images, about [-1, 1]: `[n, z, h, w]` → `[n, 3, h*f, w*f]`."""
        return self.decoder(self.post_quant_conv(laid_out(z)))
