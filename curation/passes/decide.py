"""The fourth pass: one look at all measures, in the order of no machine and no worker.

    decisions.parquet    row for row as measures.parquet: kept or not, why, and the split
    funnel.json          how many each step dropped

Memory does not grow with the corpus: rows are streamed, repeats are sought on disk.
"""

import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from curation.measures.phash import phash_bits
from curation.passes.duplicates import IDENTITIES, PICTURES, near_copies, repeated_identities
from curation.passes.external import Records
from curation.passes.filters import (
    DUPLICATE_ID,
    NEAR_DUPLICATE,
    NOT_CAPTIONED,
    NOT_ENCODED,
    OPTED_OUT,
    RULES,
    SPLIT_KEYS,
    SPLITS,
    STEPS,
    TOO_SHORT,
    UNREADABLE,
    Columns,
    Filters,
    active_rules,
    judge,
    needed_measures,
)
from curation.passes.gather import TABLE
from curation.passes.opted_out import is_opted_out
from curation.tables import TableWriter, count_rows, hash64, iterate_batches, iterate_rows, objects
from dynamicrafter.files import atomic_path, read_json, write_json

DECISIONS, FUNNEL = "decisions.parquet", "funnel.json"

SCHEMA = pa.schema(
    [
        ("key", pa.string()),
        ("clip_id", pa.string()),
        ("kept", pa.bool_()),
        ("reason", pa.string()),  # None: kept
        ("split", pa.string()),
        ("repeats_row", pa.int64()),  # row of the clip that stays instead, in measures.parquet
    ]
)
_IDENTITY_COLUMNS = (
    *("key", "clip_id", "video_id", "source", "start_s", "end_s", "caption", "extra"),
    *("sha256", "reason", "frames", "whole"),
)


def split_of(text: str, test_share: float) -> str:
    """`train` or `test`, by a hash of what stays together."""
    return "test" if hash64(text) < test_share * 2**64 else "train"


def decide(filters: Filters, opted_out: frozenset[str], folder: Path) -> dict[str, Any]:
    """Write the decisions and the funnel of `folder`; return the latter."""
    with tempfile.TemporaryDirectory(dir=folder, suffix=".partial", prefix=".decide-") as name:
        return _decide(filters, opted_out, folder, Path(name))


def _decide(
    filters: Filters, opted_out: frozenset[str], folder: Path, scratch: Path
) -> dict[str, Any]:
    rows = count_rows(folder / TABLE)
    reason_codes = np.memmap(scratch / "reasons.bin", np.uint8, "w+", shape=(max(rows, 1),))
    repeats = np.memmap(scratch / "repeats.bin", np.int64, "w+", shape=(max(rows, 1),))
    repeats[:] = -1
    identities = Records(scratch / "identities.bin", IDENTITIES)
    names = Records(scratch / "names.bin", IDENTITIES)
    pictures = Records(scratch / "pictures.bin", PICTURES)
    unknown: Counter[str] = Counter()
    unreadable: Counter[str] = Counter()
    first = 0
    for batch in iterate_batches(folder / TABLE, columns=_columns(filters, folder)):
        reasons, unsure = _judge_batch(batch, filters, opted_out)
        unknown.update({reason: int(rows.sum()) for reason, rows in unsure.items()})
        unreadable.update(
            reason
            for reason, code in zip(batch["reason"].to_pylist(), reasons, strict=True)
            if code == UNREADABLE
        )
        codes = np.array([0 if r is None else 1 + STEPS.index(r) for r in reasons], np.uint8)
        reason_codes[first : first + len(codes)] = codes
        _collect(batch, codes == 0, first, identities, names, pictures)
        first += len(codes)
    for records in (identities, names):  # the same part of a video, then the same key
        left = Records(scratch / "left.bin", IDENTITIES)
        for block in records.blocks():
            left.append(block[reason_codes[block["row"]] == 0])
        for repeated, stays in repeated_identities(left):
            reason_codes[repeated] = 1 + STEPS.index(DUPLICATE_ID)
            repeats[repeated] = stays
        left.close()
    if filters.max_phash_distance is not None:
        unseen = _without_picture(reason_codes, pictures)
        unknown[NEAR_DUPLICATE] = len(unseen)
        if filters.on_missing == "drop":
            reason_codes[unseen] = 1 + STEPS.index(NEAR_DUPLICATE)
        left = Records(scratch / "left.bin", PICTURES)
        for block in pictures.blocks():
            left.append(block[reason_codes[block["row"]] == 0])
        for repeated, stays in near_copies(left, filters.max_phash_distance, scratch):
            reason_codes[repeated] = 1 + STEPS.index(NEAR_DUPLICATE)
            repeats[repeated] = stays
    counts = _write(filters, reason_codes, repeats, folder)
    funnel = _funnel(counts, unknown, unreadable, filters)
    write_json(folder / FUNNEL, funnel)
    return funnel


