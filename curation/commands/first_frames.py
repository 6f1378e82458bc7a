"""First-frame leakage over some clips of a corpus, where there are videos and CLIP's weights."""

import heapq
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from curation.commands.captioned import of_info, place_of
from curation.measures import clip_model
from curation.publish.infos import shard_folders
from curation.purity.corpus import Mean
from curation.purity.first_frame import FirstFrame, first_frame
from dynamicrafter.errors import InputError, MediaError
from dynamicrafter.progress import progress
from dynamicrafter.shards import ShardReader

SECONDS = 60.0  # for the frames of a clip


def first_frames(plain: dict[str, Any]) -> dict[str, Any]:
    """Mean leakage and growth, of stock captions and motion captions, over a sample of the clips.

    Args:
        plain: the settings of conf/purity.yaml.

    Returns:
        {"absent": reason} where it cannot be measured, else the figures.

    Raises:
        MissingWeights: the file of weights does not fit the architecture.
    """
    settings = plain["first_frame"]
    if plain["table"] is not None:
        return {"absent": "a table holds no videos; name a run or a dataset"}
    if why := clip_model.missing("first_frame.checkpoint", settings["checkpoint"]):
        return {"absent": why}
    try:
        folders = shard_folders(place_of(plain["run"], plain["dataset"]))
    except InputError as error:
        return {"absent": str(error)}
    from dynamicrafter.media.isolation import Isolation

    clip = clip_model.load(settings["checkpoint"], settings["model"], settings["device"])
    sums = {side: {"leakage": Mean(), "growth": Mean()} for side in ("before", "after")}
    counts = {"clips": 0, "unreadable": 0}
    chosen = drawn(folders, settings["clips"], plain["seed"], "first frame")
    with (
        Isolation(1, SECONDS) as isolated,
        progress("first frame", total=len(chosen), unit="clips") as advance,
    ):
        for reader, index in chosen:
            advance(1)
            sample = reader[index]
            try:
                frames = isolated(
                    frames_of, sample.video, reader.entry(index).frames, settings["frames"]
                )
            except MediaError:
                counts["unreadable"] += 1
                continue
            counts["clips"] += 1
            images = clip_model.normalised(clip.images(frames))
            said = of_info(sample.key, sample.info)
            for side, text in (("before", said.original), ("after", said.wording)):
                _add(sums[side], first_frame(clip, images, text))
    means = {
        side: {name: mean.value for name, mean in own.items()} | {"captions": own["leakage"].n}
        for side, own in sums.items()
    }
    return {"model": settings["model"], "weights": clip.fingerprint, **counts, **means}


def drawn(
    folders: Sequence[Path], count: int, seed: int, name: str
) -> list[tuple[ShardReader, int]]:
    """(reader, sample) of `count` samples, drawn without replacement and in drawn order."""
    from dynamicrafter import draws

    readers = [ShardReader(folder) for folder in folders]
    places = ((reader, index) for reader in readers for index in range(len(reader)))
    keyed = ((draws.key(seed, number, name), place) for number, place in enumerate(places))
    return [place for _, place in heapq.nsmallest(count, keyed, key=lambda one: one[0])]


def frames_of(video: bytes, frames: int, count: int) -> np.ndarray:
    """At most `count` evenly spaced frames of a clip, the first among them: uint8 [n, h, w, 3]."""
    from dynamicrafter.media.decode import read_frames

    chosen = np.linspace(0, frames - 1, min(count, frames)).round().astype(int)
    return read_frames(video, chosen.tolist())


def _add(means: dict[str, Mean], found: FirstFrame | None) -> None:
    if found is not None:
        means["leakage"].add(found.leakage)
        means["growth"].add(found.growth)
