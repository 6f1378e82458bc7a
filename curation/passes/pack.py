"""The last pass: encoded clips and their captions into shards, from a frozen plan.

    pack/plan-<split>.parquet      which clip lies in which shard, and where its video is
    pack/<split>-000012.json       a shard that is written: its entry in the manifest, and of what
    pack/<split>-000012.csv        its rows of the DCP table
    dataset/<split>/               the shard folder

Shards are of about equal size, none larger than the target by more than a clip and none thin: the
sizes of the clips are known before the plan is made.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from curation.captions.caption import caption_of
from curation.passes.captions import CAPTIONS, read_captions
from curation.passes.dcp_table import write_dcp_csv
from curation.passes.decide import kept_rows
from curation.passes.encode import (
    Encoded,
    EncodeSettings,
    clip_digest,
    encoded_size,
    find_encoded,
    find_failed,
)
from curation.passes.filters import SPLITS
from curation.passes.gather import PIECES, TABLE
from curation.passes.sample import dcp_row, sample_info
from curation.tables import Row, TableWriter, count_rows, digest_rows, iterate_rows
from dynamicrafter.errors import InputError
from dynamicrafter.files import atomic_path, read_json, write_json
from dynamicrafter.media.isolation import Isolated
from dynamicrafter.shards import Sample, write_manifest, write_shard
from dynamicrafter.shards.writer import index_path_of

VERSION = 3
"""Raised when the same clips and captions shall give other shards."""

TEXT_BYTES = 4096
"""Of a shard for each clip besides its video: three tar headers, padding, JSON, caption."""

_PLAN = pa.schema(
    [
        ("key", pa.string()),
        ("row", pa.int64()),  # in measures.parquet
        ("path", pa.string()),  # of the tar of encoded clips, below the run folder
        ("offset", pa.int64()),
        ("size", pa.int64()),
    ]
)


@dataclass(frozen=True)
class PackJob:
    """A shard: rows [first, stop) of its split's plan."""

    split: str
    number: int
    first: int
    stop: int

    @property
    def name(self) -> str:
        """Name of the shard, without ending."""
        return f"{self.split}-{self.number:06d}"


@dataclass(frozen=True)
class Packing:
    """What a shard's content depends on besides its clips and their captions."""

    encode: EncodeSettings
    digests: dict[str, str]  # step → digest, noted in every sample
    may_be_passed_on: dict[str, bool]  # source → whether its media may leave this machine

    @property
    def digest(self) -> str:
        """Digest of it."""
        permissions = sorted(self.may_be_passed_on.items())
        return digest_rows(VERSION, self.digests, permissions)


def make_plan(settings: EncodeSettings, folder: Path) -> dict[int, list[str]]:
    """Write the plan of each split; return the kept rows that could not be encoded, with reasons.

    All clips that stay must be encoded.
    """
    failed: dict[int, list[str]] = {}
    plans = {split: folder / "pack" / f"plan-{split}.parquet" for split in SPLITS}
    pieces = iterate_rows(folder / PIECES)
    piece: Row = {"first": 0, "rows": 0}
    with atomic_path(plans["train"]) as train, atomic_path(plans["test"]) as test:
        writers = {"train": TableWriter(train, _PLAN), "test": TableWriter(test, _PLAN)}
        rows = iterate_rows(folder / TABLE)
        number = -1
        for index, split in kept_rows(folder):
            while number < index:
                row, number = next(rows), number + 1
            while index >= piece["first"] + piece["rows"]:
                piece = next(pieces)
                there, lost = {}, {}
            if not there and not lost:
                there = find_encoded(piece["piece"], settings, folder)
                lost = find_failed(piece["piece"], settings, folder)
            name = clip_digest(row)
            if name in there:
                writers[split].add([_planned(row["key"], index, there[name], folder)])
            elif name in lost:
                failed[index] = lost[name]
            else:
                raise InputError(
                    f"{row['clip_id']} is not encoded; remove {folder / 'encoded'} and run again"
                )
        for writer in writers.values():
            writer.close()
    return failed


