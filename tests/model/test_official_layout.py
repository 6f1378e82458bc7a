"""Full-size models on the meta device: names, shapes, counts and groups are the official ones."""

import json
from pathlib import Path

import pytest
import torch

from dynamicrafter.diffusion.schedule import ScheduleConfig
from dynamicrafter.model.animation import AnimationConfig, AnimationModel
from dynamicrafter.model.names import official_name, parameter_group
from dynamicrafter.model.unet import UNet, UNetConfig

KEYS = Path(__file__).parents[1] / "golden" / "keys"
CONFIGS = {
    "256": AnimationConfig(unet=UNetConfig(learned_gate=True, default_fs=3)),
    "512": AnimationConfig(
        schedule=ScheduleConfig(parameterization="v", zero_snr=True, base_scale=0.7)
    ),
    "1024": AnimationConfig(
        schedule=ScheduleConfig(parameterization="v", zero_snr=True, base_scale=0.3)
    ),
}


def read(name):
    return json.loads((KEYS / f"{name}.json").read_text())


def shapes(tensors):
    return {name: list(tensor.shape) for name, tensor in tensors.items()}


@pytest.mark.parametrize("resolution", list(CONFIGS))
def test_whole_model_has_the_official_state_dict(resolution):
    expected = read(f"keys{resolution}")
    with torch.device("meta"):
        model = AnimationModel(CONFIGS[resolution])
    assert shapes(model.official_state_dict()) == expected["state_dict"]
    parts = {name: sum(p.numel() for p in m.parameters()) for name, m in model.named_children()}
    assert parts == expected["param_counts"]

    groups = {name: parameter_group(name) for name in model.unet.state_dict()}
    assert groups == expected["unet_key_group"]
    prefixed = {parameter_group(f"model.diffusion_model.{name}") for name in groups}
    assert prefixed == set(groups.values())
    trained = {parameter_group(n) for n, p in model.named_parameters() if p.requires_grad}
    assert trained == prefixed | {"image_projector"}


def test_image_model_has_the_names_of_stable_diffusion():
    config = UNetConfig(in_channels=4, temporal=False, image_context="none")
    with torch.device("meta"):
        model = UNet(config)
    golden = read("keys_sd21")
    stored = golden["sd21_unet_state_dict"]
    assert {official_name(name): shape for name, shape in stored.items()} == shapes(
        model.state_dict()
    )
    renamed = {name: official_name(name) for name in stored if official_name(name) != name}
    assert renamed == golden["map_to_dynamicrafter"]


def test_official_names_stay():
    names = read("keys256")["state_dict"]
    assert [official_name(name) for name in names] == list(names)
