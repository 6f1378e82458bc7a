"""The frozen CLIP towers: prompts to token features, images to token features.

Both stand on open_clip, built from a configuration and never downloaded. Each keeps the half of the
model that the official checkpoints keep, so that their state dicts load as they are; what of it has
no use here (the last text block, the text embedding beside the image tower) is never run.
"""

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import open_clip
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dynamicrafter.errors import InputError

ClipConfig = str | Mapping[str, Any]
IMAGE_SIZE = 224
IMAGE_MEAN = (0.48145466, 0.4578275, 0.40821073)
IMAGE_STD = (0.26862954, 0.26130258, 0.27577711)
MAX_TEXT_TOKENS = 75  # of the 77 places, start and end take two
SMALLEST_TOWER = {"layers": 1, "width": 64}  # built and deleted where only the other is needed


def resolve_clip_config(config: ClipConfig) -> dict[str, Any]:
    """The configuration of a CLIP model: as given, or that of an open_clip name like ViT-H-14.

    Returns:
        A dict with `embed_dim`, `vision_cfg`, `text_cfg` and perhaps `quick_gelu`.

    Raises:
        InputError: open_clip does not know the name, or the model is of another kind.
    """
    found = open_clip.get_model_config(config) if isinstance(config, str) else config
    if not isinstance(found, Mapping):
        raise InputError(f"clip: open_clip knows no model {config!r}; try ViT-H-14")
    needed = {"embed_dim", "vision_cfg", "text_cfg"}
    if not needed <= set(found) <= needed | {"quick_gelu"}:
        raise InputError(
            f"clip: the configuration has {', '.join(sorted(found))}; expected "
            f"{', '.join(sorted(needed))} and at most quick_gelu"
        )
    return dict(found)


def tokenize(texts: Sequence[str]) -> Tensor:
    """CLIP token ids `[b, 77]`: start 49406, end 49407, padding 0; over-long texts are cut."""
    return open_clip.tokenize(list(texts))


def count_tokens(text: str) -> int:
    """CLIP tokens of a text without start and end; `MAX_TEXT_TOKENS` of them are read."""
    return len(_tokenizer().encode(text))


@functools.cache
def _tokenizer() -> open_clip.SimpleTokenizer:
    return open_clip.SimpleTokenizer()


class TextEncoder(nn.Module):
    """CLIP text tower up to its penultimate block, then the final norm."""

    def __init__(self, config: ClipConfig, skipped_blocks: int = 1):
        """`skipped_blocks`: how many of the last blocks are not run; 1 in every released model."""
        super().__init__()
        settings = resolve_clip_config(config)
        settings["vision_cfg"] = SMALLEST_TOWER
        self.skipped_blocks = skipped_blocks
        self.model = open_clip.CLIP(**settings)
        del self.model.visual, self.model.attn_mask

    def forward(self, tokens: Tensor) -> Tensor:
        """Token ids `[b, 77]` → features `[b, 77, width]`."""
        clip = self.model
        x = clip.token_embedding(tokens) + clip.positional_embedding
        # No buffer, which would be empty in a model that is built before its weights are there.
        causal = torch.full((x.shape[1], x.shape[1]), float("-inf"), device=x.device).triu(1)
        blocks = clip.transformer.resblocks
        for block in blocks[: len(blocks) - self.skipped_blocks]:
            x = block(x, attn_mask=causal)
        return clip.ln_final(x)


class ImageEncoder(nn.Module):
    """CLIP image tower: all tokens of the last block, or the one projected embedding."""

    def __init__(self, config: ClipConfig):
        super().__init__()
        settings = resolve_clip_config(config)
        settings["text_cfg"] = {**settings["text_cfg"], "layers": 1}
        self.model = open_clip.CLIP(**settings)
        del self.model.transformer, self.model.attn_mask

    def forward(self, images: Tensor) -> Tensor:
        """All tokens, class token first, without final norm and projection.

        Images `[b, 3, h, w]` in [-1, 1], of any size → `[b, 257, width]`.
        """
        visual = self.model.visual
        pixels = preprocess(images).to(visual.conv1.weight.dtype)
        x = visual.conv1(pixels).flatten(2).transpose(1, 2)  # [b, 256, width]
        class_token = visual.class_embedding.to(x.dtype).expand(x.shape[0], 1, -1)
        x = torch.cat([class_token, x], dim=1) + visual.positional_embedding.to(x.dtype)
        return visual.transformer(visual.ln_pre(x))

    def embedding(self, images: Tensor) -> Tensor:
        """The projected class embedding of images as above: `[b, embed_dim]`."""
        visual = self.model.visual
        return visual.ln_post(self(images)[:, 0]) @ visual.proj


def preprocess(images: Tensor) -> Tensor:
    """Resize images `[b, 3, h, w]` in [-1, 1] to 224x224 and normalise for CLIP, in float32.

    The resize comes before the change of range, so a zero image becomes exactly mid-grey.
    """
    images = resize_bicubic(images.float(), IMAGE_SIZE)
    mean, std = (images.new_tensor(values).view(3, 1, 1) for values in (IMAGE_MEAN, IMAGE_STD))
    return ((images + 1) / 2 - mean) / std


def resize_bicubic(images: Tensor, size: int) -> Tensor:
    """Bicubic resize of `[b, c, h, w]` to size x size with aligned corners, blurred if it shrinks.

    As kornia's `resize(..., antialias=True, align_corners=True)`: if any axis shrinks, by a factor
    f, both are blurred by a Gaussian of sigma max((f - 1) / 2, 0.001) with reflected borders.
    """
    factors = [length / size for length in images.shape[-2:]]
    if max(factors) > 1:
        kernels = [_gaussian(max((factor - 1) / 2, 0.001), images) for factor in factors]
        images = _blur(images, *kernels)
    return F.interpolate(images, (size, size), mode="bicubic", align_corners=True)


def _gaussian(sigma: float, like: Tensor) -> Tensor:
    """A normalised kernel of odd length, about four sigma and at least three."""
    length = int(max(4 * sigma, 3))
    length += 1 - length % 2
    x = torch.arange(length, dtype=like.dtype, device=like.device) - length // 2
    kernel = torch.exp(-(x**2) / (2 * sigma**2))
    return kernel / kernel.sum()


def _blur(images: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    channels, pad_y, pad_x = images.shape[1], len(rows) // 2, len(columns) // 2
    images = F.pad(images, (pad_x, pad_x, pad_y, pad_y), mode="reflect")
    images = F.conv2d(images, rows.view(1, 1, -1, 1).repeat(channels, 1, 1, 1), groups=channels)
    return F.conv2d(images, columns.view(1, 1, 1, -1).repeat(channels, 1, 1, 1), groups=channels)
