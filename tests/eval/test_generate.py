"""`dynamicrafter eval generate`: another method's videos in a run folder that `eval` reads."""

import csv
import functools
import json
import re
import shutil
import socket
import sys

import numpy as np
import pytest
import torch
from hydra import compose, initialize_config_module
from omegaconf import OmegaConf
from PIL import Image

from dynamicrafter import cli, files
from dynamicrafter.command import run_in_folder
from dynamicrafter.errors import InputError
from dynamicrafter.items import Item
from dynamicrafter.media.probe import probe
from dynamicrafter.model.weights import read_state_dict, save_weights
from eval.adapters import i2vgen_xl
from eval.methods import open_method
from tests.eval.tiny_i2vgen_xl import save_tiny

pytestmark = pytest.mark.usefixtures("one_thread")

QUICK = ["tracking=disabled", "device=cpu", "resolution=[64,64]", "steps=2", "frames=3"]

TOY = """
import numpy as np
from dynamicrafter import draws

made = []

def digest(config):
    return "toy"

def settings(config):
    return {"seed": config.seed, "frames": config.frames}

def load(config, device):
    def generate(items):
        made.append([item.key for item in items])
        names = [draws.generator(config.seed, 0, item.key) for item in items]
        shape = (config.frames, *config.resolution, 3)
        return [one.integers(0, 255, shape, dtype=np.uint8) for one in names]
    return generate
"""


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """A model folder; the two files of its vocabulary lie beside it."""
    return save_tiny(tmp_path_factory.mktemp("i2vgen"))


@pytest.fixture(scope="module")
def make(tiny):
    """The tiny model, loaded."""
    return loaded(tiny)


@pytest.fixture(scope="module")
def boat(make):
    """Its video of one item."""
    return make([item("boat")])[0]


@pytest.fixture
def copy(tiny, tmp_path):
    """The tiny model, to be damaged."""
    shutil.copytree(tiny, tmp_path / "copy")
    return tmp_path / "copy"


@pytest.fixture
def inputs(tmp_path):
    """A CSV of three images."""
    rows = [["image", "prompt", "key"]]
    for number, key in enumerate(("boat", "cat", "dog")):
        noise = np.random.default_rng(number).integers(0, 255, (70, 90, 3), dtype=np.uint8)
        Image.fromarray(noise).save(tmp_path / f"{number}.png")
        rows.append([f"{number}.png", f"a {key}, moving", key])
    with (tmp_path / "items.csv").open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    return tmp_path / "items.csv"


@pytest.fixture
def toy(tmp_path, monkeypatch):
    """An adapter of somebody else, as a module on the Python path."""
    (tmp_path / "toy_adapter.py").write_text(TOY)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "toy_adapter", raising=False)
    import toy_adapter

    yield toy_adapter
    del sys.modules["toy_adapter"]


@functools.cache
def defaults():
    with initialize_config_module("conf", version_base="1.3"):
        return compose("eval_generate", QUICK)


def composed(*overrides):
    return OmegaConf.merge(defaults(), OmegaConf.from_dotlist(list(overrides)))


def generated(*overrides):
    run_in_folder(composed(*overrides), "eval.generate")


def item(key, seed=0, prompt="a boat"):
    noise = np.random.default_rng(seed).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    return Item(key, noise, prompt)


def loaded(folder, *overrides):
    config = composed("items=none", f"pretrained={folder}", *overrides)
    return i2vgen_xl.load(config, torch.device("cpu"))


def difference(one, other):
    return np.abs(one.astype(int) - other.astype(int))


