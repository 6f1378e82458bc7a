"""Sample videos: files that are whole, motion that tells a still from a moving video, resuming."""

import dataclasses
import shutil

import numpy as np
import pytest
import torch

from dynamicrafter.animate import Animator, Sampling
from dynamicrafter.items import Item
from dynamicrafter.media.encode import encode_mp4
from dynamicrafter.media.probe import probe
from dynamicrafter.model.gates import gated_attentions
from dynamicrafter.shards import Sample, write_shards
from tests.train.validating import build, fixed_clips
from train.data import Batch
from train.validation import FixedClip, Validation, motion_scalars, sample_videos

pytestmark = pytest.mark.usefixtures("one_thread")

SETTINGS = Validation(
    clips=3, seed=7, samples=2, sampling=Sampling(steps=2, guidance_scale=2.0, eta=0.0)
)


@pytest.fixture(scope="module")
def model():
    return build().train()


@pytest.fixture(scope="module")
def fixed(shards):
    return fixed_clips(shards, SETTINGS)


def scene(key, speed, frames=16, fps=8.0):
    """A textured square that moves by `speed` pixels a frame over a still texture."""
    picture = np.random.default_rng(0).integers(0, 255, (8, 8, 3), dtype=np.uint8)
    patch = np.kron(255 - picture[:4, :4], np.ones((12, 12, 1), np.uint8))
    background = np.kron(picture, np.ones((16, 16, 1), np.uint8))
    video = np.stack([background] * frames)
    for i in range(frames):
        video[i, 40:88, 8 + speed * i : 56 + speed * i] = patch
    batch = Batch(
        numbers=[0],
        keys=[key],
        frames=torch.from_numpy(video)[None],
        captions=["a square moves"],
        frame_stride=torch.tensor([3]),
        fps=torch.tensor([fps]),
        replaced=[],
    )
    return FixedClip(batch, may_be_passed_on=False)


def sampler_of(monkeypatch, video_of):
    """Let the animator answer with `video_of(item)`; returns the sampling settings it was given."""
    given = []

    def batch(self, items, sampling, on_step=None):
        given.append(sampling)
        return np.stack([video_of(item) for item in items])

    monkeypatch.setattr(Animator, "batch", batch)
    return given


def test_a_still_sample_has_no_motion_and_a_moving_one_has(model, tmp_path, monkeypatch):
    clips = [scene("a", 4), scene("b", 4)]
    settings = dataclasses.replace(SETTINGS, sampling=Sampling(frames=16))
    sampler_of(monkeypatch, lambda item: np.stack([item.image] * 16))
    still = motion_scalars(sample_videos(model, clips, settings, tmp_path / "still"))
    assert still["validation/motion_real"] > 0.02
    assert still["validation/motion_ratio"] < 0.02
    assert still["validation/still"] == 1.0

    sampler_of(monkeypatch, lambda item: clips[0].batch.frames[0].numpy())
    moving = motion_scalars(sample_videos(model, clips, settings, tmp_path / "moving"))
    assert moving["validation/motion_ratio"] == pytest.approx(1.0, rel=0.1)
    assert moving["validation/still"] == 0.0


def test_a_sample_is_what_the_animator_makes_of_the_first_frame(model, fixed, tmp_path):
    """At the window's stride and rate, with the clip's caption and key."""
    samples = sample_videos(model, fixed, SETTINGS, tmp_path)
    assert [sample.key for sample in samples] == [clip.batch.keys[0] for clip in fixed[:2]]
    model.eval()
    for sample, clip in zip(samples, fixed, strict=False):
        batch = clip.batch
        assert sample.caption == batch.captions[0]
        assert sample.path == tmp_path / f"{sample.key}.mp4"
        item = Item(sample.key, batch.frames[0, 0].numpy(), sample.caption)
        sampling = dataclasses.replace(SETTINGS.sampling, fs=int(batch.frame_stride))
        video = Animator(model).batch([item], sampling)[0]
        assert sample.path.read_bytes() == encode_mp4(video, float(batch.fps))
        assert float(probe(sample.path).fps) == pytest.approx(float(batch.fps), rel=1e-3)
        assert not sample.may_be_passed_on
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(s.path.name for s in samples)
    model.train()


