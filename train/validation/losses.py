"""Losses on fixed clips under fixed noise, by slices of the timesteps and dropped conditions.

The loss of a training step is mostly the luck of its timesteps and clips. Here both are fixed, so
that a difference between two steps, or two runs, is one of the model. The four modes tell what each
condition is worth: the loss without it, less the loss with it, under the same noise.
"""

from collections.abc import Iterator, Sequence
from typing import TypedDict

import torch
from torch import Tensor

from dynamicrafter import draws
from dynamicrafter.diffusion.schedule import TIMESTEPS
from dynamicrafter.model.animation import AnimationModel
from dynamicrafter.model.attention_ratio import recorded_attention
from train.data import Batch
from train.objectives import Corruption, Diffusion, Encoded
from train.validation.clips import FixedClip, joined, share_of
from train.validation.mode import evaluation_mode
from train.validation.settings import STREAM, Validation

FULL = "full"
MODES = {  # mode → whether the text is dropped, whether the image tokens are
    FULL: (False, False),
    "no_text": (True, False),
    "no_image": (False, True),
    "none": (True, True),
}


class LossRow(TypedDict):
    """One measurement; plain JSON.

    `attention` is ‖λ image‖ / ‖text‖ by layer, in mode `full` of a model with image stream, else
    empty.
    """

    key: str
    number: int
    stratum: int
    timestep: int
    mode: str
    loss: float
    attention: dict[str, float]


@torch.no_grad()
def validation_losses(
    model: AnimationModel,
    objective: Diffusion,
    fixed: Sequence[FixedClip],
    settings: Validation,
    share: tuple[int, int] = (0, 1),
) -> list[LossRow]:
    """The loss of every fixed clip in every stratum and mode.

    Noise, timestep and posterior are functions of (`settings.seed`, the clip's number, the
    stratum), so a row depends on the batch and the ranks by rounding only. A clip is encoded once.
    The latents of visual detail guidance are never dropped, as in training.

    Args:
        model: looked at in evaluation mode and put back; under autocast if the caller says so.
        objective: how the stage encodes clips and takes losses.
        fixed: from `load_fixed`.
        settings: see there.
        share: (rank, ranks); only the clips of this rank are returned, and every rank makes
            equally many passes.
    """
    share_clips = share_of(len(fixed), share)
    rows: list[LossRow] = []
    with evaluation_mode(model):
        for start in range(0, len(share_clips), settings.batch):
            part = share_clips[start : start + settings.batch]
            batch = joined([fixed[index] for index, _ in part])
            own = {n for n, (_, answers) in zip(batch.numbers, part, strict=True) if answers}
            found = _batch_losses(model, objective, batch, settings)
            rows += [row for row in found if row["number"] in own]
    return rows


def modes_of(model: AnimationModel) -> list[str]:
    """The modes that a model has: without image stream there is no image to drop."""
    sees_image = model.config.unet.image_context != "none"
    return [mode for mode, (_, drop_image) in MODES.items() if sees_image or not drop_image]


def stratum_bounds(stratum: int, strata: int) -> tuple[int, int]:
    """First timestep of a slice, and the first after it."""
    return stratum * TIMESTEPS // strata, (stratum + 1) * TIMESTEPS // strata


def _batch_losses(
    model: AnimationModel, objective: Diffusion, batch: Batch, settings: Validation
) -> Iterator[LossRow]:
    """The rows of some clips, which pass the model together."""
    chance = draws.BatchDraws(settings.seed, STREAM, batch.numbers)
    encoded = objective.encode(model, batch, chance)
    for stratum in range(settings.strata):
        low, high = stratum_bounds(stratum, settings.strata)
        timesteps = chance.integers(f"timestep-{stratum}", low, high)
        noise = chance.normal(f"noise-{stratum}", tuple(encoded.z.shape[1:])).to(encoded.z)
        for mode in modes_of(model):
            drawn = _corruption(encoded, timesteps, noise, mode)
            losses, ratios = _losses_and_ratios(model, objective, encoded, drawn, mode)
            for i, number in enumerate(batch.numbers):
                yield LossRow(
                    key=batch.keys[i],
                    number=number,
                    stratum=stratum,
                    timestep=int(timesteps[i]),
                    mode=mode,
                    loss=losses[i],
                    attention={layer: values[i] for layer, values in ratios.items()},
                )


def _losses_and_ratios(
    model: AnimationModel, objective: Diffusion, encoded: Encoded, drawn: Corruption, mode: str
) -> tuple[list[float], dict[str, list[float]]]:
    """Loss of each sample; in mode `full` also the ratios of its attention, layer by layer."""
    if mode != FULL:
        return objective.losses(model, encoded, drawn).tolist(), {}
    with recorded_attention(model.unet) as ratios:
        losses = objective.losses(model, encoded, drawn)
    return losses.tolist(), {layer: passes[0].tolist() for layer, passes in ratios.items()}


def _corruption(encoded: Encoded, timesteps: Tensor, noise: Tensor, mode: str) -> Corruption:
    drop_text, drop_image = (
        torch.full((len(timesteps),), drop, device=encoded.z.device) for drop in MODES[mode]
    )
    return Corruption(timesteps.to(encoded.z.device), noise, drop_text, drop_image)
