"""How much people would like the picture, as a linear head over CLIP image embeddings guesses.

The head is one that was fitted to people's scores of images (LAION's are over ViT-L/14); it rates
single frames and knows nothing of motion.
"""

import functools
import pickle
from dataclasses import dataclass
from typing import Any

import numpy as np

from curation.measures import clip_model
from curation.measures.contract import Column, Footage, Measure
from dynamicrafter.files import sha256_json


@dataclass(frozen=True)
class AestheticSettings:
    """`aesthetic` of conf/measures, where each setting is explained."""

    checkpoint: str | None
    model: str
    head: str | None
    frames: int
    device: str


@functools.cache
def load_head(path: str) -> tuple[np.ndarray, float]:
    """Weight [d] and bias of a linear head.

    Args:
        path: safetensors, or a PyTorch file of tensors alone: `weight` [1, d] and `bias` [1].

    Raises:
        MissingWeights: the file holds something else.
    """
    import safetensors.torch
    import torch

    from dynamicrafter.features import MissingWeights

    try:
        if path.endswith(".safetensors"):
            tensors = safetensors.torch.load_file(path)
        else:
            tensors = torch.load(path, map_location="cpu", weights_only=True)
        weight, bias = (tensors[name].float().numpy() for name in ("weight", "bias"))
        if weight.ndim != 2 or weight.shape[0] != 1 or bias.shape != (1,):
            raise LookupError(f"weight {weight.shape}, bias {bias.shape}")
    except (
        *(AttributeError, EOFError, LookupError, RuntimeError, TypeError, ValueError),
        *(pickle.UnpicklingError, safetensors.SafetensorError),
    ) as error:
        reason = " ".join(str(error).split())[:200]
        raise MissingWeights(f"{path} holds no weight [1, d] and bias [1]: {reason}") from None
    return weight[0], float(bias[0])


def measure(footage: Footage, settings: AestheticSettings) -> dict[str, Any]:
    """The mean score of the frames."""
    from dynamicrafter.features import MissingWeights

    if settings.checkpoint is None or settings.head is None:
        return {"aesthetic": None}
    weight, bias = load_head(settings.head)
    clip = clip_model.load(settings.checkpoint, settings.model, settings.device)
    images = clip_model.frame_embeddings(clip, footage.frames, settings.frames)  # [n, d]
    if images.shape[1] != len(weight):
        raise MissingWeights(
            f"{settings.head} is a head over {len(weight)} values, "
            f"{settings.model} gives {images.shape[1]}; set measures.aesthetic.model"
        )
    return {"aesthetic": float((images @ weight + bias).mean())}


def _absent(settings: AestheticSettings) -> str:
    return clip_model.missing(
        "measures.aesthetic.checkpoint", settings.checkpoint
    ) or clip_model.missing("measures.aesthetic.head", settings.head)


MEASURE = Measure(
    name="aesthetic",
    version=1,
    columns={"aesthetic": Column("score of the named head, about 1 to 10")},
    compute=measure,
    settings=AestheticSettings,
    absent=_absent,
    weights=lambda settings: sha256_json(
        [clip_model.digest(settings.checkpoint), clip_model.digest(settings.head)]
    ),
)
