"""The ablations as the command composes them, for the tests of their configs, models and runs."""

import functools

from hydra import compose, initialize_config_module
from omegaconf import DictConfig, OmegaConf

ARMS = (
    "full",
    "wo_ctx",
    "wo_vdg",
    "wo_lambda",
    "ours_g",
    "one_stage",
    "full_t2v",
    "first_frame",
    "stock_captions",
)
RECIPES = {
    "dynamicrafter": ["recipe.base={image_model: image, video_model: video, encoders: clip}"],
    "tiny": ["recipe=tiny", "model=tiny"],
}
TEMPORAL = {"temporal_transformer", "temporal_conv", "temporal_init_attn"}
FROZEN_PARTS = ["autoencoder", "text_encoder", "image_encoder"]
SMALL = [  # on top of model=tiny; a step takes milliseconds
    "model.resolution=[16,16]",
    "model.frames=4",
    "model.resampler.frames=4",
    "model.unet.channel_mult=[1,2]",
]


@functools.cache
def composed(arm: str | None, *overrides: str) -> DictConfig:
    """The config of `train` with an ablation, or without any; not to be changed."""
    more = [f"+ablation={arm}"] if arm else []
    with initialize_config_module("conf", version_base="1.3"):
        return compose("train", ["data=d", *overrides, *more])


def settings(config: DictConfig) -> dict:
    """Every setting by its dotted name, resolved; a list is one value."""
    return dict(_leaves(OmegaConf.to_container(config, resolve=True), ""))


def _leaves(node, name):
    if not isinstance(node, dict):
        yield name, node
        return
    for key, value in node.items():
        yield from _leaves(value, f"{name}.{key}" if name else key)