def test_the_folder_is_that_of_animate(tiny, inputs, tmp_path, monkeypatch):
    def connect(*arguments):
        raise AssertionError("the network was asked")

    monkeypatch.setattr(socket.socket, "connect", connect)
    out, before = tmp_path / "out", torch.get_rng_state()
    generated(f"pretrained={tiny}", f"items={inputs}", "batch=2", f"run_dir={out}", "fps=12")
    assert torch.equal(torch.get_rng_state(), before)
    method = open_method(str(out), "theirs")
    assert list(method.videos) == ["boat", "cat", "dog"]
    assert method.prompts["cat"] == "a cat, moving"
    assert method.settings.items() >= {
        "adapter": "i2vgen_xl", "steps": 2, "eta": 0.0, "guidance_scale": 9.0, "frames": 3,
        "target_fps": 16, "resolution": [64, 64], "seed": 123, "negative_prompt": None,
        "precision": "fp32", "fit": "crop", "fps": 12,
    }.items()  # fmt: skip
    assert set(method.settings) >= {"model", "images"}
    facts = probe(method.videos["dog"])
    assert (facts.codec, facts.frames, facts.width, facts.height) == ("h264", 3, 64, 64)
    assert facts.fps == 12
    assert files.read_json(out / "run.json")["config"]["image"] == str(inputs)
    assert files.read_json(out / "done.json")["summary"]["videos"] == 3


def test_a_video_depends_on_its_item_alone(make, boat):
    assert boat.shape == (3, 64, 64, 3)
    assert boat.dtype == np.uint8
    torch.manual_seed(5)
    assert np.array_equal(make([item("boat")])[0], boat)
    cat, together = make([item("cat", 1, "a cat"), item("boat")])
    assert difference(together, boat).max() <= 1  # rounding, by the batch's size
    assert difference(cat, boat).max() > 1


@pytest.mark.parametrize(
    "other",
    [item("ship"), item("boat", 1), item("boat", 0, "a cat")],
    ids=["key", "image", "prompt"],
)
def test_key_image_and_prompt_decide(make, boat, other):
    assert difference(make([other])[0], boat).max() > 1


@pytest.mark.parametrize(
    "setting",
    [
        "seed=5",
        *(
            pytest.param(other, marks=pytest.mark.slow)
            for other in ("steps=3", "guidance_scale=2", "target_fps=4", "negative_prompt=blurred")
        ),
    ],
)
def test_settings_decide(tiny, boat, setting):
    assert difference(loaded(tiny, setting)([item("boat")])[0], boat).max() > 1


@pytest.mark.slow
def test_low_precision_is_near(tiny, boat):
    low = loaded(tiny, "precision=bf16")([item("boat")])[0]
    assert 0 < difference(low, boat).mean() < 8


def test_prompts_are_read_as_the_pipeline_reads_them(tiny):
    pipeline = i2vgen_xl._pipeline(tiny, None, torch.float32)
    # The pipeline looks for a wrapper that this version of transformers may have dropped.
    if not hasattr(pipeline.text_encoder, "text_model"):
        object.__setattr__(pipeline.text_encoder, "text_model", pipeline.text_encoder)
    pipeline._guidance_scale = 9.0
    prompts = ["a boat", "two cats"]
    with torch.inference_mode():
        wanted, empty = pipeline.encode_prompt(prompts, torch.device("cpu"), 1, clip_skip=1)
        assert torch.equal(i2vgen_xl._text(pipeline, prompts), wanted)
        assert torch.equal(i2vgen_xl._text(pipeline, ["", ""]), empty)


def test_the_image_is_encoded_with_the_given_noise(tiny):
    pipeline = i2vgen_xl._pipeline(tiny, None, torch.float32)
    pixels = torch.linspace(-1, 1, 64 * 64 * 3).reshape(1, 3, 64, 64)
    with torch.inference_mode():
        posterior = pipeline.vae.encode(pixels).latent_dist
        for noise in (torch.zeros_like(posterior.mean), torch.ones_like(posterior.mean)):
            with i2vgen_xl._posterior_noise(pipeline.vae, noise):
                found = pipeline.vae.encode(pixels).latent_dist.sample()
            assert torch.equal(found, posterior.mean + noise * posterior.std)
    assert type(pipeline.vae.encode(pixels).latent_dist) is type(posterior)


