"""The third pass: a piece of the corpus, decoded once, cut into shots and measured.

    shots/<piece>-<settings>.parquet              the shots of the piece, or why a span has none
    measures/<name>/<piece>-<settings>.parquet    a measure's values, a row a shot

Every file is named after all that its content depends on, so what is there need not be measured:
another threshold measures nothing, another setting of one measure only that one.
"""

import itertools
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from curation.clip import Clip
from curation.measures import MEASURES
from curation.measures.contract import SAMPLES_PER_SECOND, Footage, Measure
from curation.passes.inspect import Piece, Span, local_file, read_facts
from curation.passes.listing import read_part, stamp
from curation.passes.shots import (
    TINY_SHORT_SIDE,
    Look,
    Shot,
    lead_in_s,
    mark_cuts,
    split_into_shots,
)
from curation.tables import Row, digest_rows, read_rows, write_rows
from dynamicrafter.errors import MediaError
from dynamicrafter.files import read_json, write_json
from dynamicrafter.media.decode import Resizer, iterate_pictures
from dynamicrafter.media.isolation import CRASHED, TIMEOUT, Isolated
from dynamicrafter.shards import sample_key

SHOTS_VERSION = 1
"""Raised when shots are cut otherwise, so that everything is measured again."""

SHOTS, VALUES, QUARANTINE = "shots", "measures", "quarantine"
TOO_SHORT, CHANGED = "too_short", "changed"
BAD_RATE, NO_FRAMES = "bad_rate", "no_frames"
MAX_UNEVENNESS = 1.5
"""Between a shot's own frame rate and the file's, at which it is encoded: one that is off by more
would play too fast or too slow."""

SHOT_SCHEMA = pa.schema(
    [
        ("span", pa.int32()),  # number of the span in its piece
        ("key", pa.string()),
        ("start_s", pa.float64()),
        ("end_s", pa.float64()),
        ("frames", pa.int32()),
        ("reason", pa.string()),  # `too_short`, `bad_rate`, or why there is no shot
        ("message", pa.string()),
    ]
)
_TYPES = {
    "number": pa.float64(),
    "text": pa.string(),
    "flag": pa.bool_(),
    "numbers": pa.list_(pa.float64()),
}


@dataclass
class MeasureSettings:
    """`measure` of conf/curate.yaml, where each setting is explained."""

    span_s: float
    job_s: float
    max_shot_s: float
    min_shot_frames: int
    cut_ratio: float
    cut_difference: float
    short_side: int

    @property
    def shots_digest(self) -> str:
        """Digest of what the shots depend on besides the video."""
        return digest_rows(
            SHOTS_VERSION,
            [self.max_shot_s, self.min_shot_frames, self.cut_ratio, self.cut_difference],
        )


@dataclass(frozen=True)
class Task:
    """A measure that is to be computed, with its settings and their digest."""

    name: str
    settings: Any
    digest: str

    @property
    def measure(self) -> Measure:
        """The measure itself."""
        return BY_NAME[self.name]


BY_NAME = {measure.name: measure for measure in MEASURES}


def plan_task(measure: Measure, settings: Any, general: MeasureSettings) -> Task:
    """A measure with the digest of all that its values depend on besides the video."""
    own = asdict(settings) if measure.settings else {}
    digest = digest_rows(
        [measure.name, measure.version, own, measure.weights(settings)],
        [general.shots_digest, general.short_side],
    )
    return Task(measure.name, settings, digest)


def column_types(measure: Measure) -> list[pa.Field]:
    """The measure's columns as fields of a table, the unit of each in its metadata."""
    return [
        pa.field(name, _TYPES[column.kind], metadata={"unit": column.unit})
        for name, column in measure.columns.items()
    ]


def shots_path(piece: Piece, settings: MeasureSettings, folder: Path) -> Path:
    """Where the shots of a piece lie."""
    return folder / SHOTS / f"{piece.digest}-{settings.shots_digest}.parquet"


def values_path(piece: Piece, task: Task, folder: Path) -> Path:
    """Where a measure's values lie, row for row as the shots."""
    digest = task.digest
    if task.measure.reads_caption:
        digest = digest_rows(digest, piece.caption_digest)
    return folder / VALUES / task.name / f"{piece.digest}-{digest}.parquet"


def measure_piece(
    piece: Piece,
    isolated: Isolated,
    *,
    settings: MeasureSettings,
    tasks: tuple[Task, ...],
    timeout_s: float,
    folder: Path,
) -> dict[str, Any]:
    """Measure a piece, but for what is there already.

    Returns:
        Counts: {"spans": of the piece, "measured": whether anything was computed}.
    """
    path = shots_path(piece, settings, folder)
    note = folder / QUARANTINE / f"{path.stem}.json"
    if note.exists() and read_json(note) != {"timeout_s": timeout_s}:  # it may go well now
        path.unlink(missing_ok=True)
        note.unlink()
    missing = [task for task in tasks if not values_path(piece, task, folder).exists()]
    counts = {"spans": len(piece.spans)}
    if not piece.spans or (path.exists() and not missing):
        return {**counts, "measured": 0}
    known = read_rows(path) if path.exists() else None
    wanted = list(tasks) if known is None else missing
    shots, values = _measure(piece, isolated, settings, wanted, folder)
    if known not in (None, shots):  # a span that broke off before has not now, or the reverse
        wanted = list(tasks)
        shots, values = _measure(piece, isolated, settings, wanted, folder)
    for task in wanted:
        schema = pa.schema(column_types(task.measure))
        write_rows(values_path(piece, task, folder), values[task.name], schema)
    reasons = {row["reason"] for row in shots}
    if reasons & {TIMEOUT, CRASHED, CHANGED}:
        write_json(note, {"timeout_s": None if CHANGED in reasons else timeout_s})
    if shots != known:
        write_rows(path, shots, SHOT_SCHEMA)
    return {**counts, "measured": len(piece.spans)}


