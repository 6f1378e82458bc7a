"""A shard folder of small moving squares, and a model so small that a step takes milliseconds."""

import numpy as np
import pytest
from omegaconf import OmegaConf

from dynamicrafter.media.encode import encode_mp4
from dynamicrafter.shards import Sample, write_shards


def moving_square(seed: int, frames: int = 24) -> np.ndarray:
    chance = np.random.default_rng(seed)
    video = np.empty((frames, 32, 48, 3), np.uint8)
    video[:] = chance.integers(0, 255, 3)
    top, left = chance.integers(0, 20, 2)
    for i in range(frames):
        video[i, top : top + 12, left + i % 16 : left + i % 16 + 12] = chance.integers(0, 255, 3)
    return video


@pytest.fixture(scope="session")
def shards(tmp_path_factory):
    folder = tmp_path_factory.mktemp("shards")
    info = {"fps": 24.0, "frames": 24, "width": 48, "height": 32}
    samples = [
        Sample(f"clip-{i:02d}", encode_mp4(moving_square(i), 24), f"square {i} moves", info)
        for i in range(10)
    ]
    write_shards(folder, samples, name="train", config_digest="test")
    return folder


SMALL_MODEL = {
    "unet": {
        "in_channels": 8,
        "model_channels": 32,
        "channel_mult": [1, 2],
        "num_res_blocks": 1,
        "attention_resolutions": [2],
        "head_channels": 16,
        "context_dim": 32,
        "dropout": 0.1,
        "learned_gate": True,
    },
    "autoencoder": {"ch": 32, "ch_mult": [1, 1], "num_res_blocks": 1},
    "clip": {
        "embed_dim": 32,
        "vision_cfg": {
            "image_size": 224,
            "layers": 1,
            "width": 32,
            "head_width": 16,
            "patch_size": 14,
        },
        "text_cfg": {
            "context_length": 77,
            "vocab_size": 49408,
            "width": 32,
            "heads": 2,
            "layers": 2,
        },
    },
    "resampler": {
        "dim": 32,
        "depth": 1,
        "head_dim": 16,
        "heads": 2,
        "embedding_dim": 32,
        "output_dim": 32,
        "ff_mult": 1,
        "frames": 4,
    },
    "scale_factor": 1.0,
    "schedule": {"parameterization": "v", "zero_snr": True},
    "resolution": [16, 16],
    "frames": 4,
    "fs_means": "stride",
}


@pytest.fixture
def compose(shards):
    """The train config of the demo's recipe with the small model and a handful of steps."""
    from hydra import compose as hydra_compose
    from hydra import initialize_config_module

    def make(folder, *overrides):
        with initialize_config_module("conf", version_base="1.3"):
            config = hydra_compose(
                "train",
                [
                    "+experiment=demo/train",
                    f"run_dir={folder}",
                    f"data={shards}",
                    f"validation={shards}",
                    "tracking=disabled",
                    "threads=1",
                    *(f"recipe.{name}.steps=4" for name in ("autoencoder", "context", "adapt")),
                    "recipe.joint.steps=6",
                    "recipe.joint.checkpoint_every=2",
                    "checkpoints.keep_every=2",
                    "validate.every=0",
                    "validate.sample_every=0",
                    *(f"recipe.{name}.batch=2" for name in ("autoencoder", "context")),
                    *(f"recipe.{name}.batch=2" for name in ("adapt", "joint")),
                    *overrides,
                ],
            )
        OmegaConf.set_struct(config, False)
        config.model = SMALL_MODEL
        return config

    return make
