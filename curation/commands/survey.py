"""What a run folder of `curate` holds of each pass: counted by names of files, nothing is written.

Folders are scanned once and remembered as numbers, eight bytes a file. Tables of parts are read
only as far as the plan of a pass needs them: all of few, and a sample of many, whose count is then
an estimate.
"""

import os
from collections.abc import Callable, Iterator, Sized
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from curation.passes import listing, pack
from curation.passes.caption import OUTCOMES, AnySettings, outcomes_of
from curation.passes.decide import DECISIONS
from curation.passes.encode import ENCODED, EncodeSettings, find_encoded, find_failed
from curation.passes.filters import SPLITS
from curation.passes.gather import PIECES
from curation.passes.inspect import INSPECT, pieces_of, read_facts
from curation.passes.measure import (
    CHANGED,
    CRASHED,
    QUARANTINE,
    SHOTS,
    TIMEOUT,
    VALUES,
    MeasureSettings,
    Task,
    shots_path,
    values_path,
)
from curation.tables import iterate_batches, read_rows
from dynamicrafter.errors import InputError
from dynamicrafter.files import read_json

FEW = 200
"""Parts, or pieces, up to which every one is looked at."""

Kept = tuple[np.ndarray, np.ndarray]
"""(ids, clips that stay), uint64 [n] and int64 [n], of the pieces that have such."""


@dataclass
class Progress:
    """How much of a pass is there."""

    name: str
    unit: str
    done: int = 0
    planned: int | None = None  # None: what comes before decides it
    about: bool = False  # the numbers are estimates
    made: tuple[str, str] = ("", "")  # (folder, end of name) of the files that the pass makes
    by_measure: dict[str, int] | None = None

    @property
    def whole(self) -> bool:
        """Whether nothing is missing."""
        return self.planned is not None and self.done >= self.planned


