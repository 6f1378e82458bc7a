"""The data sets that a train config names, and how a stage of its recipe looks at them."""

import math
from dataclasses import replace
from pathlib import Path

from omegaconf import DictConfig, ListConfig, OmegaConf, open_dict

from dynamicrafter.assets import cache_folder
from dynamicrafter.errors import InputError
from dynamicrafter.shards import BlockCache, ShardReader
from dynamicrafter.shards.sample import CATEGORY
from train.data.clips import ClipFrames, Clips, DataSet
from train.data.windows import MOTION, ClipWindows, Window


def open_clips(config: DictConfig) -> Clips:
    """Open what `config` trains on.

    Args:
        config: of `train`; read are `data`, `balance`, `shuffle_shards`, `cache`, `keep_decoded`,
            `verify_data` and `model.resolution`.

    Raises:
        InputError: a setting or a shard folder that cannot be used.
        MachineError: a store cannot be reached.
    """
    if config.shuffle_shards < 1:
        raise InputError(f"shuffle_shards={config.shuffle_shards}; it must be at least 1")
    named, balance, cache = _named(config.data), _balance(config.balance), _cache(config.cache)
    size = tuple(config.model.resolution)
    sets = []
    for path, weight in named:
        reader = ShardReader(path, config.verify_data, cache)
        name = "data" if len(named) == 1 else f"data/{path}"
        sets.append(DataSet(name, ClipFrames(reader, size, config.keep_decoded), weight))
    return Clips(tuple(sets), config.shuffle_shards, balance)


def open_held_out(config: DictConfig) -> Clips:
    """Open what `config` validates on: `validation`, otherwise as `open_clips`."""
    held_out = config.copy()
    with open_dict(held_out):
        held_out.data, held_out.balance = config.validation, None
    return open_clips(held_out)


def stage_windows(clips: Clips, config: DictConfig, stage: str) -> ClipWindows:
    """What a stage of `config.recipe` trains on: windows of `clips`, with the text of `captions`.

    Raises:
        InputError: no clip of a data set is long enough, or no such captions.
    """
    captions = config.get("captions", MOTION)  # runs of before this setting have none
    window = replace(stage_window(config, stage), captions=captions)
    return ClipWindows(clips, config.seed, stage, window)


def stage_window(config: DictConfig, stage: str) -> Window:
    """How a stage of `config.recipe` looks at a clip, with its motion caption."""
    own = config.recipe[stage]
    frames = OmegaConf.select(own, "model.frames", default=config.model.frames)
    return Window(frames, tuple(own.frame_stride))


def _named(data: str | ListConfig) -> list[tuple[str, float | None]]:
    """Path or URL and weight of each data set."""
    if isinstance(data, str):
        return [(data, None)]
    named: list[tuple[str, float | None]] = []
    for one in data if isinstance(data, ListConfig) else [data]:
        own = dict(one) if isinstance(one, DictConfig) else {"path": one}
        path, weight = own.pop("path", None), own.pop("weight", None)
        if own or not isinstance(path, str):
            raise InputError(f"data={one}: a data set is a path, or {{path: …, weight: …}}")
        if weight is not None and not (math.isfinite(weight) and weight > 0):
            raise InputError(f"data: the weight of {path} is {weight}; it must be above 0")
        named.append((path, weight))
    paths = [path for path, _ in named]
    if not paths or len(set(paths)) < len(paths):
        raise InputError(f"data={', '.join(paths)}: name at least one data set, and each once")
    if len({weight is None for _, weight in named}) > 1:
        raise InputError("data: give every data set a weight, or none (then their clips count)")
    return named


def _balance(balance: DictConfig | None) -> float | None:
    if balance is None:
        return None
    if balance.column != CATEGORY:
        raise InputError(f"balance.column={balance.column}; data can be balanced by {CATEGORY}")
    if not 0 <= balance.power <= 1:
        raise InputError(f"balance.power={balance.power}; it lies between 0 (equal) and 1 (as is)")
    return float(balance.power)


def _cache(cache: DictConfig) -> BlockCache:
    if not cache.gigabytes >= 0:
        raise InputError(f"cache.gigabytes={cache.gigabytes}; it must be 0 or more")
    folder = Path(cache.folder).expanduser() if cache.folder else cache_folder() / "shards"
    return BlockCache(folder, int(cache.gigabytes * 1e9))