def test_samples_that_are_there_are_kept_and_the_others_made(model, fixed, tmp_path, monkeypatch):
    first = sample_videos(model, fixed, SETTINGS, tmp_path)
    kept, lost = (sample.path for sample in first)
    before, content = kept.stat().st_mtime_ns, lost.read_bytes()
    lost.unlink()
    (tmp_path / f".{lost.name}.0-0.partial").write_bytes(b"torn")
    assert sample_videos(model, fixed, SETTINGS, tmp_path) == first
    assert kept.stat().st_mtime_ns == before
    assert lost.read_bytes() == content
    given = sampler_of(monkeypatch, None)
    assert sample_videos(model, fixed, SETTINGS, tmp_path) == first
    assert given == []


@pytest.mark.parametrize("ranks", [2, 3])
def test_ranks_share_the_samples_and_make_equally_many(model, tmp_path, monkeypatch, ranks):
    clips = [scene(key, 0, frames=4) for key in "abc"]
    settings = dataclasses.replace(SETTINGS, samples=3)
    counts, paths = [], []
    for rank in range(ranks):  # at the same time, so none sees what another writes
        given = sampler_of(monkeypatch, lambda item: np.stack([item.image] * 4))
        found = sample_videos(model, clips, settings, tmp_path / str(rank), (rank, ranks))
        counts.append(len(given))
        paths += [sample.path for sample in found]
    assert sorted(path.stem for path in paths) == ["a", "b", "c"]
    assert len(set(counts)) == 1
    assert sorted(tmp_path.glob("*/*.mp4")) == sorted(paths)


def test_ranks_agree_on_what_is_there(model, tmp_path, monkeypatch):
    """Both sample where one of two is missing: a sharded model needs both."""
    clips = [scene(key, 0, frames=4) for key in "abcd"]
    settings = dataclasses.replace(SETTINGS, clips=4, samples=4)
    sampler_of(monkeypatch, lambda item: np.stack([item.image] * 4))
    sample_videos(model, clips, settings, tmp_path / "0")
    (tmp_path / "0" / "d.mp4").unlink()
    shutil.copytree(tmp_path / "0", tmp_path / "1")
    for rank, keys in enumerate(("ac", "bd")):
        given = sampler_of(monkeypatch, lambda item: np.stack([item.image] * 4))
        found = sample_videos(model, clips, settings, tmp_path / str(rank), (rank, 2))
        assert [sample.key for sample in found] == list(keys)
        assert len(given) == 1


@pytest.mark.parametrize(
    ("fs_means", "fs", "expected_fs", "expected_fps"),
    [
        ("stride", None, 3, 8.0),
        ("stride", 2, 2, 12.0),
        ("fps", None, 8, 8.0),
        ("fps", 24, 24, 24.0),
    ],
)
def test_a_sample_has_the_speed_of_its_window_unless_told(
    fs_means, fs, expected_fs, expected_fps, tmp_path, monkeypatch
):
    model = build()
    model.config = dataclasses.replace(model.config, fs_means=fs_means)
    given = sampler_of(monkeypatch, lambda item: np.stack([item.image] * 4))
    settings = dataclasses.replace(SETTINGS, sampling=Sampling(fs=fs))
    sample = sample_videos(model, [scene("a", 0, frames=4)], settings, tmp_path)[0]
    assert given[0].fs == expected_fs
    assert float(probe(sample.path).fps) == pytest.approx(expected_fps)


def test_interpolation_is_given_the_last_frame(model, tmp_path, monkeypatch):
    items = []
    sampler_of(monkeypatch, lambda item: items.append(item) or np.stack([item.image] * 4))
    settings = dataclasses.replace(SETTINGS, sampling=Sampling(mode="interp"))
    clip = scene("a", 2, frames=4)
    sample_videos(model, [clip], settings, tmp_path)
    assert np.array_equal(items[0].last, clip.batch.frames[0, -1].numpy())


