"""Items into a folder of videos: the run that `animate` and adapters of other methods share.

    <run_dir>/videos/<key>.mp4     H.264
                     <key>.json    prompt, all settings, what the model is, warnings, seconds
    <run_dir>/items.json           the settings and every item: what `eval` reads

A video whose settings did not change is kept; a stopped run goes on with those that are missing.
Under torchrun every process makes its share of the items, on its own GPU. A video is the same
whichever process made it, as long as the maker's depends on the item and the settings alone.
"""

import contextlib
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from omegaconf import DictConfig, OmegaConf

from dynamicrafter import files, tracking
from dynamicrafter.errors import InputError, MachineError
from dynamicrafter.items import Item, Reading
from dynamicrafter.media.encode import encode_mp4
from dynamicrafter.progress import progress
from dynamicrafter.ranks import Ranks, ranks_here

LONGEST_WAIT_S = 3600.0  # for the next video of another process

Advance = Callable[[int], None]
Show = Callable[[Path, str], None]


@dataclass(frozen=True)
class Maker:
    """What makes videos, and how its work is counted.

    Attributes:
        make: (items, advance) → for each item uint8 `[t, h, w, 3]`. On the way it calls
            `advance(n)`, in sum `steps` for every item.
        device: where it computes, for the record.
        steps: units of work that a video takes.
        unit: their name in the plural.
        warnings: what a person should know of each video.
    """

    make: Callable[[Sequence[Item], Advance], Iterable[np.ndarray]]
    device: str
    steps: int = 1
    unit: str = "videos"
    warnings: Sequence[str] = ()


def prepare(config: DictConfig) -> None:
    """Set what concerns the whole process, before a model is loaded.

    Raises:
        InputError: a batch that holds nothing.
    """
    if config.batch < 1:
        raise InputError(f"batch is {config.batch}; choose at least 1 video at a time")
    if config.threads:
        torch.set_num_threads(config.threads)


def leads(config: DictConfig) -> bool:
    """Whether this process, of those that torchrun started, holds the run folder."""
    return ranks_here().leads


def reading_of(config: DictConfig) -> Reading:
    """How a config wants its images and prompts to be read."""
    return Reading(config.fit, config.background, config.long_prompts)


def produce(
    config: DictConfig,
    folder: Path,
    verb: str,
    items: Sequence[Item],
    settings: dict[str, Any],
    maker: Maker,
) -> dict[str, Any]:
    """Make the videos of this process's share of the items; those that are there are kept.

    The leading process waits for the others and writes `items.json`.

    Args:
        config: its `batch`, `fps` and `tracking` are used.
        folder: the run folder.
        verb: of the command, for the progress and W&B.
        items: of all processes; their keys differ.
        settings: all that decides a video beside its item; a video made under others is made anew.
        maker: makes them.

    Returns:
        The summary of the run; of a process that does not lead, an empty one.

    Raises:
        MachineError: another process has made no video for an hour.
    """
    identity = files.sha256_json(settings)
    ranks = ranks_here()
    share = items[ranks.rank :: ranks.count]
    done = [item for item in items if is_done(folder, item, identity)]
    kept = {item.key for item in done}
    waiting = [item for item in share if item.key not in kept]
    total, began_with = len(share) * maker.steps, (len(share) - len(waiting)) * maker.steps
    with (
        _tracker(config, folder, verb, ranks) as show,
        progress(verb, total, maker.unit, start=began_with) as advance,
    ):
        for start in range(0, len(waiting), config.batch):
            batch = waiting[start : start + config.batch]
            began = time.monotonic()
            videos = maker.make(batch, advance)
            seconds = round((time.monotonic() - began) / len(batch), 2)
            record = {"settings": settings, "digest": identity, "seconds": seconds}
            record |= {"warnings": list(maker.warnings), "device": maker.device}
            for item, video in zip(batch, videos, strict=True):
                show(write_video(folder, item, video, config.fps, record), item.prompt)
        if not ranks.leads:
            return {}
        own = {item.key for item in share}
        others = [item for item in items if item.key not in own | kept]
        for item in _as_they_come(others, lambda item: is_done(folder, item, identity)):
            show(folder / _video_name(item), item.prompt)
    write_items(folder, items, settings)
    return {"videos": len(items), "reused": len(done), "warnings": list(maker.warnings)}


@contextlib.contextmanager
def _tracker(config: DictConfig, folder: Path, verb: str, ranks: Ranks) -> Iterator[Show]:
    """A function that shows a video in W&B; of several processes the leading one alone does."""
    if not ranks.leads:
        yield lambda path, prompt: None
        return
    plain = OmegaConf.to_container(config, resolve=True)
    with tracking.open_run(config.tracking, folder, verb, plain) as tracker:
        yield lambda path, prompt: tracker.video("videos", path, prompt)


def _as_they_come(items: Sequence[Item], is_there: Callable[[Item], bool]) -> Iterator[Item]:
    """The items, each once it is there.

    Raises:
        MachineError: none has come for `LONGEST_WAIT_S`.
    """
    missing, last = list(items), time.monotonic()
    while missing:
        found = [item for item in missing if is_there(item)]
        missing = [item for item in missing if item not in found]
        yield from found
        if found:
            last = time.monotonic()
        elif time.monotonic() - last > LONGEST_WAIT_S:
            raise MachineError(
                f"no other process has made a video for {LONGEST_WAIT_S:.0f} s, {len(missing)} are "
                "missing; see what they say, then start all of them again: whole videos are kept"
            )
        if missing:
            time.sleep(0.2)


def write_video(folder: Path, item: Item, video: Any, fps: float, record: dict[str, Any]) -> Path:
    """Write one video and, once it is whole, the JSON that speaks of it; returns its path."""
    name = _video_name(item)
    path = folder / name
    path.with_suffix(".json").unlink(missing_ok=True)  # it spoke of the old video
    files.write_bytes(path, encode_mp4(video, fps))
    own = {"key": item.key, "prompt": item.prompt, "video": name}
    files.write_json(path.with_suffix(".json"), {**own, **record})
    return path


def _video_name(item: Item) -> str:
    return f"videos/{item.key}.mp4"


def is_done(folder: Path, item: Item, identity: str) -> bool:
    """Whether `folder` holds the whole video of an item under the settings of this identity."""
    path = folder / "videos" / f"{item.key}.json"
    if not (path.exists() and path.with_suffix(".mp4").exists()):
        return False
    record = files.read_json(path)
    return record["digest"] == identity and record["prompt"] == item.prompt


def write_items(folder: Path, items: Sequence[Item], settings: dict[str, Any]) -> None:
    """Write `items.json` from the records of all items."""
    records = [files.read_json(folder / "videos" / f"{item.key}.json") for item in items]
    files.write_json(folder / "items.json", {"settings": settings, "items": records})
