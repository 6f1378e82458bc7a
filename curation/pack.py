"""Kept shots into the shard folders that training and evaluation read."""

import functools
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from curation.caption import Caption, CaptionSettings, caption
from curation.measure import clip_path
from curation.measures import UNITS
from curation.sources import Clip
from dynamicrafter.errors import InputError
from dynamicrafter.files import read_json, sha256_json
from dynamicrafter.media.decode import read_frames
from dynamicrafter.shards import Sample, ShardReader, write_shards

SPLITS = ("train", "test")


@dataclass(frozen=True)
class Kept:
    """A shot that stays: its row, the clip it was cut from, and what is said of it."""

    row: dict[str, Any]
    clip: Clip
    caption: Caption

    @property
    def dcp(self) -> dict[str, Any]:
        """The eight DCP columns; a shot stands as a video of its own under its key."""
        seconds = round(self.row["end_s"] - self.row["start_s"])
        hours, minutes = seconds // 3600, seconds // 60 % 60
        return {
            "videoid": self.row["key"],
            "contentUrl": self.clip.extra.get("contentUrl", "none"),
            "duration": f"PT{hours:02d}H{minutes:02d}M{seconds % 60:02d}S",
            "page_dir": self.clip.extra.get("page_dir", "none"),
            "name": self.clip.caption,
            "dynamic_confidence": self.caption.dynamic_confidence,
            "dynamic_wording": self.caption.dynamic_wording,
            "dynamic_source_category": self.caption.dynamic_source_category,
        }


def describe(
    decided: list[dict[str, Any]], clips: dict[str, Clip], settings: CaptionSettings, folder: Path
) -> list[Kept]:
    """Caption the kept rows, whose clips must be encoded."""
    kept = []
    for row in decided:
        if row["reason"] is None:
            frames = functools.partial(_read_clip, clip_path(row, folder), row["frames"])
            kept.append(Kept(row, clips[row["clip_id"]], caption(row, frames, settings)))
    return kept


def pack(
    kept: list[Kept], step_digests: dict[str, str], shard_bytes: int, folder: Path
) -> dict[str, Any]:
    """Write `<folder>/dataset/train` and `/test`; a split that is already as it should be stays.

    Returns:
        split → {"samples", "frames", "root_digest"}.
    """
    summary = {}
    for split in SPLITS:
        part = sorted(
            (item for item in kept if item.row["split"] == split), key=lambda i: i.row["key"]
        )
        target = folder / "dataset" / split
        infos = [sample_info(item, step_digests) for item in part]
        digest = sha256_json({"infos": infos, "shard_bytes": shard_bytes})
        if not _is_packed(target, digest):
            samples = _samples(part, infos, folder)
            write_shards(target, samples, name=split, config_digest=digest, shard_bytes=shard_bytes)
        summary[split] = {
            "samples": len(part),
            "frames": sum(item.row["frames"] for item in part),
            "root_digest": read_json(target / "manifest.json")["root_digest"],
        }
    return summary


def sample_info(item: Kept, step_digests: dict[str, str]) -> dict[str, Any]:
    """The sample's JSON: captions, DCP columns, measures with units, facts, source, digests."""
    row, clip = item.row, item.clip
    return {
        **item.dcp,
        "caption": asdict(item.caption),
        "clip_id": clip.clip_id,
        "start_s": row["start_s"],
        "end_s": row["end_s"],
        "fps": row["fps"],
        "frames": row["frames"],
        "width": row["width"],
        "height": row["height"],
        "source": {"name": clip.source, **clip.extra},
        "measures": {
            name: {"value": value, "unit": UNITS[name]} for name, value in row["measures"].items()
        },
        "digests": {**row["digests"], **step_digests},
    }


def _samples(part: list[Kept], infos: list[dict[str, Any]], folder: Path) -> Iterator[Sample]:
    for item, info in zip(part, infos, strict=True):
        video = clip_path(item.row, folder).read_bytes()
        yield Sample(item.row["key"], video, item.caption.dynamic_wording, info)


def _read_clip(path: Path, frames: int) -> np.ndarray:
    """Every frame of an encoded clip, uint8 [t, h, w, 3]."""
    return read_frames(path.read_bytes(), range(frames))


def _is_packed(target: Path, digest: str) -> bool:
    try:
        return ShardReader(target).manifest["config_digest"] == digest
    except InputError:  # not written yet, or damaged since
        return False