def test_folders_as_published_are_read(copy, tiny, boat):
    """Names of tensors that transformers 4 wrote, a vocabulary in two files, half precision."""
    path = copy / "text_encoder/model.safetensors"
    tensors = {f"text_model.{name}": tensor for name, tensor in read_state_dict(path).items()}
    tensors["text_model.embeddings.position_ids"] = torch.arange(77)[None]
    save_weights(path, tensors)
    for part, stem in i2vgen_xl.WEIGHTS.items():
        path = copy / part / f"{stem}.safetensors"
        path.rename(path.with_suffix(".fp16.safetensors"))
    (copy / "tokenizer/tokenizer.json").unlink()
    for name in ("vocab.json", "merges.txt"):
        shutil.copy(tiny.parent / name, copy / "tokenizer")
    assert np.array_equal(loaded(copy, "variant=fp16")([item("boat")])[0], boat)


def test_what_is_missing_is_made_again(toy, inputs, tmp_path):
    out = tmp_path / "out"
    command = ["adapter=toy_adapter", "pretrained=x", f"items={inputs}", f"run_dir={out}"]
    generated(*command)
    assert toy.made == [["boat"], ["cat"], ["dog"]]
    before = files.sha256_file(out / "videos/cat.mp4")
    generated(*command)  # whole: nothing to do
    (out / "videos/cat.mp4").unlink()
    (out / "done.json").unlink()
    generated(*command, "batch=3")
    assert toy.made[3:] == [["cat"]]
    assert files.sha256_file(out / "videos/cat.mp4") == before
    assert files.read_json(out / "done.json")["summary"]["reused"] == 2
    generated(*command, "batch=3", "seed=5")
    assert toy.made[4:] == [["boat", "cat", "dog"]]
    assert files.sha256_file(out / "videos/cat.mp4") != before


def test_two_processes_share_the_items(toy, inputs, tmp_path, monkeypatch):
    command = ["adapter=toy_adapter", "pretrained=x", f"items={inputs}"]
    generated(*command, f"run_dir={tmp_path / 'alone'}")
    toy.made.clear()
    monkeypatch.setenv("WORLD_SIZE", "2")
    config = composed(*command, f"run_dir={tmp_path / 'shared'}")
    from eval import generate

    monkeypatch.setenv("RANK", "1")
    assert not generate.leads(config)
    assert generate.run(config, tmp_path / "shared") == {}
    assert toy.made == [["cat"]]
    assert not (tmp_path / "shared/items.json").exists()
    monkeypatch.setenv("RANK", "0")
    run_in_folder(config, "eval.generate")
    assert toy.made[1:] == [["boat"], ["dog"]]
    shared = open_method(str(tmp_path / "shared"))
    for key, path in open_method(str(tmp_path / "alone")).videos.items():
        assert files.sha256_file(shared.videos[key]) == files.sha256_file(path)


