"""`dynamicrafter animate`: items from files, videos into files.

The folder, resuming and several processes are as in `produce.py`.
"""

from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from omegaconf import DictConfig, OmegaConf

from dynamicrafter.animate import Animator, Sampling
from dynamicrafter.command import say
from dynamicrafter.items import Item, digest, read_items
from dynamicrafter.model import pretrained
from dynamicrafter.model.animation import AnimationConfig
from dynamicrafter.produce import Advance, Maker, prepare, produce, reading_of
from dynamicrafter.produce import leads as leads  # the command looks for it here
from dynamicrafter.ranks import own_device, ranks_here


def inputs(config: DictConfig) -> dict[str, str]:
    """Digests of the model and of the images; everything that can be refused early is."""
    found = pretrained.find(config.pretrained, config.kind)
    sampling_of(config).resolved(AnimationConfig.from_dict(found.config))
    reading_of(config)
    return {"model": found.digest, "images": digest(str(config.image), config.last_image)}


def run(config: DictConfig, folder: Path) -> dict[str, Any]:
    """Animate the items of `config` into `folder`; items that are there already are kept.

    Raises:
        InputError: settings, a model or items that cannot be used.
        MachineError: another process has made no video for an hour.
    """
    prepare(config)
    found = pretrained.find(config.pretrained, config.kind)
    model_config = AnimationConfig.from_dict(found.config)
    items = items_of(config, model_config.resolution, config.count)
    animator = animator_of(config, found)
    sampling = animator.check(items, sampling_of(config))
    warnings = sampling.warnings(model_config)
    for warning in warnings:
        say(f"warning: {warning}")

    def make(batch: Sequence[Item], advance: Advance) -> Iterable[np.ndarray]:
        return animator.batch(batch, sampling, lambda _: advance(len(batch)))

    settings = video_settings(config, sampling, animator, inputs(config))
    device = str(animator.placement.device)
    maker = Maker(make, device, sampling.steps, "steps", warnings)
    return produce(config, folder, "animate", items, settings, maker)


def sampling_of(config: DictConfig) -> Sampling:
    """The `sampling` part of a config, its types checked."""
    return OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(Sampling), config.sampling))


def animator_of(config: DictConfig, found: pretrained.Pretrained) -> Animator:
    """The animator of a model, placed as a config wants it."""
    device = str(own_device(config.device, ranks_here()))
    return Animator.from_pretrained(
        found, device=device, precision=config.precision, offload=config.offload
    )


def items_of(config: DictConfig, size: tuple[int, int], count: int | None = None) -> list[Item]:
    """What a config names, fitted to `size`, at most `count`."""
    return read_items(
        str(config.image),
        None if config.prompt is None else str(config.prompt),
        count,
        size,
        last_image=config.last_image,
        reading=reading_of(config),
    )


def video_settings(
    config: DictConfig, sampling: Sampling, animator: Animator, digests: dict[str, str]
) -> dict[str, Any]:
    """Everything that decides a video beside its own image and prompt."""
    return {
        **asdict(sampling),
        **asdict(reading_of(config)),
        "fps": config.fps,
        "precision": animator.placement.precision,
        **digests,
    }
