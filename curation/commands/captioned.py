"""Clips with the stock caption and the motion caption, whatever they are read from.

A table or a shard folder may come from anybody: what is no text, or no number, is unknown.
"""

import csv
import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from curation.clip import UNKNOWN
from curation.passes.captions import CAPTIONS
from curation.passes.dcp_table import cell
from curation.passes.gather import TABLE
from curation.publish.infos import iterate_infos, shard_folders
from curation.tables import count_rows, iterate_batches, long_cells
from dynamicrafter.errors import InputError
from dynamicrafter.files import sha256_file, sha256_json
from dynamicrafter.shards import ShardReader
from dynamicrafter.shards.manifest import MANIFEST

LONGEST = 2000  # characters of a caption that are looked at
NEEDED = ("name", "dynamic_wording", "dynamic_confidence", "dynamic_source_category")


@dataclass(frozen=True)
class Captioned:
    """What is known of a clip.

    Attributes:
        key: in the shards, or id in the table.
        original: the stock caption, or `none`.
        wording: the motion caption, or `none`.
        confidence: 0 … 100 that something moves besides the camera, None where it is unknown.
        category: of what moves, or `none`.
        source: name of the clip's source, or `none`.
        said_by: who worded it: embedded, stated, vlm_pixels, vlm_text, or `none`.
        object_motion: frame diagonals/s, None where it was not measured.
        reason: why no good wording was had, else None.
    """

    key: str
    original: str
    wording: str
    confidence: float | None
    category: str
    source: str
    said_by: str
    object_motion: float | None
    reason: str | None = None


def clips_of(
    run: str | None, dataset: str | None, table: str | None
) -> tuple[int, Iterator[Captioned]]:
    """About how many clips the one thing that is named has, and the clips.

    A run says itself what it captioned; one that has no such table is looked at by its shards.

    Raises:
        InputError: not exactly one is named, or it cannot be read.
    """
    place = place_of(run, dataset, table)
    if table is not None:
        with place.open("rb") as file:
            lines = sum(1 for _ in file)
        return lines, from_table(place)
    if run is not None and (place / CAPTIONS).is_file() and (place / TABLE).is_file():
        return count_rows(place / CAPTIONS), from_run(place)
    return sum(len(ShardReader(one)) for one in shard_folders(place)), from_dataset(place)


def place_of(run: str | None, dataset: str | None, table: str | None = None) -> Path:
    """The path of the one thing that is named.

    Raises:
        InputError: none is, or several are.
    """
    named = [value for value in (run, dataset, table) if value is not None]
    if len(named) != 1:
        raise InputError(
            f"one source of captions is needed, and {len(named)} are named; pass run= or dataset=, "
            "or table= where the command takes one"
        )
    return Path(named[0])


def digest_of(run: str | None, dataset: str | None, table: str | None = None) -> str:
    """A digest of what `clips_of` and the shards of the same thing say.

    Raises:
        InputError: nothing usable is named.
    """
    place = place_of(run, dataset, table)
    if table is not None:
        if not place.is_file():
            raise InputError(f"table={place} is no file; name a CSV with the DCP columns")
        return sha256_file(place)
    own = [place / name for name in (CAPTIONS, TABLE) if run is not None]
    own = [path for path in own if path.is_file()]
    try:
        own += [folder / MANIFEST for folder in shard_folders(place)]
    except InputError:
        if len(own) < 2:
            raise
    return sha256_json([sha256_file(path) for path in own])


