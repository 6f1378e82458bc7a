"""The golden files: figures of the official classes, their configuration, and the tolerances."""

import json
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import load_file

FOLDER = Path(__file__).parents[1] / "golden" / "model"
NETWORK = 2e-5
SCHEDULE = 5e-6
GUIDED = 1e-4


def tensors(name):
    return load_file(FOLDER / f"{name}.safetensors")


def config(name):
    with safe_open(FOLDER / f"{name}.safetensors", "pt") as file:
        return json.loads(file.metadata()["config"])


def state_dict(name, prefix="sd."):
    stored = tensors(name).items()
    return {key.removeprefix(prefix): v.float() for key, v in stored if key.startswith(prefix)}


def assert_close(value, expected, tolerance):
    """Largest difference over largest magnitude, as the tolerances are meant."""
    assert value.shape == expected.shape
    finite = torch.isfinite(expected)
    assert torch.equal(finite, torch.isfinite(value))
    value, expected = value[finite].double(), expected[finite].double()
    error = (value - expected).abs().max() / expected.abs().max().clamp(min=1e-30)
    assert error <= tolerance, f"relative error {error:.2e} > {tolerance:.0e}"
