"""`dynamicrafter curate review`: a page on which people judge the captions of some clips.

review.html        the page            clips/<key>.mp4    its videos, as they lie in the shards
review.json        what is on it, which `review-score` reads

The page itself holds no picture: it may be sent to anybody, and whoever has the shards may have the
folder. Where a source does not let its media be passed on, page and terminal say so.
"""

import heapq
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from curation.clip import UNKNOWN
from curation.commands.captioned import (
    Captioned,
    digest_of,
    measure_of,
    number_of,
    of_info,
    place_of,
)
from curation.commands.first_frames import drawn
from curation.commands.review_page import Shown, page
from curation.publish.infos import iterate_infos, shard_folders
from curation.purity.score import purity
from dynamicrafter.command import command, say
from dynamicrafter.errors import InputError
from dynamicrafter.files import (
    inside,
    sha256_bytes,
    sha256_json,
    write_bytes,
    write_json,
    write_text,
)
from dynamicrafter.shards import ShardReader, may_be_passed_on

REVIEW, CLIPS = "review.json", "clips"
PICKS = ("random", "disagree", "impure", "lowest")
MOST = 2000  # clips of a page
CURVE = 2000  # values of a motion curve that are drawn

main = command("review", "curation.commands.review")


def inputs(config: Any) -> dict[str, str]:
    """Digest of the shards."""
    return {"captions": digest_of(config.run, config.dataset)}


def run(config: Any, folder: Path) -> dict[str, Any]:
    """Write the page that conf/review.yaml describes, its videos beside it.

    Raises:
        InputError: there are no shards, no such clips, or a setting cannot be used.
    """
    if config.pick not in PICKS:
        raise InputError(f"pick={config.pick}; choose one of {', '.join(PICKS)}")
    if not isinstance(config.count, int) or not 1 <= config.count <= MOST:
        raise InputError(f"count={config.count} is not from 1 to {MOST}")
    folders = shard_folders(place_of(config.run, config.dataset))
    places = choose(folders, config)
    if not places:
        raise InputError(f"pick={config.pick} finds no clip in {folders[0].parent}; pick others")
    shutil.rmtree(folder / CLIPS, ignore_errors=True)
    shown, digests = [], []
    for reader, index in places:
        sample, entry = reader[index], reader.entry(index)
        clip = of_info(sample.key, sample.info)
        if any(one.clip.key == clip.key for one in shown):
            raise InputError(
                f"two clips have the key {clip.key}, one in {reader.folder}; pass one shard folder "
                "as dataset="
            )
        write_bytes(inside(folder / CLIPS, f"{sample.key}.mp4"), sample.video)
        digests.append([clip.key, clip.original, clip.wording, sha256_bytes(sample.video)])
        shown.append(
            Shown(
                clip=clip,
                purity=None if clip.wording == UNKNOWN else purity(clip.wording).value,
                seconds=entry.frames / entry.fps,
                object_curve=curve_of(sample.info, "motion_curve"),
                camera_curve=curve_of(sample.info, "camera_curve"),
                may_be_passed_on=may_be_passed_on(sample.info),
            )
        )
    name = sha256_json(digests)[:16]
    kept_here = sum(not one.may_be_passed_on for one in shown)
    write_json(
        folder / REVIEW,
        {
            "page": name,
            "pick": config.pick,
            "clips": [{**asdict(one.clip), "purity": one.purity} for one in shown],
        },
    )
    write_text(folder / "review.html", page(name, shown))
    if kept_here:
        say(f"note: media of {kept_here} clips may not be passed on; keep {folder / CLIPS} here")
    say(f"{folder / 'review.html'}: {len(shown)} clips; open it in a browser")
    return {"clips": len(shown), "page": name, "not_to_be_passed_on": kept_here}


def choose(folders: Sequence[Path], config: Any) -> list[tuple[ShardReader, int]]:
    """(reader, sample) of the clips, in drawn order, so that a page says nothing of their rank."""
    if config.pick == "random":
        return drawn(folders, config.count, config.seed, "review")
    from dynamicrafter import draws

    ranked = heapq.nsmallest(
        config.count,
        (
            (badness, draws.key(config.seed, number, "review"), number)
            for number, badness in _judged(folders, config)
        ),
    )
    readers = [ShardReader(folder) for folder in folders]
    places = []
    for _, _, number in sorted(ranked, key=lambda one: one[1]):
        for reader in readers:
            if number < len(reader):
                places.append((reader, number))
                break
            number -= len(reader)
    return places


def badness_of(clip: Captioned, config: Any) -> float | None:
    """How far to the front of a pick a clip belongs, lowest first; None: not at all."""
    if config.pick == "lowest":
        return clip.confidence
    if config.pick == "impure":
        return None if clip.wording == UNKNOWN else purity(clip.wording).value
    if clip.confidence is None or clip.object_motion is None:
        return None
    moves = clip.object_motion >= config.moves_above
    return None if moves == (clip.confidence >= config.sure_from) else 0.0


def curve_of(info: dict[str, Any], name: str) -> list[float]:
    """A motion curve out of a sample's JSON; empty if it is none."""
    values = measure_of(info, name)
    numbers = [number_of(value) for value in values[:CURVE]] if isinstance(values, list) else []
    return [] if None in numbers else [value for value in numbers if value is not None]


def _judged(folders: Sequence[Path], config: Any) -> Iterator[tuple[int, float]]:
    """(number, badness) of the clips that a pick may take."""
    number = 0
    for folder in folders:
        for key, info in iterate_infos(folder):
            badness = badness_of(of_info(key, info), config)
            if badness is not None:
                yield number, badness
            number += 1
