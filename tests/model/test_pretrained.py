"""Models as people have them: official checkpoints in every wrapping, folders, and wrong files."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf

from dynamicrafter.errors import InputError, MachineError
from dynamicrafter.model import pretrained
from dynamicrafter.model.names import UNET_PREFIX, parameter_group
from dynamicrafter.model.weights import (
    load_weights,
    match_weights,
    read_state_dict,
    save_weights,
    schedule_buffers,
)
from tests.model import tiny

KEYS = Path(__file__).parents[1] / "golden" / "keys"
V_07 = tiny.tree()
V_03 = tiny.tree(schedule={"parameterization": "v", "zero_snr": True, "base_scale": 0.3})
EPS = tiny.learned_gates(tiny.tree(schedule={"parameterization": "eps"}))


def as_yaml(folder, config):
    path = folder / "own.yaml"
    path.write_text(OmegaConf.to_yaml(config))
    return str(path)


def write(path, config, rename=lambda name: name, wrapper="state_dict"):
    """A checkpoint in the official layout of the model that `config` describes."""
    tensors = tiny.build(config).official_state_dict()
    tensors = {rename(name): tensor for name, tensor in tensors.items()}
    if path.suffix == ".safetensors":
        save_weights(path, tensors)
    else:
        torch.save({wrapper: tensors, "global_step": 5}, path)
    return tensors


def load(path, config, folder):
    return pretrained.build(pretrained.find(path, as_yaml(folder, config)))


def same_bits(found, expected):
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        assert found[name].dtype == tensor.dtype
        assert torch.equal(found[name], tensor), name


@pytest.mark.parametrize("suffix", [".ckpt", ".safetensors"])
@pytest.mark.parametrize("config", [V_07, V_03, EPS], ids=["512", "1024", "256"])
def test_an_official_checkpoint_goes_in_and_comes_back_bit_for_bit(tmp_path, config, suffix):
    first, second = tmp_path / f"first{suffix}", tmp_path / f"second{suffix}"
    expected = write(first, config)
    model, report = load(first, config, tmp_path)
    assert len(report.loaded) + len(report.schedule) == len(expected)
    assert (report.missing, report.unexpected, report.reshaped) == ((), (), ())
    buffers = schedule_buffers(read_state_dict(first))
    save_weights(second, model.official_state_dict(buffers))
    same_bits(read_state_dict(second), expected)
    if suffix == ".ckpt":
        same_bits(torch.load(second, weights_only=True)["state_dict"], expected)
    same_bits(model.official_state_dict(), expected)  # the computed schedule is the same too


def test_buffers_come_back_as_they_were_and_not_as_they_should_be(tmp_path):
    tensors = write(tmp_path / "first.ckpt", V_07)
    tensors = {name: tensor.clone() for name, tensor in tensors.items()}
    tensors["posterior_variance"] += 1
    save_weights(tmp_path / "second.ckpt", tensors)
    model, _ = load(tmp_path / "second.ckpt", V_07, tmp_path)
    buffers = schedule_buffers(read_state_dict(tmp_path / "second.ckpt"))
    same_bits(model.official_state_dict(buffers), tensors)


def test_a_deepspeed_checkpoint(tmp_path):
    expected = write(
        tmp_path / "mp_rank_00_model_states.pt",
        V_07,
        rename=lambda name: f"_forward_module.{name}",
        wrapper="module",
    )
    model, _ = load(tmp_path / "mp_rank_00_model_states.pt", V_07, tmp_path)
    same_bits(
        model.official_state_dict(),
        {name.removeprefix("_forward_module."): tensor for name, tensor in expected.items()},
    )


def test_the_released_256_names_the_fs_embedding_otherwise(tmp_path):
    stored = write(
        tmp_path / "m.ckpt", EPS, lambda name: name.replace("fps_embedding", "framestride_embed")
    )
    model, report = load(tmp_path / "m.ckpt", EPS, tmp_path)
    assert (report.missing, report.unexpected) == ((), ())
    expected = stored[f"{UNET_PREFIX}framestride_embed.0.weight"]
    assert torch.equal(model.unet.fps_embedding[0].weight, expected)


def test_half_precision_files_are_read_as_fp32(tmp_path):
    tensors = {n: t.half() for n, t in tiny.build(V_07).state_dict().items()}
    save_weights(tmp_path / "half.safetensors", tensors)
    model, _ = load(tmp_path / "half.safetensors", V_07, tmp_path)
    name = "image_proj_model.latents"
    assert model.state_dict()[name].dtype == torch.float32
    assert torch.equal(model.state_dict()[name], tensors[name].float())


def test_a_model_folder(tmp_path):
    model = tiny.build(V_07)
    pretrained.save_model(tmp_path / "m", model, {**V_07, "scale_factor": 0.5})
    loaded = pretrained.load_model(tmp_path / "m")
    assert loaded.config.scale_factor == 0.5
    assert not loaded.training
    same_bits(loaded.state_dict(), model.state_dict())
    with pytest.raises(InputError, match="leave kind=tiny away"):
        pretrained.find(tmp_path / "m", "tiny")
    (tmp_path / "m" / "model.yaml").write_text("a: [1")
    with pytest.raises(InputError, match=r"model\.yaml is no YAML file"):
        pretrained.find(tmp_path / "m")


@pytest.mark.parametrize(
    ("config", "name"),
    [(V_07, "dynamicrafter_512"), (V_03, "dynamicrafter_1024"), (EPS, "dynamicrafter_256")],
)
def test_a_checkpoint_tells_which_released_model_it_is(tmp_path, config, name):
    write(tmp_path / "m.ckpt", config)
    assert pretrained.find(tmp_path / "m.ckpt").config == pretrained.model_config(name)


@pytest.mark.parametrize(
    ("stored", "config", "said"),
    [
        (V_03, V_07, r"scale_arr ends at 0\.3 and not at 0\.7; .*looks like .*dynamicrafter_1024"),
        (V_07, EPS, r"alphas_cumprod ends at 0 and not at 0\.00466; .*dynamicrafter_512"),
        (EPS, V_07, r"alphas_cumprod ends at 0\.00466 and not at 0; .*dynamicrafter_256"),
        (
            tiny.tree(context="none"),
            V_07,
            "lack .*; the file holds: video U-Net, auto",
        ),
        ({**V_07, "autoencoder": {"ch": 64}}, V_07, "of different configurations"),
        (
            {**EPS, "unet": {**EPS["unet"], "temporal": False}},
            EPS,
            r"group fs_embedding\).*; the file holds: image U-Net, image projector",
        ),
    ],
    ids=["other-scale", "v-for-eps", "eps-for-v", "no-image-stream", "other-width", "image-model"],
)
def test_a_file_that_is_not_what_the_config_says_is_refused(tmp_path, stored, config, said):
    write(tmp_path / "m.ckpt", stored)
    with pytest.raises(InputError, match=said) as caught:
        load(tmp_path / "m.ckpt", config, tmp_path)
    assert "m.ckpt" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_weights_that_are_not_finite_are_refused(tmp_path):
    for value in (float("nan"), float("inf")):
        tensors = tiny.build(V_07).state_dict()
        tensors["first_stage_model.encoder.conv_in.weight"][0, 0, 1, 1] = value
        save_weights(tmp_path / "m.safetensors", tensors)
        with pytest.raises(InputError, match=r"conv_in\.weight holds NaN or infinite values"):
            load(tmp_path / "m.safetensors", V_07, tmp_path)


def test_what_is_neither_folder_nor_file_nor_released(monkeypatch, tmp_path):
    with pytest.raises(InputError, match=r"no released model .*dynamicrafter_1024"):
        pretrained.find(tmp_path / "nothing")
    with pytest.raises(InputError, match=r"kind=nano: no YAML file, and not one of .*tiny"):
        pretrained.model_config("nano")
    write(tmp_path / "m.ckpt", tiny.tree(context="none"))
    with pytest.raises(InputError, match="does not tell which model it is"):
        pretrained.find(tmp_path / "m.ckpt")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(MachineError, match=r"model hub for Doubiiu/DynamiCrafter_512/model\.ckpt"):
        pretrained.find("dynamicrafter_512")


# What the starting points of the recipe bring, by the key lists of the real files.


def stored_shapes(file, entry):
    shapes = json.loads((KEYS / f"{file}.json").read_text())[entry]
    shapes = shapes.get("state_dict", shapes)
    return {name: torch.zeros(()).expand(shape) for name, shape in shapes.items()}


def released(name, **changes):
    config = pretrained.model_config(name)
    config["unet"] |= changes
    with torch.device("meta"):
        return pretrained.AnimationModel(pretrained.AnimationConfig.from_dict(config))


def counted(names):
    groups = [parameter_group(name) for name in names]
    return {group: groups.count(group) for group in set(groups)}


def test_videocrafter2_is_a_start_for_the_512_model():
    tensors = stored_shapes("keys_vc", "VideoCrafter2_t2v_512")
    _, report = match_weights(released("dynamicrafter_512").state_dict(), tensors)
    assert report.reshaped == (f"{UNET_PREFIX}input_blocks.0.0.weight",)
    assert not report.unexpected
    assert counted(report.missing) == {
        "image_cross_attention_kv": 32,
        "image_projector": 51,
        "image_encoder": 398,
    }


def test_videocrafter1_brings_its_image_model_but_not_its_text_model():
    model = released("dynamicrafter_512").state_dict()
    tensors = stored_shapes("keys_vc", "VideoCrafter1_i2v_512")
    _, report = match_weights(model, tensors)
    assert (report.missing, report.unexpected) == ((), ())
    assert set(report.reshaped) == {
        f"{UNET_PREFIX}input_blocks.0.0.weight",
        "image_proj_model.latents",
    }
    _, report = match_weights(model, stored_shapes("keys_vc", "VideoCrafter1_t2v_512"))
    assert counted(report.missing)["temporal_conv"] == 352
    assert all("relative_position" in name for name in report.unexpected)


def test_stable_diffusion_is_a_start_for_the_image_model():
    from dynamicrafter.model.names import to_official

    unet = stored_shapes("keys_sd21", "sd21_unet_state_dict")
    tensors = to_official({f"{UNET_PREFIX}{name}": tensor for name, tensor in unet.items()})
    model = released("dynamicrafter_256", temporal=False, in_channels=4, learned_gate=False)
    _, report = match_weights(model.unet.state_dict(prefix=UNET_PREFIX), tensors)
    assert (report.unexpected, report.reshaped) == ((), ())
    assert counted(report.missing) == {"image_cross_attention_kv": 32}


def test_an_openclip_file_fills_both_towers(tmp_path):
    import open_clip

    with torch.random.fork_rng():
        torch.manual_seed(3)
        whole = open_clip.CLIP(**V_07["clip"])
    save_weights(tmp_path / "open_clip.safetensors", whole.state_dict())
    model = tiny.build(V_07)
    others = {group for group in map(parameter_group, model.state_dict())}
    tensors = read_state_dict(tmp_path / "open_clip.safetensors")
    report = load_weights(model, tensors, may_miss=others - {"text_encoder", "image_encoder"})
    assert not report.unexpected
    tokens = torch.zeros(1, 77, dtype=torch.long)
    tokens[0, 0] = 49406
    with torch.no_grad():
        x = whole.token_embedding(tokens) + whole.positional_embedding
        for block in whole.transformer.resblocks[:-1]:
            x = block(x, attn_mask=whole.attn_mask)
        expected = whole.ln_final(x)
        assert torch.allclose(model.cond_stage_model(tokens), expected, atol=1e-6)
        image = torch.zeros(1, 3, 224, 224)
        from dynamicrafter.model.encoders import preprocess

        found = model.embedder.embedding(image)
        assert torch.allclose(found, whole.encode_image(preprocess(image)), atol=1e-5)


LOAD_FULL_SIZE = """
import json, sys, torch
from dynamicrafter.model import pretrained
model, report = pretrained.build(pretrained.find(sys.argv[1], "dynamicrafter_512"))
status = open("/proc/self/status").read()
peak = int(status.split("VmHWM:")[1].split()[0]) * 1024
meta = [name for name, tensor in model.state_dict().items() if tensor.is_meta]
print(json.dumps({"peak": peak, "loaded": len(report.loaded), "meta": meta}))
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads the peak from /proc")
@pytest.mark.parametrize("kind", ["ckpt", "safetensors"])
def test_a_full_size_checkpoint_needs_its_own_size_in_memory_once(tmp_path, kind):
    """10.4 GB, sparse on the disk: nothing is stored but the names, yet every byte is read."""
    shapes = json.loads((KEYS / "keys512.json").read_text())["state_dict"]
    shapes = {name: shape for name, shape in shapes.items() if "." in name}  # no schedule of zeros
    path = tmp_path / f"model.{kind}"
    if kind == "ckpt":
        with torch.serialization.skip_data():
            torch.save({"state_dict": {n: torch.empty(s) for n, s in shapes.items()}}, path)
    else:
        header, offset = {}, 0
        for name, shape in shapes.items():
            end = offset + 4 * torch.Size(shape).numel()
            header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [offset, end]}
            offset = end
        text = json.dumps(header).encode()
        text += b" " * (-len(text) % 8)
        with path.open("wb") as file:
            file.write(len(text).to_bytes(8, "little") + text)
            file.truncate(8 + len(text) + offset)
    size = path.stat().st_size
    assert size > 10.4e9
    answer = subprocess.run(
        [sys.executable, "-c", LOAD_FULL_SIZE, path], capture_output=True, text=True, check=False
    )
    assert answer.returncode == 0, answer.stderr
    result = json.loads(answer.stdout)
    assert result["loaded"] == len(shapes)
    assert not result["meta"]
    assert result["peak"] < 1.2 * size
