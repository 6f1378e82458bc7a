"""A CLIP network of a tiny architecture with random weights, as OpenCLIP makes it."""

import json

import open_clip
import safetensors.torch
import torch

NAME = "toolkit-tiny"
CONFIG = {
    "embed_dim": 16,
    "vision_cfg": {"image_size": 32, "layers": 2, "width": 64, "patch_size": 8, "head_width": 32},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 2},
}


def make_tiny_clip(folder):
    """The network; its weights lie in `<folder>/tiny.safetensors`."""
    (folder / f"{NAME}.json").write_text(json.dumps(CONFIG))
    open_clip.add_model_config(folder)
    torch.manual_seed(0)
    model = open_clip.create_model(NAME).eval()
    safetensors.torch.save_model(model, folder / "tiny.safetensors")
    return model