def _without_picture(reason_codes: np.ndarray, pictures: Records) -> np.ndarray:
    """Rows that are still kept and have no perceptual hash."""
    seen = np.zeros(len(reason_codes), bool)
    for block in pictures.blocks():
        seen[block["row"]] = True
    return np.flatnonzero((reason_codes == 0) & ~seen)


def _columns(filters: Filters, folder: Path) -> list[str]:
    there = set(table_columns(folder))
    return [*_IDENTITY_COLUMNS, *sorted(needed_measures(filters) & there)]


def table_columns(folder: Path) -> list[str]:
    """The columns of `measures.parquet`."""
    import pyarrow.parquet as pq

    return pq.read_schema(folder / TABLE).names


def columns_of(batch: pa.Table) -> Columns:
    """Columns as numpy arrays, numbers as float64 with NaN for null, others as objects."""
    found: Columns = {}
    for name in batch.column_names:
        kind = batch.schema.field(name).type
        if pa.types.is_floating(kind) or pa.types.is_integer(kind):
            found[name] = batch[name].cast(pa.float64()).to_numpy(zero_copy_only=False)
        else:
            found[name] = objects(batch[name])
    return found


def _judge_batch(
    batch: pa.Table, filters: Filters, opted_out: frozenset[str]
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """The reason (a step of the funnel) of each row, but for repeats."""
    own = objects(batch["reason"])
    measured = np.array([reason is None for reason in own], bool)
    reasons = np.full(len(own), None, object)
    reasons[~measured] = UNREADABLE
    for known in (TOO_SHORT, OPTED_OUT):
        reasons[own == known] = known
    if opted_out:
        names = zip(*(batch[n].to_pylist() for n in ("key", "clip_id", "video_id")), strict=True)
        out = np.array([is_opted_out(opted_out, *ids) for ids in names], bool)
        reasons[out] = OPTED_OUT
    there = {name: values for name, values in columns_of(batch).items() if name != "reason"}
    judged, unknown = judge(there, filters)
    open_rows = reasons == None  # noqa: E711 - element by element
    reasons[open_rows] = judged[open_rows]
    return reasons, {reason: rows & open_rows for reason, rows in unknown.items()}


def _collect(
    batch: pa.Table,
    kept: np.ndarray,
    first: int,
    identities: Records,
    names: Records,
    pictures: Records,
) -> None:
    """Note what identifies the rows that are still kept, their names, and how they look."""
    rows = batch.filter(pa.array(kept)).to_pylist()
    numbers = np.flatnonzero(kept) + first
    priorities = [hash64(f"{row['key']}\n{row['caption']}\n{row['extra']}") for row in rows]
    found = np.empty(len(rows), IDENTITIES)
    found["identity"] = [
        hash64("\n".join(map(str, (row["video_id"], row["start_s"], row["end_s"])))) for row in rows
    ]
    found["priority"], found["row"] = priorities, numbers
    identities.append(found)
    found["identity"] = [hash64(row["key"]) for row in rows]
    names.append(found)
    seen = [(i, row["phash"]) for i, row in enumerate(rows) if row.get("phash")]
    if seen:
        looks = np.empty(len(seen), PICTURES)
        chosen = [i for i, _ in seen]
        looks["priority"] = np.array(priorities, np.uint64)[chosen]
        looks["hashes"] = [phash_bits(phash) for _, phash in seen]
        looks["row"] = numbers[chosen]
        pictures.append(looks)


def _write(
    filters: Filters, codes: np.ndarray, repeats: np.ndarray, folder: Path
) -> Counter[tuple[str | None, str]]:
    """Write the decisions; count (reason, split)."""
    counts: Counter[tuple[str | None, str]] = Counter()
    split_key = SPLIT_KEYS[filters.split_by]
    with atomic_path(folder / DECISIONS) as temporary:
        writer = TableWriter(temporary, SCHEMA)
        first = 0
        for batch in iterate_batches(
            folder / TABLE, columns=["key", "clip_id", "video_id", "reason"]
        ):
            rows = []
            stop = first + len(batch)
            own = zip(
                batch.to_pylist(), codes[first:stop].tolist(), repeats[first:stop].tolist(),
                strict=True,
            )  # fmt: skip
            for row, code, stays in own:
                step = None if code == 0 else STEPS[code - 1]
                reason = row["reason"] if step == UNREADABLE else step
                split = split_of(row[split_key], filters.test_share)
                counts[step, split] += 1
                rows.append(
                    {
                        "key": row["key"],
                        "clip_id": row["clip_id"],
                        "kept": step is None,
                        "reason": reason,
                        "split": split,
                        "repeats_row": None if stays < 0 else stays,
                    }
                )
            writer.add(rows)
            first = stop
        writer.close()
    return counts


def _funnel(
    counts: Counter[tuple[str | None, str]],
    unknown: Counter[str],
    unreadable: Counter[str],
    filters: Filters,
) -> dict[str, Any]:
    """{"steps": [{name, in, out, dropped, unknown}], "reasons", "kept", "split_by"}."""
    by_step: Counter[str | None] = Counter()
    for (step, _), count in counts.items():
        by_step[step] += count
    left = by_step.total()
    off = {rule.reason for rule in RULES} - {rule.reason for rule in active_rules(filters)}
    steps = []
    for name in [step for step in STEPS if step not in off]:
        dropped = by_step[name]
        steps.append(
            {
                "name": name,
                "in": left,
                "out": left - dropped,
                "dropped": dropped,
                "unknown": unknown[name],
            }
        )
        left -= dropped
    reasons = {step: count for step, count in by_step.items() if step not in (None, UNREADABLE)}
    return {
        "steps": steps,
        "reasons": dict(sorted({**reasons, **unreadable}.items())),
        "kept": {split: counts[None, split] for split in SPLITS},
        "split_by": filters.split_by,
    }


def withdraw(failed: dict[int, list[str]], folder: Path) -> None:
    """Take back the decision to keep some rows, for reasons that showed only later.

    Args:
        failed: row in measures.parquet → [reason, message].
        folder: the run folder.
    """
    with atomic_path(folder / DECISIONS) as temporary:
        writer = TableWriter(temporary, SCHEMA)
        for index, row in enumerate(iterate_rows(folder / DECISIONS)):
            if index in failed:
                row |= {"kept": False, "reason": failed[index][0]}
            writer.add([row])
        writer.close()
    write_json(folder / FUNNEL, recount(folder))


def recount(folder: Path) -> dict[str, Any]:
    """The funnel of the decisions as they are now; what rules could not judge stays as it was."""
    funnel = read_json(folder / FUNNEL)
    reasons: Counter[str] = Counter()
    kept: Counter[str] = Counter()
    by_step: Counter[str] = Counter()
    decided = iterate_batches(folder / DECISIONS, columns=["reason", "split"])
    measured = iterate_batches(folder / TABLE, columns=["reason"])
    for batch, known in zip(decided, measured, strict=True):
        columns = (batch["reason"], batch["split"], known["reason"])
        for reason, split, own in zip(*(c.to_pylist() for c in columns), strict=True):
            if reason is None:
                kept[split] += 1
                continue
            reasons[reason] += 1
            by_step[_step_of(reason, own)] += 1
    left = reasons.total() + kept.total()
    for step in funnel["steps"]:
        dropped = by_step[step["name"]]
        step |= {"in": left, "out": left - dropped, "dropped": dropped}
        left -= dropped
    funnel["reasons"] = dict(sorted(reasons.items()))
    funnel["kept"] = {split: kept[split] for split in SPLITS}
    return funnel


def _step_of(reason: str, own: str | None) -> str:
    """The step that dropped a row for a reason; `own` is why the row was not measured, if so.

    The reasons of files that cannot be read and of clips that cannot be encoded are the same words.
    """
    early = (UNREADABLE, TOO_SHORT)
    if own is not None:
        return reason if reason in (TOO_SHORT, OPTED_OUT) else UNREADABLE
    if reason.startswith("caption_"):
        return NOT_CAPTIONED
    return reason if reason in STEPS and reason not in early else NOT_ENCODED


def kept_rows(folder: Path) -> Iterator[tuple[int, str]]:
    """(row in measures.parquet, split) of each row that stays."""
    first = 0
    for batch in iterate_batches(folder / DECISIONS, columns=["kept", "split"]):
        for i, row in enumerate(batch.to_pylist(), start=first):
            if row["kept"]:
                yield i, row["split"]
        first += len(batch)