def _measure(
    piece: Piece,
    isolated: Isolated,
    settings: MeasureSettings,
    tasks: list[Task],
    folder: Path,
) -> tuple[list[Row], dict[str, list[Row]]]:
    clips, facts = read_part(piece.part, folder), read_facts(piece.part, folder)
    shots: list[Row] = []
    values: dict[str, list[Row]] = {task.name: [] for task in tasks}
    for number, (row, span) in enumerate(piece.spans):
        try:
            clip = clips[row][0]
            refuse_changed(clip, facts[row])
            found, error = isolated(measure_span, clip, span, settings, tuple(tasks))
        except MediaError as failure:
            found, error = [], failure
        for shot, results in found:
            shots.append({"span": number, **shot})
            for task in tasks:
                values[task.name].append(results.get(task.name, {}))
        if error is not None:
            empty = dict.fromkeys(SHOT_SCHEMA.names)
            own = {"key": _failure_key(span), "reason": error.reason, "message": str(error)}
            shots.append({**empty, "span": number, **own})
            for task in tasks:
                values[task.name].append({})
    return shots, values


def _failure_key(span: Span) -> str:
    """The key under which a span stands that broke off."""
    if span.start_s == span.clip_start_s:
        return sample_key(span.clip_id)
    return sample_key(span.clip_id, (span.start_s, span.start_s))


def measure_span(
    clip: Clip, span: Span, settings: MeasureSettings, tasks: tuple[Task, ...]
) -> tuple[list[tuple[Row, dict[str, Row]]], MediaError | None]:
    """Cut a span into shots and measure them.

    Returns:
        (shot, measure → values) of each shot, and why the file broke off after them, if it did.

    Raises:
        MediaError: nothing could be read at all.
    """
    found: list[tuple[Row, dict[str, Row]]] = []
    with local_file(clip) as path:
        try:
            for shot in _shots(path, span, settings):
                found.append(_describe(shot, clip, span, settings, tasks))
        except MediaError as error:
            if not found:
                raise
            return found, error
    return found, None


def _shots(path: Path, span: Span, settings: MeasureSettings) -> Iterator[Shot]:
    begin = max(span.clip_start_s, span.start_s - lead_in_s(settings.max_shot_s))
    end_s = float("inf") if span.end_s is None else span.end_s
    looks = _looks(path, begin, span, settings)
    first = next(looks, None)
    if first is None and span.start_s == span.clip_start_s:
        raise MediaError(NO_FRAMES, f"{path.name} has no frame from {begin:g} s on")
    return split_into_shots(
        mark_cuts(
            itertools.chain([first] if first else [], looks),
            settings.cut_ratio,
            settings.cut_difference,
        ),
        span=(span.start_s, end_s),
        from_beginning=begin == span.clip_start_s,
        max_shot_s=settings.max_shot_s,
        frame_s=1 / span.fps,
    )


def _looks(
    path: Path, begin_s: float, span: Span, settings: MeasureSettings
) -> Iterator[tuple[float, Look]]:
    """The clip's frames: all of them tiny, SAMPLES_PER_SECOND of them in full."""
    tiny = Resizer(TINY_SHORT_SIDE, "bgr24", "AREA")
    full = Resizer(settings.short_side)
    end_s = float("inf") if span.clip_end_s is None else span.clip_end_s
    last = -1
    for time_s, picture in iterate_pictures(path, begin_s):
        if time_s >= end_s:
            return
        tick = int(time_s * SAMPLES_PER_SECOND)  # of the file's own time, whatever the span
        yield time_s, Look(tiny(picture), full(picture) if tick > last else None)
        last = max(last, tick)


def _describe(
    shot: Shot, clip: Clip, span: Span, settings: MeasureSettings, tasks: tuple[Task, ...]
) -> tuple[Row, dict[str, Row]]:
    seen = [(time, look.full) for time, look in zip(shot.times, shot.looks, strict=True)]
    sampled = [(time, full) for time, full in seen if full is not None]
    count = len(shot.looks)
    stated = (shot.end_s - shot.start_s) * span.fps
    reason = message = None
    if count < max(settings.min_shot_frames, 2) or len(sampled) < 2:
        reason = TOO_SHORT
    elif not count / MAX_UNEVENNESS <= stated <= count * MAX_UNEVENNESS:
        reason = BAD_RATE
        message = f"{count} frames, but {stated:.0f} at the {span.fps:g} frames/s of the file"
    row = {
        "key": sample_key(span.clip_id, (shot.start_s, shot.end_s)),
        "start_s": shot.start_s,
        "end_s": shot.end_s,
        "frames": count,
        "reason": reason,
        "message": message,
    }
    if reason:
        return row, {}
    footage = Footage(
        frames=[full for _, full in sampled],
        times=[time for time, _ in sampled],
        tiny=[look.tiny for look in shot.looks],
        caption=clip.caption,
    )
    return row, {task.name: task.measure.compute(footage, task.settings) for task in tasks}


def refuse_changed(clip: Clip, facts: Row) -> None:
    """Stop short of a file that was replaced since it was inspected: its facts are not its own.

    Raises:
        MediaError: `changed`.
    """
    now = stamp(clip)
    if now is not None and now[1] != facts["mtime_ns"]:
        raise MediaError(CHANGED, f"{clip.path} was changed since it was inspected; run again")
