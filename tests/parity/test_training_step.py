"""One whole training step, every draw given, in the five official configurations."""

import pytest
import torch

from . import adapter, golden

CONFIG = golden.config("train_step")


@pytest.mark.parametrize("name", list(CONFIG["cases"]))
def test_training_step(name):
    case = {**CONFIG["common"], **CONFIG["cases"][name]}
    figures = golden.tensors("train_step")
    unet = case["unet"]
    resampler = golden.state_dict("train_step", "resampler.sd.")
    weights = {
        "unet": (golden.config(unet)["params"], golden.state_dict(f"{unet}.weights")),
        "vae": (golden.config("vae"), golden.state_dict("vae")),
        "resampler": (CONFIG["resampler"], resampler),
    }
    inputs = {k.removeprefix("in."): v for k, v in figures.items() if k.startswith("in.")}
    result = adapter.training_step(case, weights, inputs)

    for key in ("z", "c_concat", "image_tokens", "x_noisy", "model_out", "loss"):
        golden.assert_close(result[key], figures[f"{name}.{key}"], golden.NETWORK)
    assert torch.equal(result["fs"], figures[f"{name}.fs"])
    norms = result["unet_grad_norms"]
    ordered = torch.stack([norms[key] for key in golden.config(unet)["grad_param_order"]])
    golden.assert_close(ordered, figures[f"{name}.unet_grad_norms"], golden.NETWORK)
    # The file lists the resampler's norms in the order of its parameters: itself, then the layers.
    ordered = torch.stack(list(result["resampler_grad_norms"].values()))
    golden.assert_close(ordered, figures[f"{name}.resampler_grad_norms"], golden.NETWORK)