def spoil(folder, how):
    """Make of a model folder one that cannot be used."""
    unet = folder / "unet/diffusion_pytorch_model.safetensors"
    index = files.read_json(folder / "model_index.json")
    if how == "pickled":
        torch.save(read_state_dict(unet), unet.with_suffix(".bin"))
        unet.unlink()
    if how == "missing":
        unet.unlink()
    if how == "variant":
        unet.rename(unet.with_suffix(".fp16.safetensors"))
    if how == "cut":
        unet.write_bytes(unet.read_bytes()[:-100])
    if how == "shape":
        save_weights(unet, read_state_dict(unet) | {"conv_in.bias": torch.zeros(3)})
    if how == "tensors":
        names = read_state_dict(unet)
        save_weights(unet, {name: names[name] for name in names if name != "conv_in.bias"})
    if how == "code":
        index["unet"] = ["mine", "I2VGenXLUNet"]
    if how == "kind":
        index["_class_name"] = "StableVideoDiffusionPipeline"
    (folder / "model_index.json").write_text(json.dumps(index))
    if how == "index":
        (folder / "model_index.json").unlink()


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ("pickled", r"diffusion_pytorch_model\.bin is a pickle, which can hold code"),
        ("missing", r"unet/diffusion_pytorch_model\.safetensors is missing; the folder is not"),
        ("variant", r"but diffusion_pytorch_model\.fp16\.safetensors is there; see variant="),
        ("cut", r"copy/unet cannot be loaded: "),
        ("shape", r"copy/unet cannot be loaded: .*conv_in\.bias"),
        ("tensors", r"copy/unet lacks 1 tensors, such as conv_in\.bias"),
        ("code", r"copy is no I2VGenXLPipeline: model_index\.json names other classes"),
        ("kind", r"copy is no I2VGenXLPipeline"),
        ("index", r"copy is no diffusers pipeline: model_index\.json is missing"),
    ],
)
def test_models_that_cannot_be(copy, inputs, tmp_path, how, said):
    spoil(copy, how)
    with pytest.raises(InputError, match=said):
        generated(f"pretrained={copy}", f"items={inputs}", f"run_dir={tmp_path / 'out'}")


def test_frames_that_are_no_numbers_are_refused(copy):
    path = copy / "vae/diffusion_pytorch_model.safetensors"
    tensors = read_state_dict(path)
    save_weights(path, tensors | {"decoder.conv_out.bias": torch.full((3,), torch.nan)})
    with pytest.raises(InputError, match="boat: numbers overflow in precision=fp32"):
        loaded(copy)([item("boat")])


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("pretrained=nowhere", "pretrained=nowhere: no such folder"),
        ("adapter=another", "adapter=another: no module of that name, and not one of i2vgen_xl"),
        ("adapter=.json", "adapter=.json: no module"),
        ("adapter=json", "adapter=json: the module has no function digest, settings"),
        ("steps=0", "steps is 0; choose 1 to 1000"),
        ("resolution=[256,250]", "resolution=[256, 250]; it is [height, width] in multiples of 64"),
        ("resolution=[64]", "resolution=[64]; it is [height, width] in multiples of 64"),
        ("precision=int8", "precision=int8; choose auto, fp32, fp16, bf16"),
        ("batch=0", "batch is 0"),
        ("items=nowhere.csv", "nowhere.csv: no such image"),
        ("fit=zoom", "fit=zoom; choose crop, pad, stretch"),
    ],
)
def test_settings_that_cannot_be(tiny, inputs, tmp_path, setting, said):
    words = [f"pretrained={tiny}", f"items={inputs}", f"run_dir={tmp_path / 'out'}", setting]
    with pytest.raises(InputError, match=re.escape(said)):
        generated(*words)


def test_the_verb_refuses_in_one_line(tiny, inputs, tmp_path, monkeypatch, capfd):
    words = [f"pretrained={tiny}", f"items={inputs}", f"run_dir={tmp_path / 'out'}", "frames=many"]
    monkeypatch.setattr(sys, "argv", ["dynamicrafter", "eval", "generate", *QUICK, *words])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 2
    told = capfd.readouterr().err
    assert "'many'" in told
    assert told.count("\n") == 1


def test_last_images_are_refused(toy, inputs, tmp_path):
    (tmp_path / "ends.csv").write_text("image,prompt,last_image\n0.png,one,1.png\n")
    with pytest.raises(InputError, match="0 has a last image"):
        generated(
            "adapter=toy_adapter", "pretrained=x", f"items={tmp_path / 'ends.csv'}",
            f"run_dir={tmp_path / 'out'}",
        )  # fmt: skip


def test_without_diffusers_the_remedy_is_named(tiny, monkeypatch):
    monkeypatch.setitem(sys.modules, "diffusers", None)
    with pytest.raises(InputError, match=r"needs diffusers: pip install .*\[baselines\]"):
        i2vgen_xl.digest(composed("items=x", f"pretrained={tiny}"))
