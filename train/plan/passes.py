"""The passes that a training step is made of, each on paper for one clip (see `ledger.py`).

Everything is cached for the life of the process: a plan asks for the same passes again and again.
"""

import functools
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from dynamicrafter.model.animation import AnimationConfig, AnimationModel
from dynamicrafter.model.dropout import keyed_dropout
from dynamicrafter.model.names import UNET_PREFIX, parameter_group
from train.handover import choose_trainable
from train.objectives import Corruption, Encoded, Reconstruction, predict
from train.plan.ledger import Ledger, run_forward, run_training
from train.precision import lower_frozen
from train.recompute import apply_recompute, recomputed_layers


@dataclass(frozen=True)
class Pass:
    """One pass over one clip, or one frame where a function says so.

    Attributes:
        moments: live bytes after every operator, int64 `[n, 3]`: what grows with the batch, what
            does not, gradients of weights.
        flop: of the whole pass; forward_flop: of its forward part.
        operators: about how many kernels are launched.
    """

    moments: np.ndarray
    flop: int
    forward_flop: int
    operators: int

    def peak(self, batch: int, gradients: int | None = None, copies: bool = True) -> int:
        """Bytes at the fullest moment, for a batch.

        Args:
            batch: clips.
            gradients: bytes of gradients that are there from the beginning, since the pass adds to
                them; None lets the pass make its own.
            copies: whether weights are copied into bf16 one by one, as autocast does.
        """
        growing, fixed, own = self.moments.T
        made = own if gradients is None else gradients
        return int((batch * growing + copies * fixed + made).max(initial=0))


@dataclass(frozen=True)
class Weights:
    """What a stage's model weighs.

    Attributes:
        parameters: by group, trained or not.
        trained: parameters that are trained.
        frozen: bytes of all other tensors, by part: unet, image_projector or an encoder.
        largest: parameters of the largest layer that is recomputed or sharded as one.
    """

    parameters: dict[str, int]
    trained: int
    frozen: dict[str, int]
    largest: int


def meta_model(config: dict[str, Any], trainable: Sequence[str], precision: str) -> AnimationModel:
    """A stage's model without bytes, in training mode, its frozen layers lowered for bf16."""
    with torch.device("meta"):
        model = AnimationModel(AnimationConfig.from_dict(config))
    choose_trainable(model, list(trainable))
    if precision == "bf16":
        lower_frozen(model)
    return model.train()


def weights(config: dict[str, Any], trainable: Sequence[str], precision: str) -> Weights:
    """Count a model's parameters and bytes."""
    return _weights(_key(config), tuple(trainable), precision)


def diffusion_pass(
    config: dict[str, Any], trainable: Sequence[str], recompute: str, precision: str
) -> Pass:
    """Image projection and U-Net forward and backward, for one clip."""
    return _diffusion(_key(config), tuple(trainable), recompute, precision)


def reconstruction_pass(config: dict[str, Any], trainable: Sequence[str], precision: str) -> Pass:
    """The autoencoder forward and backward, for one clip."""
    return _reconstruction(_key(config), tuple(trainable), precision)


def projection_pass(config: dict[str, Any], trainable: Sequence[str], precision: str) -> Pass:
    """The image projection alone, forward and, if it is trained, backward, for one clip."""
    return _projection(_key(config), tuple(trainable), precision)


def encoder_passes(config: dict[str, Any], precision: str) -> dict[str, Pass]:
    """Autoencoder for one frame, CLIP image tower for one image, CLIP text tower for one prompt."""
    return _encoders(_key(config), precision)


def _key(config: dict[str, Any]) -> str:
    """A model as a cache key, without what changes neither memory nor FLOP.

    The last two stages of the recipe differ by the condition latents alone: four more channels
    into the first convolution, less than 0.02 % of memory and FLOP, so both are counted with eight.
    """
    same = {"schedule": {}, "scale_factor": 1.0, "fs_means": "fps"}
    unet = {**config["unet"], "default_fs": 1}
    if unet.get("temporal", True):
        unet["in_channels"] = 8
    return json.dumps({**config, **same, "unet": unet}, sort_keys=True)


