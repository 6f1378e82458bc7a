"""Names of tensors: parameter groups, and the maps from foreign names to the official ones.

Everything in the toolkit speaks the official names; a foreign file is renamed as it is read.
"""

import re
from collections.abc import Mapping
from typing import TypeVar

from dynamicrafter.diffusion.schedule import Schedule, ScheduleConfig, official_buffers

Value = TypeVar("Value")

UNET_PREFIX = "model.diffusion_model."
DEEPSPEED_PREFIX = "_forward_module."
PART_GROUPS = {
    "image_proj_model.": "image_projector",
    "first_stage_model.": "autoencoder",
    "cond_stage_model.": "text_encoder",
    "embedder.": "image_encoder",
}
UNET_GROUPS = (  # the first pattern that is found in a name decides; anything else is spatial
    (re.compile(r"^time_embed\."), "time_embed"),
    (re.compile(r"^fps_embedding\."), "fs_embedding"),
    (re.compile(r"^init_attn\."), "temporal_init_attn"),
    (re.compile(r"\.temopral_conv\."), "temporal_conv"),
    (re.compile(r"^(middle_block|(input|output)_blocks\.\d+)\.2\."), "temporal_transformer"),
    (re.compile(r"\.to_[kv]_ip\.weight$"), "image_cross_attention_kv"),
    (re.compile(r"\.alpha$"), "lambda_alpha"),
)
GROUPS = {"spatial", *PART_GROUPS.values(), *(group for _, group in UNET_GROUPS)}
# Official checkpoints carry the noise schedule too; here it is computed.
SCHEDULE_BUFFERS = frozenset(official_buffers(Schedule(ScheduleConfig(base_scale=1.0))))

_RENAMES = (
    # The released 256 checkpoint's name for the fs embedding.
    (re.compile(r"\bframestride_embed\."), "fps_embedding."),
    # Image U-Nets (SD 2.1) have no temporal transformer before these two.
    (re.compile(r"\bmiddle_block\.2\.(in_layers|emb_layers|out_layers)\."), r"middle_block.3.\1."),
    (re.compile(r"\b(output_blocks\.\d+)\.2\.conv\."), r"\1.3.conv."),
)
_OPEN_CLIP_MARK = "visual.class_embedding"
_TEXT_TOWER, _IMAGE_TOWER = "cond_stage_model.model.", "embedder.model."


def parameter_group(name: str) -> str:
    """The group of a parameter, by its official name with or without the U-Net's prefix.

    Groups of the U-Net: spatial, time_embed, fs_embedding, temporal_transformer, temporal_conv,
    temporal_init_attn, image_cross_attention_kv, lambda_alpha. The other parts of the model are a
    group each: image_projector, autoencoder, text_encoder, image_encoder.
    """
    for prefix, group in PART_GROUPS.items():
        if name.startswith(prefix):
            return group
    name = name.removeprefix(UNET_PREFIX)
    return next((group for pattern, group in UNET_GROUPS if pattern.search(name)), "spatial")


def official_name(name: str) -> str:
    """The official name of a tensor in a foreign or wrapped checkpoint; official names stay."""
    name = name.removeprefix(DEEPSPEED_PREFIX)
    for pattern, replacement in _RENAMES:
        name = pattern.sub(replacement, name)
    return name


def to_official(tensors: Mapping[str, Value]) -> dict[str, Value]:
    """Everything under its official name.

    A whole OpenCLIP model, whose names have no prefix, is dealt out to the two towers; what both
    keep of it (the text embedding and the scalars beside it) appears under both.
    """
    if _OPEN_CLIP_MARK not in tensors:
        return {official_name(name): tensor for name, tensor in tensors.items()}
    towers = {}
    for name, tensor in tensors.items():
        if not name.startswith("visual."):
            towers[_TEXT_TOWER + name] = tensor
        if not name.startswith("transformer."):
            towers[_IMAGE_TOWER + name] = tensor
    return towers
