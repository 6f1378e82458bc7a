"""What all pieces say, in one table: `measures.parquet`.

One row a shot, or a clip or span that gave none, with all that is known of it: where it comes from,
facts of its file, every measure with its unit, the stock caption. Filters, exports and notebooks
read this table; the pieces' own files are never looked at again.

    measures.parquet    the table, in the order of the source
    pieces.parquet      which of its rows a piece made
"""

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

import pyarrow as pa

from curation.passes.filters import OPTED_OUT
from curation.passes.inspect import Piece, pieces_of, read_facts
from curation.passes.listing import parts, read_part
from curation.passes.measure import (
    MeasureSettings,
    Task,
    column_types,
    shots_path,
    values_path,
)
from curation.tables import Row, TableWriter, read_note, read_rows
from dynamicrafter.files import atomic_path, sha256_file, sha256_json
from dynamicrafter.shards import sample_key

TABLE, PIECES = "measures.parquet", "pieces.parquet"

_TEXT, _REAL, _WHOLE = pa.string(), pa.float64(), pa.int64()


def _field(name: str, kind: pa.DataType, unit: str) -> pa.Field:
    return pa.field(name, kind, metadata={"unit": unit})


IDENTITY = [
    _field("key", _TEXT, "name in the shards, unless the row has a reason"),
    _field("clip_id", _TEXT, "as in the source"),
    _field("video_id", _TEXT, "source video; what stays together in a split"),
    _field("source", _TEXT, "name of the source"),
    _field("root", _TEXT, "folder"),
    _field("path", _TEXT, "file below the folder"),
    _field("member", pa.list_(_WHOLE), "offset and size in bytes, in a tar"),
    _field("caption", _TEXT, "stock caption"),
    _field("extra", _TEXT, "JSON: other columns of the source"),
    _field("stated_confidence", _REAL, "0 to 100, that something moves, as the source states it"),
    _field("sha256", _TEXT, "of the file"),
    _field("start_s", _REAL, "s"),
    _field("end_s", _REAL, "s"),
    _field("whole", pa.bool_(), "whether the shot is all of its clip"),
    _field("frames", pa.int32(), "frames"),
    _field("reason", _TEXT, "why there is no shot, or why it was not measured"),
    _field("message", _TEXT, "more about it"),
]
FACTS = [
    _field("bytes", _WHOLE, "bytes of the file"),
    _field("mtime_ns", _WHOLE, "ns since 1970, change of the file"),
    _field("container", _TEXT, "FFmpeg's demuxer"),
    _field("codec", _TEXT, "FFmpeg's decoder"),
    _field("width", pa.int32(), "pixels of the file, upright"),
    _field("height", pa.int32(), "pixels of the file, upright"),
    _field("rotation", pa.int32(), "degrees counterclockwise that the file asks for"),
    _field("fps", _REAL, "frames/s"),
    _field("duration_s", _REAL, "s, of the file as it states"),
]
HERE_ONLY = ("root", "mtime_ns", "message")
"""Columns that tell of this machine; the note `content` is a digest of all others."""

_PIECE_SCHEMA = [
    ("piece", _TEXT),
    ("part", _TEXT),
    ("first", _WHOLE),
    ("rows", pa.int32()),
    ("failed", pa.int32()),
]


def iterate_pieces(settings: MeasureSettings, folder: Path) -> Iterator[Piece]:
    """The pieces of the corpus in order; all parts must be inspected."""
    for part in parts(folder):
        clips = [clip for clip, _ in read_part(part, folder)]
        facts = read_facts(part, folder)
        yield from pieces_of(part, clips, facts, settings.span_s, settings.job_s)


