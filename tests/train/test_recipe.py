"""The recipe from end to end on a very small model: hand-over, resume to the bit, refusals."""

import json
import shutil

import pytest
import torch
from omegaconf import OmegaConf
from safetensors.torch import load_file

from dynamicrafter.errors import InputError
from dynamicrafter.model.animation import AnimationConfig, AnimationModel
from dynamicrafter.model.names import parameter_group
from dynamicrafter.model.pretrained import load_model
from train import loop, recipe
from train.handover import choose_trainable, hand_over
from train.journal import read_rows
from train.stage import check_stage, stage_model


def losses(folder):
    return {
        path.parent.name: [(row["step"], row["loss"]) for row in read_rows(path)]
        for path in sorted(folder.glob("stages/*/metrics.jsonl"))
    }


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return tmp_path_factory.mktemp("whole")


@pytest.fixture
def trained(whole, compose):
    """A finished run; trained once for this file."""
    if not (whole / "summary.json").exists():
        recipe.run(compose(whole), whole)
    return whole


def test_every_stage_runs_and_reports(trained):
    summary = json.loads((trained / "summary.json").read_text())
    assert [stage["name"] for stage in summary["stages"]] == [
        "autoencoder",
        "context",
        "adapt",
        "joint",
    ]
    assert {name: len(rows) for name, rows in losses(trained).items()} == {
        "01-autoencoder": 4,
        "02-context": 4,
        "03-adapt": 4,
        "04-joint": 6,
    }
    assert summary["autoencoder"]["frames"] == 10
    assert (trained / "reconstruction.png").read_bytes()[:4] == b"\x89PNG"
    assert load_model(trained / "model").config.scale_factor > 0


def test_a_stopped_run_takes_bit_for_bit_the_same_steps(trained, compose, tmp_path):
    """Stopped in the joint stage after a checkpoint, as a kill would leave it."""
    shutil.copytree(trained, tmp_path / "run")
    run = tmp_path / "run"
    shutil.rmtree(run / "model")
    (run / "summary.json").unlink()
    joint = run / "stages" / "04-joint"
    for name in ("stage.json", "model.safetensors", "model.yaml"):
        (joint / name).unlink()
    shutil.rmtree(joint / "checkpoints" / "step-00000006")  # 4 is the newest whole one
    with (joint / "metrics.jsonl").open("a") as file:
        file.write('{"step": 7, "lo')  # a torn line

    recipe.run(compose(run), run)
    assert losses(run) == losses(trained)
    first = load_file(trained / "model" / "model.safetensors")
    second = load_file(run / "model" / "model.safetensors")
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_a_torn_checkpoint_is_passed_over_and_told(trained, compose, tmp_path, capsys):
    shutil.copytree(trained, tmp_path / "run")
    run = tmp_path / "run"
    joint = run / "stages" / "04-joint"
    for name in ("stage.json", "model.safetensors"):
        (joint / name).unlink()
    (joint / "checkpoints" / "step-00000006" / "state.json").unlink()
    recipe.run(compose(run), run)
    assert losses(run) == losses(trained)
    told = capsys.readouterr().err
    assert "step-00000006 is damaged" in told
    assert "going on from" in told
    assert "step-00000004, read in" in told


def test_frozen_tensors_are_bit_equal_and_trained_ones_move(trained):
    before = load_file(trained / "stages/02-context/model.safetensors")
    after = load_file(trained / "stages/03-adapt/model.safetensors")
    for name, tensor in before.items():
        same = torch.equal(tensor, after[name]) if tensor.shape == after[name].shape else None
        if parameter_group(name) in ("autoencoder", "text_encoder", "image_encoder"):
            assert same, name
    moved = [n for n in before if n in after and before[n].shape == after[n].shape]
    assert any(not torch.equal(before[n], after[n]) for n in moved)


