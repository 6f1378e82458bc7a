"""`dynamicrafter animate`: items from files, videos into files.

    <run_dir>/videos/<key>.mp4     H.264
                     <key>.json    prompt, all settings, what the model is, warnings, seconds
    <run_dir>/items.json           the settings and every item: what `eval` reads

A video whose settings did not change is kept; a stopped run goes on with those that are missing.
Under torchrun every process animates its share of the items, on its own GPU; a video is the same
whichever process made it.
"""

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf

from dynamicrafter import files, tracking
from dynamicrafter.animate import Animator, Sampling
from dynamicrafter.command import say
from dynamicrafter.errors import InputError, MachineError
from dynamicrafter.items import Item, Reading, digest, read_items
from dynamicrafter.media.encode import encode_mp4
from dynamicrafter.model import pretrained
from dynamicrafter.model.animation import AnimationConfig
from dynamicrafter.progress import progress
from dynamicrafter.ranks import Ranks, own_device, ranks_here

LONGEST_WAIT_S = 3600.0  # for the next video of another process

Show = Callable[[Path, str], None]


def inputs(config: DictConfig) -> dict[str, str]:
    """Digests of the model and of the images; everything that can be refused early is."""
    found = pretrained.find(config.pretrained, config.kind)
    sampling_of(config).resolved(AnimationConfig.from_dict(found.config))
    reading_of(config)
    return {"model": found.digest, "images": digest(str(config.image), config.last_image)}


def leads(config: DictConfig) -> bool:
    """Whether this process, of those that torchrun started, holds the run folder."""
    return ranks_here().leads


def run(config: DictConfig, folder: Path) -> dict[str, Any]:
    """Animate the items of `config` into `folder`; items that are there already are kept.

    Raises:
        InputError: settings, a model or items that cannot be used.
        MachineError: another process has made no video for an hour.
    """
    if config.batch < 1:
        raise InputError(f"batch is {config.batch}; choose at least 1 video at a time")
    if config.threads:
        torch.set_num_threads(config.threads)
    found = pretrained.find(config.pretrained, config.kind)
    model_config = AnimationConfig.from_dict(found.config)
    items = items_of(config, model_config.resolution, config.count)
    animator = animator_of(config, found)
    sampling = animator.check(items, sampling_of(config))
    warnings = sampling.warnings(model_config)
    for warning in warnings:
        say(f"warning: {warning}")
    settings = video_settings(config, sampling, animator, inputs(config))
    identity = files.sha256_json(settings)

    ranks = ranks_here()
    share = items[ranks.rank :: ranks.count]
    done = [item for item in items if is_done(folder, item, identity)]
    kept = {item.key for item in done}
    waiting = [item for item in share if item.key not in kept]
    steps, began_with = sampling.steps, len(share) - len(waiting)
    with (
        _tracker(config, folder, ranks) as show,
        progress("animate", len(share) * steps, "steps", start=began_with * steps) as advance,
    ):
        for start in range(0, len(waiting), config.batch):
            batch = waiting[start : start + config.batch]
            began = time.monotonic()
            size = len(batch)
            videos = animator.batch(batch, sampling, lambda _, size=size: advance(size))
            seconds = round((time.monotonic() - began) / size, 2)
            record = {"settings": settings, "digest": identity, "seconds": seconds}
            record |= {"warnings": warnings, "device": str(animator.placement.device)}
            for item, video in zip(batch, videos, strict=True):
                show(write_video(folder, item, video, config.fps, record), item.prompt)
        if not ranks.leads:
            return {}
        own = {item.key for item in share}
        others = [item for item in items if item.key not in own | kept]
        for item in _as_they_come(others, lambda item: is_done(folder, item, identity)):
            show(folder / _video_name(item), item.prompt)
    write_items(folder, items, settings)
    return {"videos": len(items), "reused": len(done), "warnings": warnings}


@contextlib.contextmanager
def _tracker(config: DictConfig, folder: Path, ranks: Ranks) -> Iterator[Show]:
    """A function that shows a video in W&B; of several processes the leading one alone does."""
    if not ranks.leads:
        yield lambda path, prompt: None
        return
    plain = OmegaConf.to_container(config, resolve=True)
    with tracking.open_run(config.tracking, folder, "animate", plain) as tracker:
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


def reading_of(config: DictConfig) -> Reading:
    """How a config wants its images and prompts to be read."""
    return Reading(config.fit, config.background, config.long_prompts)


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