def test_two_windows_of_a_clip_are_one_sample(model, tmp_path, monkeypatch):
    sampler_of(monkeypatch, lambda item: np.stack([item.image] * 4))
    clips = [scene("a", 0, 4), scene("a", 2, 4), scene("b", 0, 4), scene("c", 0, 4)]
    found = sample_videos(model, clips, SETTINGS, tmp_path)
    assert [sample.key for sample in found] == ["a", "b"]
    assert found[0].motion_real < 0.01  # of the first window, which is still


def test_an_image_model_has_no_videos(shards, tmp_path):
    model = build(frames=1, temporal=False, in_channels=4)
    fixed = fixed_clips(shards, SETTINGS, frames=1)
    assert sample_videos(model, fixed, SETTINGS, tmp_path) == []
    assert list(tmp_path.iterdir()) == []


def passed_on(folder, says, videos):
    """Which of the fixed clips may be passed on, where sources and videos are such."""
    samples = []
    for number, (free, video) in enumerate(zip(says, videos, strict=True)):
        info = {"fps": 24.0, "frames": 8, "width": 32, "height": 32}
        info["source"] = {"name": "s", "media_may_be_passed_on": free}
        samples.append(Sample(f"key-{number}", video, "x", info))
    write_shards(folder, samples, name="x", config_digest="test")
    return fixed_clips(folder, SETTINGS)


def test_the_source_says_whether_media_may_be_passed_on(tmp_path):
    video = encode_mp4(np.zeros((8, 32, 32, 3), np.uint8), 24)
    found = passed_on(tmp_path, [True, False, None], [video] * 3)
    free = {clip.batch.keys[0]: clip.may_be_passed_on for clip in found}
    assert free == {"key-0": True, "key-1": False, "key-2": False}


def test_a_clip_that_stands_in_for_an_unreadable_one_is_not_passed_on(tmp_path):
    video = encode_mp4(np.zeros((8, 32, 32, 3), np.uint8), 24)
    found = passed_on(tmp_path, [True] * 3, [b"no video", video, video])
    assert {key for clip in found for key in clip.batch.replaced} == {"key-0"}
    assert all(clip.may_be_passed_on != bool(clip.batch.replaced) for clip in found)


def test_frozen_weights_in_bf16_are_sampled_under_the_callers_autocast(fixed, tmp_path):
    """A placement of its own would end the autocast, which such weights need."""
    model = build()
    for part in (model.unet, model.cond_stage_model, model.embedder):
        for layer in part.modules():
            if isinstance(layer, torch.nn.Linear | torch.nn.Conv2d):
                layer.to(torch.bfloat16)
    dtypes = {name: p.dtype for name, p in model.named_parameters()}
    lowered = {}
    for part in (model.unet, model.first_stage_model.decoder):
        part.register_forward_pre_hook(
            lambda module, _: lowered.update({type(module): torch.is_autocast_enabled("cpu")})
        )
    with torch.autocast("cpu", torch.bfloat16):
        assert len(sample_videos(model, fixed, SETTINGS, tmp_path)) == 2
    assert {name: p.dtype for name, p in model.named_parameters()} == dtypes
    assert lowered == {type(model.unet): True, type(model.first_stage_model.decoder): False}


def test_nothing_is_left_changed(model, fixed, tmp_path):
    model.cond_stage_model.eval()
    modes = {name: module.training for name, module in model.named_modules()}
    assert modes["model.diffusion_model"]
    torch.manual_seed(3)
    state = torch.get_rng_state()
    gates = {"all": 0.5}
    settings = dataclasses.replace(
        SETTINGS, sampling=dataclasses.replace(SETTINGS.sampling, gates=gates)
    )
    sample_videos(model, fixed, settings, tmp_path)
    assert torch.equal(torch.get_rng_state(), state)
    assert {name: module.training for name, module in model.named_modules()} == modes
    assert {a.gate_factor for a in gated_attentions(model.unet).values()} == {1.0}
    assert all(p.grad is None for p in model.parameters())