def listed(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """(ids, rows) of the parts of the listing, uint64 [n] and int64 [n]."""
    ids, rows = [np.empty(0, np.uint64)], [np.empty(0, np.int64)]
    for batch in iterate_batches(folder / listing.INDEX):
        ids.append(np.array([_number(part) for part in batch["part"].to_pylist()], np.uint64))
        rows.append(batch["rows"].to_numpy().astype(np.int64))
    return np.concatenate(ids), np.concatenate(rows)


def inspected(ids: np.ndarray, rows: np.ndarray, folder: Path) -> tuple[Progress, np.ndarray]:
    """The pass `inspect`, and which parts are done, bool [n]."""
    there = np.isin(ids, _numbers(folder / INSPECT, ".parquet"))
    found = Progress("inspect", "clips", int(rows[there].sum()), int(rows.sum()))
    found.made = (INSPECT, ".parquet")
    return found, there


def measured(
    ids: np.ndarray,
    there: np.ndarray,
    settings: MeasureSettings,
    tasks: tuple[Task, ...],
    folder: Path,
) -> Progress:
    """The pass `measure`; `ids` and `there` as from `inspected`."""
    ending = f"-{settings.shots_digest}.parquet"
    found = Progress("measure", "pieces", made=(SHOTS, ending))
    parts = ids[there]
    if not len(parts):
        found.by_measure = dict.fromkeys((task.name for task in tasks), 0)
        return found
    looked = parts if len(parts) <= FEW else np.sort(parts)[:: -(-len(parts) // FEW)]
    pieces = with_spans = 0
    counts = dict.fromkeys([SHOTS, *(task.name for task in tasks)], 0)
    for part in (f"{number:016x}" for number in looked.tolist()):
        clips = [clip for clip, _ in listing.read_part(part, folder)]
        facts = read_facts(part, folder)
        for piece in pieces_of(part, clips, facts, settings.span_s, settings.job_s):
            pieces += 1
            if piece.spans:
                with_spans += 1
                there_of = {SHOTS: shots_path(piece, settings, folder)}
                there_of |= {task.name: values_path(piece, task, folder) for task in tasks}
                for name, path in there_of.items():
                    counts[name] += path.exists()
    found.planned = round(with_spans * len(ids) / len(looked))
    found.about = len(looked) < len(ids)
    if len(looked) < len(parts):
        counts = {SHOTS: sum(1 for _ in _entries(folder / SHOTS, ending))}
        counts |= {task.name: _count_values(task, folder) for task in tasks}
        counts = {name: min(count, found.planned) for name, count in counts.items()}
    found.done = min(counts.values())
    found.by_measure = {task.name: counts[task.name] for task in tasks}
    return found


def kept_by_piece(folder: Path) -> Kept:
    """What the passes after `decide` have to do, by the decisions that are there."""
    batches = iterate_batches(folder / DECISIONS, columns=["kept"])
    kept = np.concatenate(
        [np.zeros(1, np.int64), *(batch["kept"].to_numpy() for batch in batches)]
    ).astype(np.int64)
    before = np.cumsum(kept)
    ids, first, rows = [], [], []
    for batch in iterate_batches(folder / PIECES):
        ids += [_number(piece) for piece in batch["piece"].to_pylist()]
        first.append(batch["first"].to_numpy())
        rows.append(batch["rows"].to_numpy())
    begin = np.concatenate([np.empty(0, np.int64), *first]).astype(np.int64)
    end = begin + np.concatenate([np.empty(0, np.int64), *rows]).astype(np.int64)
    last = len(before) - 1  # a table that is being replaced may be longer than its index
    wanted = before[np.minimum(end, last)] - before[np.minimum(begin, last)]
    return np.array(ids, np.uint64)[wanted > 0], wanted[wanted > 0]


def encoded(kept: Kept, settings: EncodeSettings, folder: Path) -> Progress:
    """The pass `encode`; `kept` by `kept_by_piece`."""
    return _by_piece(
        kept,
        Progress("encode", "clips", made=(ENCODED, ".tar")),
        f"-{settings.digest}-",
        lambda piece: find_encoded(piece, settings, folder),
        settings,
        folder,
    )


def captioned(
    kept: Kept, captioner: AnySettings, settings: EncodeSettings, folder: Path
) -> Progress:
    """The pass `caption`, once all is encoded; a clip that could not be is not captioned."""
    outcomes = outcomes_of(captioner, settings.digest, folder)
    return _by_piece(
        kept,
        Progress("caption", "clips", made=(OUTCOMES, ".parquet")),
        f"-{outcomes.digest}-",
        outcomes.find,
        settings,
        folder,
    )


def packed(shard_bytes: int, folder: Path) -> Progress:
    """The pass `pack`, by the plan that is there."""
    found = Progress("pack", "shards", planned=0, made=("pack", ".json"))
    for split in SPLITS:
        if not (folder / "pack" / f"plan-{split}.parquet").exists():
            found.planned = None
            return found
        for job in pack.plan_shards(split, shard_bytes, folder):
            found.planned += 1
            try:
                entry = read_json(pack.entry_of(job, folder))
                size = (folder / "dataset" / split / f"{job.name}.tar").stat().st_size
                same = entry["samples"] == job.stop - job.first
                found.done += same and size == entry["entry"]["bytes"]
            except (InputError, OSError, KeyError, TypeError):
                continue
    return found


def quarantined(most: int, folder: Path) -> tuple[int, list[dict[str, Any]]]:
    """How many pieces hold a span that was too slow, died or changed, and the first such spans."""
    notes = sorted(entry.name for entry in _entries(folder / QUARANTINE, ".json"))
    spans: list[dict[str, Any]] = []
    for note in notes:
        if len(spans) >= most:
            break
        try:
            rows = read_rows(folder / SHOTS / note.replace(".json", ".parquet"))
        except InputError:  # just being measured again
            continue
        spans += [
            {name: row[name] for name in ("key", "reason", "message")}
            for row in rows
            if row["reason"] in (TIMEOUT, CRASHED, CHANGED)
        ]
    return len(notes), spans[:most]


def times_of(made: tuple[str, str], since: float, folder: Path) -> np.ndarray:
    """When the files of a pass were made, ascending, those after `since`, seconds since 1970."""
    deep = made[0] in (ENCODED, OUTCOMES)
    times = []
    for entry in _entries(folder / made[0], made[1], deep):
        try:
            changed = entry.stat().st_mtime
        except FileNotFoundError:
            continue
        if changed >= since:
            times.append(changed)
    return np.sort(np.array(times))


def sizes(folder: Path) -> dict[str, tuple[int, int]]:
    """Folder → (files, bytes) of all that lies below it; `.` stands for the run folder itself."""
    found: dict[str, tuple[int, int]] = {}
    pending = [(str(folder), ".")]
    while pending:
        path, name = pending.pop()
        files = total = 0
        try:
            entries = os.scandir(path)
        except FileNotFoundError:
            continue
        with entries:
            for entry in entries:
                try:
                    if entry.is_dir(follow_symlinks=False):
                        pending.append((entry.path, entry.name if name == "." else name))
                    else:
                        files, total = files + 1, total + entry.stat(follow_symlinks=False).st_size
                except FileNotFoundError:  # a temporary file that is whole by now
                    continue
        before = found.get(name, (0, 0))
        found[name] = (before[0] + files, before[1] + total)
    return dict(sorted(found.items()))


def changed_at(path: Path) -> float:
    """When a file was last written, seconds since 1970; 0 where there is none."""
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return 0.0


def is_held(folder: Path) -> bool:
    """Whether a process holds the lock of a run folder.

    The lock is asked for as a reader, for no longer than the question takes, and only if its file
    is there: a run that begins in that instant is told that the folder is in use.
    """
    import fcntl

    try:
        descriptor = os.open(folder / ".lock", os.O_RDONLY)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(descriptor)
    return False


def _by_piece(
    kept: Kept,
    found: Progress,
    mark: str,
    find: Callable[[str], Sized],
    settings: EncodeSettings,
    folder: Path,
) -> Progress:
    """A pass with the numbers of clips that stay, and of those that `find` finds or none can have.

    Of many pieces those count as whole that have a file with this mark in its name.
    """
    pieces, wanted = kept
    found.planned = int(wanted.sum())
    found.about = len(pieces) > FEW
    if found.about:
        within, ending = found.made
        files = _entries(folder / within, ending, deep=True)
        done = [_number(entry.name) for entry in files if mark in entry.name]
        found.done = int(wanted[np.isin(pieces, np.array(done, np.uint64))].sum())
        return found
    for number, count in zip(pieces.tolist(), wanted.tolist(), strict=True):
        piece = f"{number:016x}"
        found.done += min(count, len(find(piece)) + len(find_failed(piece, settings, folder)))
    return found


def _count_values(task: Task, folder: Path) -> int:
    return sum(1 for _ in _entries(folder / VALUES / task.name, f"-{task.digest}.parquet"))


def _numbers(folder: Path, ending: str) -> np.ndarray:
    return np.fromiter((_number(entry.name) for entry in _entries(folder, ending)), np.uint64)


def _number(name: str) -> int:
    return int(name[:16], 16)


def _entries(folder: Path, ending: str, deep: bool = False) -> "Iterator[os.DirEntry[str]]":
    """Files of a folder, or with `deep` of its folders, with this end of their names."""
    try:
        entries = os.scandir(folder)
    except FileNotFoundError:
        return
    with entries:
        for entry in entries:
            if deep and entry.is_dir(follow_symlinks=False):
                yield from _entries(Path(entry.path), ending)
            elif entry.name.endswith(ending) and not entry.name.startswith("."):
                yield entry