def test_hand_over_reports_what_grew_and_what_is_new(trained):
    adapt = json.loads((trained / "stages/03-adapt/handover.json").read_text())[0]
    assert adapt["reshaped"] == ["image_proj_model.latents"]
    assert {parameter_group(name) for name in adapt["new"]} == {
        "temporal_transformer",
        "temporal_conv",
        "temporal_init_attn",
        "fs_embedding",
        "lambda_alpha",
    }
    joint = json.loads((trained / "stages/04-joint/handover.json").read_text())[0]
    assert joint["reshaped"] == ["model.diffusion_model.input_blocks.0.0.weight"]
    assert joint["new"] == joint["left_out"] == []


def test_the_joint_stage_starts_as_the_adapt_stage_ended(trained):
    """With the new input channels at zero, the output is that of the model before."""
    adapt = load_model(trained / "stages/03-adapt")
    config = OmegaConf.to_container(OmegaConf.load(trained / "stages/04-joint/model.yaml"))
    joint = AnimationModel(AnimationConfig.from_dict(config)).eval()
    hand_over(joint, [{"from": "previous"}], trained / "stages/03-adapt/model.safetensors")
    x, condition = torch.randn(2, 4, 4, 8, 8), torch.randn(2, 4, 4, 8, 8)
    context = torch.randn(2, 77 + 64, 32)
    t, fs = torch.tensor([10, 900]), torch.tensor([1, 3])
    with torch.no_grad():
        expected = adapt.unet(x, t, context, fs)
        found = joint.unet(torch.cat([x, condition], 1), t, context, fs)
    assert torch.allclose(found, expected, atol=1e-6)


def test_a_finished_stage_is_not_trained_again(trained, compose, monkeypatch):
    def never(*args):
        raise AssertionError("trained again")

    monkeypatch.setattr(recipe, "train_stage", never)
    recipe.run(compose(trained), trained)


def test_nan_stops_before_the_step(trained, compose, tmp_path):
    config = compose(tmp_path / "run", "recipe.autoencoder.learning_rate=1e20")
    with pytest.raises(loop.NotFiniteError, match=r"stage autoencoder, step \d+: .*was not taken"):
        recipe.run(config, tmp_path / "run")


def test_a_missing_base_file_is_named(compose, tmp_path):
    config = compose(tmp_path)
    config.recipe.context.start = [{"from": "no/such.ckpt"}]
    with pytest.raises(InputError, match=r"stage context starts from no/such\.ckpt"):
        recipe.inputs(config)


def test_an_unknown_group_is_refused(trained):
    model = load_model(trained / "model")
    with pytest.raises(InputError, match="there is no parameter group temporel"):
        choose_trainable(model, ["spatial", "temporel"])


@pytest.mark.parametrize("size", ["256", "512", "1024"])
def test_the_papers_recipe_can_be_built_for_every_released_model(size, shards):
    """Every stage, on the meta device, with the config as the command composes it."""
    from hydra import compose as hydra_compose
    from hydra import initialize_config_module

    with initialize_config_module("conf", version_base="1.3"):
        overrides = [f"model=dynamicrafter_{size}", "run_dir=x", f"data={shards}"]
        config = hydra_compose("train", overrides)
    for name in config.recipe.stages:
        check_stage(config, name)
    context, joint = (stage_model(config, name) for name in ("context", "joint"))
    assert context["resampler"]["frames"] == 1
    assert joint["unet"]["in_channels"] == 8


def test_redo_is_refused_before_anything_is_touched(compose, tmp_path):
    with pytest.raises(InputError, match="does not redo in place"):
        recipe.inputs(compose(tmp_path, "on_change=redo"))


def test_a_damaged_checkpoint_falls_back_to_the_one_before(trained, compose, tmp_path):
    shutil.copytree(trained, tmp_path / "run")
    run = tmp_path / "run"
    joint = run / "stages" / "04-joint"
    (joint / "stage.json").unlink()
    weights = joint / "checkpoints" / "step-00000006" / "weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    recipe.run(compose(run), run)
    assert losses(run) == losses(trained)