def plan_shards(split: str, shard_bytes: int, folder: Path) -> list[PackJob]:
    """Divide the plan of a split into shards of about equal size, at most `shard_bytes` each."""
    path = folder / "pack" / f"plan-{split}.parquet"
    sizes = np.fromiter(
        (row["size"] + TEXT_BYTES for row in iterate_rows(path)), np.int64, count_rows(path)
    )
    if not len(sizes):
        return []
    ends = np.cumsum(sizes)
    count = max(1, -(-int(ends[-1]) // shard_bytes))
    middles = ends - sizes / 2
    shard = np.minimum((middles * count / ends[-1]).astype(np.int64), count - 1)
    borders = [0, *(np.flatnonzero(np.diff(shard)) + 1).tolist(), len(sizes)]
    return [
        PackJob(split, number, borders[number], borders[number + 1])
        for number in range(len(borders) - 1)
    ]


def pack_shard(
    job: PackJob, isolated: Isolated, *, packing: Packing, folder: Path
) -> dict[str, Any]:
    """Write a shard, unless it is there as it would be written."""
    entry_path = entry_of(job, folder)
    target = folder / "dataset" / job.split / f"{job.name}.tar"
    planned = list(iterate_rows(folder / "pack" / f"plan-{job.split}.parquet", job.first, job.stop))
    first, last = planned[0]["row"], planned[-1]["row"]
    wanted = {row["row"] for row in planned}
    rows = {
        number: row
        for number, row in enumerate(iterate_rows(folder / TABLE, first, last + 1), start=first)
        if number in wanted
    }
    said = read_captions(first, last, folder / CAPTIONS)
    own = [[row["key"], rows[row["row"]], said[row["row"]]] for row in planned]
    digest = digest_rows(packing.digest, own)
    counts = {"samples": len(planned), "frames": sum(row["frames"] for _, row, _ in own)}
    if _is_packed(entry_path, target, digest):
        return {**counts, "packed": 0}
    dcp: list[Row] = []
    planned.sort(key=lambda row: row["key"])
    entry = write_shard(target, _samples(planned, rows, said, packing, dcp, folder))
    write_dcp_csv(entry_path.with_suffix(".csv"), dcp)
    write_json(entry_path, {"digest": digest, "entry": entry, **counts})
    return {**counts, "packed": len(planned)}


def entry_of(job: PackJob, folder: Path) -> Path:
    """Where it stands that a shard is written."""
    return folder / "pack" / f"{job.name}.json"


def finish_split(
    split: str, jobs: list[PackJob], config_digest: str, folder: Path
) -> dict[str, Any]:
    """Declare a split whole: {"samples", "frames", "shards", "bytes", "root_digest"}."""
    entries = [read_json(entry_of(job, folder)) for job in jobs]
    shards = [entry["entry"] for entry in entries]
    manifest = write_manifest(folder / "dataset" / split, shards, config_digest)
    wanted = {entry_of(job, folder).stem for job in jobs}
    for path in (folder / "pack").glob(f"{split}-*"):
        if path.stem not in wanted:
            path.unlink()
    return {
        "samples": manifest["samples"],
        "frames": sum(entry["frames"] for entry in entries),
        "shards": len(shards),
        "bytes": sum(shard["bytes"] for shard in shards),
        "root_digest": manifest["root_digest"],
    }


def _planned(key: str, index: int, video: Encoded, folder: Path) -> Row:
    place = str(video.path.relative_to(folder))
    return {"key": key, "row": index, "path": place, "offset": video.offset, "size": video.size}


def _is_packed(entry_path: Path, target: Path, digest: str) -> bool:
    try:
        known = read_json(entry_path)
        return (
            known["digest"] == digest
            and "index_bytes" in known["entry"]  # as the present format has it
            and target.stat().st_size == known["entry"]["bytes"]
            and index_path_of(target).exists()
            and entry_path.with_suffix(".csv").exists()
        )
    except (InputError, OSError, KeyError, TypeError):
        return False


def _samples(
    planned: list[Row],
    rows: dict[int, Row],
    captions: dict[int, Row],
    packing: Packing,
    dcp: list[Row],
    folder: Path,
) -> Iterator[Sample]:
    for item in planned:
        row = rows[item["row"]]
        video = Encoded(folder / item["path"], item["offset"], item["size"]).read()
        said = caption_of(captions[item["row"]])
        dcp.append(dcp_row(row, said))
        info = sample_info(
            row,
            said,
            size=encoded_size(row, packing.encode),
            may_be_passed_on=packing.may_be_passed_on[row["source"]],
            digests=packing.digests,
        )
        yield Sample(row["key"], video, said.dynamic_wording, info)