def from_run(run: Path) -> Iterator[Captioned]:
    """The captioned clips of a `curate` run, in its order.

    Raises:
        InputError: its tables are missing, damaged or do not fit each other.
    """
    measured = _measured(run)
    row, number = next(measured, None), 0
    for batch in iterate_batches(run / CAPTIONS):
        for said in batch.to_pylist():
            while row is not None and number < said["row"]:
                row, number = next(measured, None), number + 1
            if row is None or number != said["row"] or row["key"] != said["key"]:
                raise InputError(f"{CAPTIONS} and {TABLE} of {run} do not agree; run it again")
            yield Captioned(
                key=said["key"],
                original=text_of(row["caption"]),
                wording=text_of(said["dynamic_wording"]),
                confidence=confidence_of(said["dynamic_confidence"]),
                category=text_of(said["dynamic_source_category"]),
                source=text_of(row["source"]),
                said_by=text_of(said["source"]),
                object_motion=number_of(row.get("object_motion")),
                reason=said["reason"],
            )


def from_dataset(dataset: Path) -> Iterator[Captioned]:
    """The clips of shard folders, of which no video is read.

    Raises:
        InputError: there is no whole shard folder.
    """
    for folder in shard_folders(dataset):
        for key, info in iterate_infos(folder):
            yield of_info(key, info)


def of_info(key: str, info: dict[str, Any]) -> Captioned:
    """A clip by the JSON of its sample."""
    source, said = info.get("source"), info.get("caption")
    return Captioned(
        key=key,
        original=text_of(info.get("name")),
        wording=text_of(info.get("dynamic_wording")),
        confidence=confidence_of(info.get("dynamic_confidence")),
        category=text_of(info.get("dynamic_source_category")),
        source=text_of(source.get("name") if isinstance(source, dict) else None),
        said_by=text_of(said.get("source") if isinstance(said, dict) else None),
        object_motion=number_of(measure_of(info, "object_motion")),
    )


def from_table(path: Path) -> Iterator[Captioned]:
    """The rows of a CSV with the DCP columns.

    Raises:
        InputError: it is missing, no CSV, or lacks a column.
    """
    try:
        with path.open(encoding="utf-8", errors="replace", newline="") as file, long_cells():
            rows = csv.DictReader(file)
            if lacks := [name for name in NEEDED if name not in (rows.fieldnames or ())]:
                raise InputError(f"table={path} has no column {', '.join(lacks)}")
            for number, row in enumerate(rows):
                yield Captioned(
                    key=text_of(row.get("videoid") or f"row {number}"),
                    original=text_of(row["name"]),
                    wording=text_of(row["dynamic_wording"]),
                    confidence=confidence_of(row["dynamic_confidence"]),
                    category=text_of(row["dynamic_source_category"]),
                    source=UNKNOWN,
                    said_by=UNKNOWN,
                    object_motion=None,
                )
    except (OSError, csv.Error) as error:
        raise InputError(f"table={path} cannot be read: {error}") from None


def measure_of(info: dict[str, Any], name: str) -> Any:
    """The value of a measure in a sample's JSON, or None."""
    measures = info.get("measures")
    entry = measures.get(name) if isinstance(measures, dict) else None
    return entry.get("value") if isinstance(entry, dict) else None


def text_of(value: Any) -> str:
    """A text on one line, cut at `LONGEST`; `none` for everything that is no text or empty."""
    return cell("name", value[:LONGEST]) or UNKNOWN if isinstance(value, str) else UNKNOWN


def number_of(value: Any) -> float | None:
    """A finite number, or None; a text that states one will do."""
    try:
        number = math.nan if value is None or isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def confidence_of(value: Any) -> float | None:
    """A confidence within 0 … 100, or None."""
    number = number_of(value)
    return number if number is not None and 0 <= number <= 100 else None


def _measured(run: Path) -> Iterator[dict[str, Any]]:
    """Rows of `measures.parquet`, with the columns that are needed and there."""
    import pyarrow.parquet as pq

    try:
        there = pq.read_schema(run / TABLE).names
    except (OSError, ValueError) as error:
        raise InputError(f"{run / TABLE} cannot be read: {error}") from None
    columns = [name for name in ("key", "caption", "source", "object_motion") if name in there]
    batches = iterate_batches(run / TABLE, columns=columns)
    return itertools.chain.from_iterable(batch.to_pylist() for batch in batches)