@functools.cache
def _weights(key: str, trainable: tuple[str, ...], precision: str) -> Weights:
    model = meta_model(json.loads(key), trainable, precision)
    parameters: dict[str, int] = {}
    frozen: dict[str, int] = {}
    for name, tensor in (*model.named_parameters(), *model.named_buffers()):
        group = parameter_group(name)
        parameters[group] = parameters.get(group, 0) + tensor.numel()
        if not tensor.requires_grad:
            part = "unet" if name.startswith(UNET_PREFIX) else group
            frozen[part] = frozen.get(part, 0) + tensor.numel() * tensor.element_size()
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    layers = (sum(p.numel() for p in x.parameters()) for x in recomputed_layers(model.unet))
    return Weights(parameters, trained, frozen, max(layers))


@functools.cache
def _diffusion(key: str, trainable: tuple[str, ...], recompute: str, precision: str) -> Pass:
    model = meta_model(json.loads(key), trainable, precision)
    apply_recompute(model.unet, recompute)
    shape = model.latent_shape(model.config.frames, *model.config.resolution)
    one, no = torch.zeros(1, dtype=torch.long, device="meta"), torch.zeros(1, dtype=torch.bool)
    z, text = _empty(1, *shape), _empty(1, 77, model.config.unet.context_dim)
    features = _features(model)
    encoded = Encoded(
        z=z,
        condition=z if model.config.sees_image_latents else None,
        text=text,
        no_text=text,
        features=features,
        no_features=features,
        speed=one if model.config.unet.temporal else None,
    )
    drawn = Corruption(timesteps=one, noise=z, drop_text=no.to("meta"), drop_image=no.to("meta"))

    def loss() -> Tensor:
        prediction, target = predict(model, encoded, drawn)
        return (prediction.float() - target).square().mean()

    with keyed_dropout(model.unet, 0, "plan", [0]):
        return _as_pass(run_training(model, loss, precision == "bf16"))


@functools.cache
def _reconstruction(key: str, trainable: tuple[str, ...], precision: str) -> Pass:
    model = meta_model(json.loads(key), trainable, precision)
    z, *latent = model.latent_shape(model.config.frames, *model.config.resolution)
    images = _empty(1, model.config.frames, 3, *model.config.resolution)
    noise = _empty(1, model.config.frames, z, *latent[1:])
    loss = functools.partial(Reconstruction().losses, model, images, noise)
    return _as_pass(run_training(model, lambda: loss().mean(), precision == "bf16"))


@functools.cache
def _projection(key: str, trainable: tuple[str, ...], precision: str) -> Pass:
    model = meta_model(json.loads(key), trainable, precision)
    projection, features = model.image_proj_model, _features(model)
    if projection is None:
        return _as_pass(Ledger(()))
    if "image_projector" not in trainable:
        ledger = run_forward(projection, lambda: projection(features), precision == "bf16")
        return _as_pass(ledger)
    loss = functools.partial(projection, features)
    return _as_pass(run_training(projection, lambda: loss().sum(), precision == "bf16"))


@functools.cache
def _encoders(key: str, precision: str) -> dict[str, Pass]:
    model = meta_model(json.loads(key), ["spatial"], precision)
    lowered = precision == "bf16"
    size = model.config.resolution
    image, latent = _empty(1, 3, *size), _empty(*model.latent_shape(1, *size)).transpose(0, 1)
    tokens = torch.zeros(1, 77, dtype=torch.long, device="meta")
    calls: dict[str, tuple[nn.Module | None, Any]] = {
        "autoencoder": (
            model.first_stage_model,
            lambda: model.first_stage_model.encode(image, latent),
        ),
        "image_encoder": (model.embedder, lambda: model.image_features(image)),
        "text_encoder": (model.cond_stage_model, lambda: model.cond_stage_model(tokens)),
    }
    return {
        name: _as_pass(run_forward(part, call, lowered))
        for name, (part, call) in calls.items()
        if part is not None
    }


def _features(model: AnimationModel) -> Tensor | None:
    """CLIP features of one image, as they reach the image projection."""
    if model.embedder is None:
        return None
    with torch.no_grad():
        return torch.empty_like(model.image_features(_empty(1, 3, *model.config.resolution)))


def _empty(*shape: int) -> Tensor:
    return torch.empty(shape, device="meta")


def _as_pass(ledger: Ledger) -> Pass:
    return Pass(ledger.moments(), ledger.flop, ledger.forward_flop, ledger.operators)
