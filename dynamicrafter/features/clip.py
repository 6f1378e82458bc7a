"""CLIP image and text embeddings for CLIP-SIM, through OpenCLIP and from a local file."""

import pickle
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image
from safetensors import SafetensorError

from dynamicrafter.errors import InputError
from dynamicrafter.features import MissingWeights
from dynamicrafter.features.network import Extract, Network, frame_extractor
from dynamicrafter.files import file_digest

if TYPE_CHECKING:
    import torch


def clip_images_network(path: str | Path, name: str = "ViT-B-32") -> Network:
    """CLIP's images as a feature network: windows → an embedding a frame, `[b, t, d]`.

    The embeddings of texts come from `load_clip(path, name).texts`. Frames are resized on the CPU
    by the library that CLIP was trained with, for its bicubic has no equal on a GPU to the bit.

    Raises:
        MissingWeights: there is no such file.
    """
    _require(path, name)

    def load(device: "str | torch.device") -> Extract:
        return frame_extractor(load_clip(path, name, device).images)

    return Network(f"openclip-{name}", _fingerprint(path, name), "all frames", load)


def load_clip(
    checkpoint: str | Path, name: str = "ViT-B-32", device: "str | torch.device" = "cpu"
) -> "Clip":
    """An OpenCLIP model with the weights of a local file; nothing is downloaded.

    Args:
        checkpoint: safetensors, or a PyTorch file of tensors alone.
        name: OpenCLIP's name of the architecture; the original weights need `ViT-B-32-quickgelu`.
        device: where it runs.

    Raises:
        MissingWeights: there is no such file, or it does not fit the architecture.
        InputError: OpenCLIP does not know the architecture.
    """
    import open_clip

    _require(checkpoint, name)
    if name not in open_clip.list_models():
        raise InputError(f"OpenCLIP knows no architecture {name!r}")
    model, _, transform = open_clip.create_model_and_transforms(
        name, load_weights=False, device=device
    )
    try:
        open_clip.load_checkpoint(model, str(checkpoint))
    except (RuntimeError, pickle.UnpicklingError, SafetensorError, LookupError, EOFError) as error:
        reason = " ".join(str(error).split())[:200]
        raise MissingWeights(f"{checkpoint} does not hold weights of {name}: {reason}") from None
    model.eval().requires_grad_(False)
    tokenizer = open_clip.get_tokenizer(name)
    return Clip(model, transform, tokenizer, _fingerprint(checkpoint, name))


def _require(checkpoint: str | Path, name: str) -> None:
    if not Path(checkpoint).is_file():
        raise MissingWeights(
            f"no CLIP weights at {checkpoint}; put an OpenCLIP checkpoint of {name} there"
        )


def _fingerprint(checkpoint: str | Path, name: str) -> str:
    return f"openclip/{name}/{file_digest(checkpoint)}"


class Clip:
    """Embeddings as the model gives them, not normalised. `fingerprint` names the weights."""

    def __init__(self, model, transform, tokenizer, fingerprint: str):
        self.model = model
        self.transform = transform
        self.tokenizer = tokenizer
        self.fingerprint = fingerprint

    def images(self, frames: np.ndarray, batch: int = 32) -> np.ndarray:
        """Frames uint8 `[n, h, w, 3]` → float32 `[n, d]`."""
        import torch

        parts = []
        for start in range(0, len(frames), batch):
            images = [Image.fromarray(frame) for frame in frames[start : start + batch]]
            pixels = torch.stack([self.transform(image) for image in images])  # [b, 3, size, size]
            with torch.inference_mode():
                embeds = self.model.encode_image(pixels.to(self._device()))
            parts.append(embeds.float().cpu().numpy())
        return np.concatenate(parts)

    def texts(self, texts: Sequence[str]) -> np.ndarray:
        """Texts → float32 `[n, d]`."""
        import torch

        tokens = self.tokenizer(list(texts)).to(self._device())  # [n, 77]
        with torch.inference_mode():
            return self.model.encode_text(tokens).float().cpu().numpy()

    def _device(self) -> "torch.device":
        return next(self.model.parameters()).device