def gather(
    settings: MeasureSettings, tasks: tuple[Task, ...], absent: dict[str, str], folder: Path
) -> None:
    """Write the table, unless it is there as it would be written.

    Args:
        settings: of the measuring.
        tasks: the measures that were computed.
        absent: name → reason of measures that were wanted and could not be.
        folder: the run folder.
    """
    digest = _digest(settings, tasks, folder)
    table, index = folder / TABLE, folder / PIECES
    if table.exists() and index.exists() and read_note(table, "digest") == digest:
        return
    measured = [field for task in tasks for field in column_types(task.measure)]
    notes = {
        "digest": digest,
        "measures": json.dumps({task.name: task.digest for task in tasks}, sort_keys=True),
        "absent": json.dumps(absent, sort_keys=True),
    }
    schema = pa.schema([*IDENTITY, *FACTS, *measured], metadata=notes)
    with atomic_path(table) as temporary, atomic_path(index) as temporary_index:
        writer = TableWriter(temporary, schema)
        pieces = TableWriter(temporary_index, pa.schema(_PIECE_SCHEMA))
        content = hashlib.sha256()
        first = 0
        for part in parts(folder):
            for piece, rows in _rows_of_part(part, settings, tasks, folder):
                writer.add(rows)
                for row in rows:
                    said = {name: value for name, value in row.items() if name not in HERE_ONLY}
                    content.update(sha256_json(said).encode())
                failed = sum(row["frames"] is None and row["reason"] != OPTED_OUT for row in rows)
                own = {"piece": piece.digest, "part": part, "first": first}
                pieces.add([{**own, "rows": len(rows), "failed": failed}])
                first += len(rows)
        writer.close({"content": content.hexdigest()})
        pieces.close()


def _digest(settings: MeasureSettings, tasks: tuple[Task, ...], folder: Path) -> str:
    """What tells a table from others: the pieces, and their shots, which a timeout may change."""
    found = hashlib.sha256(repr([task.digest for task in tasks]).encode())
    for piece in iterate_pieces(settings, folder):
        shots = sha256_file(shots_path(piece, settings, folder)) if piece.spans else ""
        found.update(f"{piece.part} {piece.digest} {shots}\n".encode())
    return found.hexdigest()[:16]


def _rows_of_part(
    part: str, settings: MeasureSettings, tasks: tuple[Task, ...], folder: Path
) -> Iterable[tuple[Piece, list[Row]]]:
    clips = [clip for clip, _ in read_part(part, folder)]
    facts = read_facts(part, folder)
    found = []
    shots_of_clip: Counter[int] = Counter()
    for piece in pieces_of(part, clips, facts, settings.span_s, settings.job_s):
        rows = []
        for number, shot, values in _entries(piece, settings, tasks, folder):
            clip, known = clips[number], facts[number]
            if shot is None:
                shot = {"key": failure_key(clip.clip_id), **_reason(known)}
            shots_of_clip[number] += 1
            row = {name: shot.get(name) for name in ("key", "start_s", "end_s", "frames")}
            row |= {name: shot[name] for name in ("reason", "message")}
            row |= {
                "clip_id": clip.clip_id,
                "video_id": clip.source_video,
                "source": clip.source,
                "root": clip.root,
                "path": clip.path,
                "member": list(clip.member) if clip.member else None,
                "caption": clip.caption,
                "extra": json.dumps(clip.extra, sort_keys=True, ensure_ascii=False),
                "stated_confidence": as_number(clip.extra.get("dynamic_confidence")),
                "sha256": known["sha256"],
                **{field.name: known[field.name] for field in FACTS},
                **values,
                "_clip": number,
                "_begins": shot.get("start_s") is not None
                and shot["start_s"] - clip.start_s < 1 / known["fps"],
            }
            rows.append(row)
        found.append((piece, rows))
    for _, rows in found:
        for row in rows:
            alone = shots_of_clip[row.pop("_clip")] == 1
            row["whole"] = row.pop("_begins") and alone
    return found


def _entries(
    piece: Piece, settings: MeasureSettings, tasks: tuple[Task, ...], folder: Path
) -> Iterator[tuple[int, Row | None, Row]]:
    """(row of the clip, shot or None, values) of each row that a piece makes, in order."""
    shots: dict[int, list[tuple[Row, Row]]] = {}
    if piece.spans:
        columns = [read_rows(values_path(piece, task, folder)) for task in tasks]
        for i, shot in enumerate(read_rows(shots_path(piece, settings, folder))):
            values = {name: value for column in columns for name, value in column[i].items()}
            shots.setdefault(shot["span"], []).append((shot, values))
    number = 0
    for row, span in piece.entries:
        if span is None:
            yield row, None, {}
            continue
        for shot, values in shots.get(number, []):
            yield row, shot, values
        number += 1


def _reason(facts: Row) -> Row:
    return {"reason": facts["reason"], "message": facts["message"]}


def as_number(text: str | None) -> float | None:
    """What a cell states, or None where that is no number."""
    try:
        return float(text) if text else None
    except ValueError:
        return None


def failure_key(clip_id: str) -> str:
    """A key to name a clip by that gave no shot, whatever its id holds."""
    return sample_key(clip_id.encode("utf-8", "backslashreplace").decode())
