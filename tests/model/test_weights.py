"""Reading foreign files safely, and loading them where shapes or parts differ."""

import pickle

import pytest
import safetensors.torch
import torch
from torch import nn

from dynamicrafter.errors import InputError
from dynamicrafter.model.resampler import Resampler, ResamplerConfig
from dynamicrafter.model.unet import UNet, UNetConfig
from dynamicrafter.model.weights import load_weights, read_state_dict, save_weights

TENSORS = {"middle_block.0.weight": torch.arange(6.0).reshape(2, 3), "n": torch.tensor(7)}
SMALL = {
    "model_channels": 32,
    "channel_mult": (1,),
    "num_res_blocks": 1,
    "attention_resolutions": (1,),
    "head_channels": 32,
    "context_dim": 8,
}


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def test_what_is_saved_is_read(tmp_path):
    path = tmp_path / "w.safetensors"
    save_weights(path, TENSORS, {"step": "3"})
    assert same(read_state_dict(path), TENSORS)
    with safetensors.safe_open(path, "pt") as file:
        assert file.metadata() == {"step": "3"}


@pytest.mark.parametrize("wrapper", ["state_dict", None])
def test_torch_files(tmp_path, wrapper):
    path = tmp_path / "w.ckpt"
    torch.save({wrapper: TENSORS, "epoch": 1} if wrapper else TENSORS, path)
    assert same(read_state_dict(path), TENSORS)


def test_deepspeed_and_the_released_256_names(tmp_path):
    path = tmp_path / "mp_rank_00_model_states.pt"
    stored = {
        "_forward_module.model.diffusion_model.framestride_embed.0.bias": torch.ones(2),
        "_forward_module.image_proj_model.latents": torch.zeros(1, 2, 3),
    }
    torch.save({"module": stored, "global_step": 5}, path)
    assert set(read_state_dict(path)) == {
        "model.diffusion_model.fps_embedding.0.bias",
        "image_proj_model.latents",
    }


class Payload:
    def __reduce__(self):
        return (print, ("this must not run",))


def test_a_pickle_with_code_is_not_run(tmp_path, capsys):
    for save in (torch.save, lambda value, path: path.write_bytes(pickle.dumps(value))):
        path = tmp_path / "w.ckpt"
        save({"state_dict": TENSORS, "x": Payload()}, path)
        with pytest.raises(InputError, match="safetensors"):
            read_state_dict(path)
    assert "must not run" not in capsys.readouterr().out


def test_broken_files_end_in_one_clear_line(tmp_path):
    with pytest.raises(InputError, match="do not exist"):
        read_state_dict(tmp_path / "none.safetensors")
    whole = tmp_path / "whole.safetensors"
    save_weights(whole, TENSORS)
    for name in ("cut.safetensors", "cut.ckpt"):
        cut = tmp_path / name
        cut.write_bytes(whole.read_bytes()[:40])
        with pytest.raises(InputError, match=name):
            read_state_dict(cut)
    torch.save({"epoch": 3}, tmp_path / "other.pt")
    with pytest.raises(InputError, match="no state dict"):
        read_state_dict(tmp_path / "other.pt")


def test_four_input_channels_become_eight():
    old = UNet(UNetConfig(in_channels=4, **SMALL))
    new = UNet(UNetConfig(in_channels=8, **SMALL))
    report = load_weights(new, old.state_dict())
    weight = new.state_dict()["input_blocks.0.0.weight"]
    assert torch.equal(weight[:, :4], old.state_dict()["input_blocks.0.0.weight"])
    assert weight[:, 4:].abs().max() == 0
    assert report.reshaped == ("input_blocks.0.0.weight",)
    assert not report.missing
    with pytest.raises(InputError, match=r"input_blocks\.0\.0\.weight"):
        load_weights(old, new.state_dict())


def test_queries_of_one_frame_are_repeated_for_each():
    sizes = {"dim": 8, "depth": 1, "heads": 1, "head_dim": 8, "embedding_dim": 8, "output_dim": 8}
    image = Resampler(ResamplerConfig(frames=1, **sizes))
    video = Resampler(ResamplerConfig(frames=3, **sizes))
    wrap = nn.ModuleDict({"image_proj_model": video})
    stored = {f"image_proj_model.{k}": v for k, v in image.state_dict().items()}
    assert load_weights(wrap, stored).reshaped == ("image_proj_model.latents",)
    features = torch.randn(2, 5, 8)
    assert torch.allclose(
        video(features).reshape(2, 3, 16, 8)[:, 1], video(features)[:, :16], atol=1e-6
    )
    assert torch.equal(video.latents[:, 16:32], image.latents)


def test_only_named_groups_may_be_missing():
    text_only = UNet(UNetConfig(image_context="none", **SMALL)).state_dict()
    model = UNet(UNetConfig(**SMALL))
    with pytest.raises(InputError, match="image_cross_attention_kv"):
        load_weights(model, text_only)
    report = load_weights(
        model,
        {**text_only, "betas": torch.ones(3), "model_ema.x": torch.ones(1)},
        may_miss=("image_cross_attention_kv",),
    )
    assert len(report.missing) == 2 * 4  # keys and values of four transformers
    assert all("_ip." in name for name in report.missing)
    assert report.unexpected == ("model_ema.x",)
    assert "image_cross_attention_kv (8)" in report.summary()


def test_other_widths_are_refused():
    wide = UNet(UNetConfig(**{**SMALL, "context_dim": 16})).state_dict()
    with pytest.raises(InputError, match="different configurations"):
        load_weights(UNet(UNetConfig(**SMALL)), wide)
