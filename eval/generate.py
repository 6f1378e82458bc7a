"""`dynamicrafter eval generate`: videos of another method for the inputs that `animate` had.

The run folder is that of `animate` (`dynamicrafter/produce.py`): `eval generated=FOLDER` and the
study read it. What the method is, its adapter knows (`eval/adapters`).
"""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dynamicrafter.command import command
from dynamicrafter.errors import InputError
from dynamicrafter.ranks import own_device, ranks_here
from eval.adapters import find

if TYPE_CHECKING:
    import numpy as np
    from omegaconf import DictConfig

    from dynamicrafter.items import Item
    from dynamicrafter.produce import Advance

main = command("eval_generate", "eval.generate")


def inputs(config: "DictConfig") -> dict[str, str]:
    """Digests of the method's weights and of the images; what can be refused early is."""
    from dynamicrafter.items import digest
    from dynamicrafter.produce import reading_of

    adapter = find(config.adapter)
    adapter.settings(config)
    reading_of(config)
    return {"model": adapter.digest(config), "images": digest(str(config.image))}


def leads(config: "DictConfig") -> bool:
    """Whether this process, of those that torchrun started, holds the run folder."""
    return ranks_here().leads


def run(config: "DictConfig", folder: Path) -> dict[str, Any]:
    """Make the videos of `config` in `folder`; those that are there already are kept.

    Raises:
        InputError: settings, a model or items that cannot be used.
        MachineError: another process has made no video for an hour.
    """
    from dynamicrafter.produce import Maker, prepare, produce, reading_of

    prepare(config)
    adapter = find(config.adapter)
    settings = {
        "adapter": config.adapter,
        **adapter.settings(config),
        **asdict(reading_of(config)),
        "fps": config.fps,
        **inputs(config),
    }
    items = _items(config)
    device = own_device(config.device, ranks_here())
    generate = adapter.load(config, device)

    def make(batch: "Sequence[Item]", advance: "Advance") -> "list[np.ndarray]":
        videos = generate(batch)
        advance(len(batch))
        return videos

    return produce(config, folder, "generate", items, settings, Maker(make, str(device)))


def _items(config: "DictConfig") -> "list[Item]":
    """The inputs, fitted to the config's resolution."""
    from dynamicrafter.items import read_items
    from dynamicrafter.produce import reading_of

    prompt = None if config.prompt is None else str(config.prompt)
    items = read_items(
        str(config.image),
        prompt,
        config.count,
        tuple(config.resolution),
        reading=reading_of(config),
    )
    if ends := [item.key for item in items if item.last is not None]:
        raise InputError(f"{ends[0]} has a last image; adapters make videos from the first alone")
    return items
