"""The first pass: the rows of a source, frozen in parts.

    listing/<part id>.parquet    some rows, under the digest of what they say
    listing.parquet              the parts in order

Where a part ends is decided by the rows themselves, not by their number: a row that is added or
changed makes another part of the one that it lies in, and leaves all others, and all that was
measured of them, as they are.
"""

import hashlib
import json
import os
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pyarrow as pa

from curation.clip import Clip
from curation.sources import read_clips, source_digest
from curation.tables import (
    TableWriter,
    digest_rows,
    hash64,
    iterate_rows,
    read_note,
    read_rows,
    write_rows,
)
from dynamicrafter.errors import InputError
from dynamicrafter.files import atomic_path

COVER_THEIR_FILES = ("folder", "tars")
"""Kinds of sources whose own digest tells of sizes and times of change."""

LISTING = "listing"
INDEX = "listing.parquet"

_TEXT = pa.string()
SCHEMA = pa.schema(
    [
        ("clip_id", _TEXT),
        ("source", _TEXT),
        ("root", _TEXT),
        ("path", _TEXT),
        ("member", pa.list_(pa.int64())),
        ("video_id", _TEXT),
        ("start_s", pa.float64()),
        ("end_s", pa.float64()),
        ("stated_s", pa.float64()),
        ("caption", _TEXT),
        ("extra", _TEXT),  # JSON
        ("reason", _TEXT),
        ("message", _TEXT),
        ("stamp", pa.list_(pa.int64())),
    ]
)
_INDEX_SCHEMA = pa.schema([("part", _TEXT), ("rows", pa.int32())])


def source_inputs(source: dict[str, Any], check_files: bool) -> dict[str, str]:
    """Digests of what a listing depends on besides the config: tables, names, and files.

    Args:
        source: a section of the config.
        check_files: also look at each file that a table names.
    """
    found = {"source": source_digest(source)}
    if check_files and source["kind"] not in COVER_THEIR_FILES:
        files = hashlib.sha256()
        for clip in read_clips(source):
            files.update(f"{clip.path!r} {stamp(clip)}\n".encode())
        found["files"] = files.hexdigest()
    return found


def stamp(clip: Clip) -> list[int] | None:
    """Size and time of change of a clip's file, which tell whether it is another; None: absent."""
    try:
        status = os.stat(os.path.join(clip.root, clip.path))
    except (OSError, ValueError):  # ValueError: a NUL in the name
        return None
    return [status.st_size, status.st_mtime_ns]


def freeze(
    clips: Iterable[Clip], part_rows: int, check_files: bool, digest: str, folder: Path
) -> int:
    """Write the parts and their index; return the number of rows.

    Args:
        clips: the stream of a source.
        part_rows: rows of a part, on average.
        check_files: also record size and time of change of each file, so that one that is replaced
            before the next run is looked at again. It costs a look at each file for every run.
        digest: of the source; noted, so that an unchanged listing is taken over.
        folder: the run folder.

    Raises:
        InputError: the source holds no row.
    """
    total = 0
    with atomic_path(folder / INDEX) as temporary:
        index = TableWriter(temporary, _INDEX_SCHEMA.with_metadata({"digest": digest}))
        for rows in _parts(clips, part_rows, check_files):
            part = digest_rows(rows)
            path = part_path(part, folder)
            if not path.exists():
                write_rows(path, rows, SCHEMA)
            index.add([{"part": part, "rows": len(rows)}])
            total += len(rows)
        index.close()
        if not total:
            raise InputError("the source holds no clip")
    return total


def is_frozen(digest: str, folder: Path) -> bool:
    """Whether `folder` holds a listing of this digest."""
    path = folder / INDEX
    return path.exists() and read_note(path, "digest") == digest


def parts(folder: Path) -> Iterator[str]:
    """The part ids in order."""
    for row in iterate_rows(folder / INDEX):
        yield row["part"]


def count_clips(folder: Path) -> int:
    """How many clips were listed."""
    return sum(row["rows"] for row in iterate_rows(folder / INDEX))


def part_path(part: str, folder: Path) -> Path:
    """Where a part lies."""
    return folder / LISTING / f"{part}.parquet"


def read_part(part: str, folder: Path) -> list[tuple[Clip, list[int] | None]]:
    """The clips of a part, each with the stamp of its file when it was listed."""
    found = []
    for row in read_rows(part_path(part, folder)):
        known = row.pop("stamp")
        row["extra"] = json.loads(row["extra"])
        row["member"] = tuple(row["member"]) if row["member"] else None
        found.append((Clip(**row), known))
    return found


def _parts(
    clips: Iterable[Clip], part_rows: int, check_files: bool
) -> Iterator[list[dict[str, Any]]]:
    """Cut the stream where a row's hash says so, once half a part is full, or at twice its size."""
    rows: list[dict[str, Any]] = []
    fewest, most = max(part_rows // 2, 1), 2 * part_rows
    for clip in clips:
        row = asdict(clip)
        row["member"] = list(clip.member) if clip.member else None
        row["extra"] = json.dumps(clip.extra, sort_keys=True, ensure_ascii=False)
        row["stamp"] = stamp(clip) if check_files and not clip.reason else None
        rows.append(row)
        if len(rows) >= most or (len(rows) >= fewest and _ends_part(clip.clip_id, fewest)):
            yield rows
            rows = []
    if rows:
        yield rows


def _ends_part(clip_id: str, one_in: int) -> bool:
    return (hash64(clip_id) >> 32) % one_in == 0
