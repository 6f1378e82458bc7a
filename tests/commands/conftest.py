"""Inputs of the commands: real clips, shards cut from them, a model folder."""

import shutil

import pytest
import torch

from dynamicrafter import assets
from dynamicrafter.media.decode import read_frames
from dynamicrafter.media.encode import encode_mp4
from dynamicrafter.model.animation import AnimationConfig, AnimationModel
from dynamicrafter.model.pretrained import save_model
from dynamicrafter.shards import Sample, write_shards
from tests.train.conftest import SMALL_MODEL

CAMERAS = [f"pose2sim-cam{number:02d}" for number in (1, 2, 3, 4)]


def write_windows(folder, video, name, count, step):
    """Windows of 52 frames of a video, `step` frames apart, as a shard folder."""
    frames = read_frames(str(video), range(0, step * (count - 1) + 52), short_side=64)
    info = {"fps": 30.0, "frames": 52, "width": frames.shape[2], "height": 64}
    info |= {"name": "none", "dynamic_wording": "moving", "dynamic_confidence": 50}
    info |= {
        "dynamic_source_category": "none",
        "source": {"name": "x", "media_may_be_passed_on": True},
    }
    samples = [
        Sample(f"{name}-{i}", encode_mp4(frames[i * step : i * step + 52], 30), f"moving {i}", info)
        for i in range(count)
    ]
    write_shards(folder, samples, name=name, config_digest="test")
    return folder


@pytest.fixture(scope="session")
def real_clips(tmp_path_factory):
    """A folder with the real clips of sports2d and pose2sim."""
    folder = tmp_path_factory.mktemp("clips")
    names = ["sports2d", *CAMERAS]
    for name, path in zip(names, assets.fetch(names), strict=True):
        shutil.copy(path, folder / f"{name}.mp4")
    return folder


@pytest.fixture(scope="session")
def real_shards(real_clips, tmp_path_factory):
    """Eight windows of the sports2d clip as a shard folder."""
    folder = tmp_path_factory.mktemp("real-shards")
    return write_windows(folder, real_clips / "sports2d.mp4", "part", count=8, step=20)


@pytest.fixture(scope="session")
def other_shards(real_clips, tmp_path_factory):
    """Four windows of another clip as a shard folder."""
    folder = tmp_path_factory.mktemp("other-shards")
    return write_windows(folder, real_clips / f"{CAMERAS[0]}.mp4", "other", count=4, step=10)


@pytest.fixture(scope="session")
def small_model(tmp_path_factory):
    """A random model of 16 frames at 64x64 in a model folder."""
    folder = tmp_path_factory.mktemp("model")
    config = {**SMALL_MODEL, "frames": 16, "resolution": [64, 64]}
    config["resampler"] = {**config["resampler"], "frames": 16}
    config["autoencoder"] = {**config["autoencoder"], "ch_mult": [1, 1, 1, 1]}  # small latents
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = AnimationModel(AnimationConfig.from_dict(config)).requires_grad_(False)
        for name, parameter in model.unet.named_parameters():
            if not name.endswith(".alpha"):  # the zero layers at initialisation hide differences
                parameter.add_(0.02 * torch.randn_like(parameter))
        save_model(folder, model, config)
    return folder


@pytest.fixture
def train_arguments(real_shards):
    """The demo's recipe with few steps, on the real windows."""
    steps = {"autoencoder": 4, "context": 6, "adapt": 3, "joint": 6}
    return [
        "train",
        "+experiment=demo/train",
        f"data={real_shards}",
        "tracking=disabled",
        "threads=1",
        "on_change=refuse",
        *(f"recipe.{name}.steps={count}" for name, count in steps.items()),
        *(f"recipe.{name}.batch=1" for name in steps),
        *(f"recipe.{name}.checkpoint_every=2" for name in steps),
    ]
