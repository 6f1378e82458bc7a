"""Hand-over: what a source may be, and what the report says, tensor by tensor."""

import json

import pytest
import torch
from safetensors.torch import load_file

from dynamicrafter.errors import InputError
from dynamicrafter.model.animation import AnimationConfig, AnimationModel
from dynamicrafter.model.names import parameter_group
from dynamicrafter.model.pretrained import save_model
from dynamicrafter.model.weights import save_weights
from tests.model.tiny import tree
from train.handover import hand_over, locate, of_groups, report_line, save_reports

CONV_IN = "model.diffusion_model.input_blocks.0.0.weight"


def small(**changes):
    plain = {**tree(**changes), "scale_factor": 1.0}
    torch.manual_seed(0)
    return AnimationModel(AnimationConfig.from_dict(plain)), plain


@pytest.fixture
def image_model(tmp_path):
    """A text-to-image model in a folder of its own, as the context stage leaves it."""
    plain = tree(channels=4, frames=1)
    plain["unet"]["temporal"] = False
    model = AnimationModel(AnimationConfig.from_dict(plain))
    save_model(tmp_path / "image", model, {**plain, "scale_factor": 1.0})
    return tmp_path / "image"


def test_a_source_is_a_file_a_model_folder_or_a_released_model(image_model, monkeypatch, tmp_path):
    weights = image_model / "model.safetensors"
    assert locate(str(weights)) == weights
    assert locate(str(image_model)) == weights
    released = tmp_path / "released.ckpt"
    monkeypatch.setattr(
        "dynamicrafter.assets.hub.download_released", lambda repository, name: released
    )
    assert locate("dynamicrafter_512") == released


@pytest.mark.parametrize(("stage", "who"), [("joint", "stage joint"), (None, "a stage")])
def test_a_source_that_is_not_there_is_named(stage, who):
    message = rf"{who} starts from no/such\.ckpt: no such file .*dynamicrafter_1024"
    with pytest.raises(InputError, match=message):
        locate("no/such.ckpt", stage)


def test_the_report_names_every_tensor_once(image_model):
    model, _ = small()
    (report,) = hand_over(model, [{"from": str(image_model)}], None)
    own = set(model.state_dict())
    assert set(report["loaded"]) | set(report["new"]) == own
    assert not set(report["loaded"]) & set(report["new"])
    assert report["reshaped"] == [CONV_IN, "image_proj_model.latents"]
    assert {parameter_group(name) for name in report["new"]} == {
        "temporal_transformer",
        "temporal_conv",
        "temporal_init_attn",
        "fs_embedding",
    }
    assert report["left_out"] == []


def test_what_is_loaded_has_the_values_of_the_source(image_model):
    model, _ = small()
    (report,) = hand_over(model, [{"from": str(image_model)}], None)
    source, found = load_file(image_model / "model.safetensors"), model.state_dict()
    for name in set(report["loaded"]) - set(report["reshaped"]):
        assert torch.equal(found[name], source[name]), name
    assert torch.equal(found[CONV_IN][:, :4], source[CONV_IN])
    assert not found[CONV_IN][:, 4:].any()
    latents = source["image_proj_model.latents"]
    assert torch.equal(found["image_proj_model.latents"], latents.repeat(1, 2, 1))


def test_new_is_what_no_source_so_far_held(image_model):
    model, _ = small()
    sources = [
        {"from": str(image_model), "groups": ["spatial"]},
        {"from": str(image_model), "groups": ["time_embed", "autoencoder"]},
    ]
    first, second = hand_over(model, sources, None)
    assert "time_embed" in {parameter_group(name) for name in first["new"]}
    groups = {parameter_group(name) for name in second["new"]}
    assert not groups & {"spatial", "time_embed", "autoencoder"}
    assert second["groups"] == ["autoencoder", "time_embed"]


def test_a_source_without_the_groups_asked_for_is_refused(image_model):
    model, _ = small()
    with pytest.raises(InputError, match=r"holds no tensor of temporal_conv$"):
        hand_over(model, [{"from": str(image_model), "groups": ["temporal_conv"]}], None)


def test_the_first_stage_cannot_start_from_the_previous_one():
    model, _ = small()
    with pytest.raises(InputError, match="the first stage has no previous one"):
        hand_over(model, [{"from": "previous"}], None)


def test_another_noise_schedule_is_noted(image_model, tmp_path):
    model, _ = small(schedule={"parameterization": "eps"})
    (report,) = hand_over(model, [{"from": str(image_model)}], None)
    assert report["other_schedule"] == str(image_model)
    assert "NOTE" in report_line(report)
    same, _ = small()
    (report,) = hand_over(same, [{"from": str(image_model)}], None)
    assert report["other_schedule"] is None
    assert "NOTE" not in report_line(report)


def test_a_released_checkpoint_tells_its_schedule(tmp_path):
    """The 0.7 of the dynamic rescale makes it the 512 model; the 1024 model has 0.3."""
    model, _ = small()
    save_weights(tmp_path / "official.ckpt", model.official_state_dict())
    other, _ = small(schedule={"parameterization": "v", "zero_snr": True, "base_scale": 0.3})
    source = [{"from": str(tmp_path / "official.ckpt")}]
    assert hand_over(other, source, None)[0]["other_schedule"] == "dynamicrafter_512"
    assert hand_over(model, source, None)[0]["other_schedule"] is None


def test_reports_are_written_and_told_in_a_line_each(image_model, tmp_path, capsys):
    model, _ = small()
    reports = hand_over(model, [{"from": str(image_model)}], None)
    save_reports(tmp_path, reports)
    assert json.loads((tmp_path / "handover.json").read_text()) == reports
    (line,) = capsys.readouterr().err.splitlines()
    count = len(reports[0]["loaded"])
    assert line.startswith(f"from model.safetensors: {count} tensors loaded, 2 of them reshaped, 0")
    assert "fs_embedding (4)" in line


def test_groups_of_tensors():
    names = dict.fromkeys(["image_proj_model.latents", CONV_IN])
    assert list(of_groups(names, ["spatial"])) == [CONV_IN]
    assert of_groups(names, None) == names
    assert of_groups(names, []) == {}
