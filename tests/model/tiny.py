"""A whole model small enough for milliseconds, as a plain config, and random weights for it."""

import torch

from dynamicrafter.model.animation import AnimationConfig, AnimationModel


def tree(context="full", channels=8, frames=2, **changes):
    """The config; `changes` replace whole entries."""
    return {
        "unet": {
            "in_channels": channels,
            "model_channels": 32,
            "channel_mult": [1, 2],
            "num_res_blocks": 1,
            "attention_resolutions": [1],
            "head_channels": 16,
            "context_dim": 32,
            "image_context": context,
        },
        "autoencoder": {"ch": 32, "ch_mult": [1, 1, 1], "num_res_blocks": 1},
        "clip": {
            "embed_dim": 24,
            "vision_cfg": {"layers": 1, "width": 64, "head_width": 32, "patch_size": 14},
            "text_cfg": {"layers": 2, "width": 32, "heads": 2},
        },
        "resampler": {
            "dim": 32,
            "depth": 1,
            "heads": 2,
            "head_dim": 16,
            "frames": frames,
            "embedding_dim": 64,
            "output_dim": 32,
        },
        "schedule": {"parameterization": "v", "zero_snr": True, "base_scale": 0.7},
        "resolution": [32, 32],
        "frames": frames,
        **changes,
    }


def learned_gates(config):
    """The same config with learned gates."""
    return {**config, "unet": {**config["unet"], "learned_gate": True}}


def build(config):
    """A model with random weights, the zero-initialised ones of the U-Net too."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = AnimationModel(AnimationConfig.from_dict(config)).eval()
        with torch.no_grad():
            for parameter in model.unet.parameters():
                parameter.normal_(std=0.05)
    return model
