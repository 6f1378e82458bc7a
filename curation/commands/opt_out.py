"""`dynamicrafter curate opt-out`: takes clips out of shards and out of all that a run says of them.

Of a run folder

    opt_out.txt                         is given the ids, so that later runs leave the clips out
    dataset/train, dataset/test         are rewritten without them, and so are the tables in CSV
    listing/, inspect-1/, shots/, measures/, encoded/, captions/, pack/
                                        lose the files of the parts and pieces that they lie in
    measures.parquet, decisions.parquet keep a row that says `opted_out` and nothing else of them
    funnel.json, summary.json, done.json    are counted again
    captions.parquet, quarantine.jsonl, DATASHEET.md, croissant.json, manifest.json
                                        go; the next run of `curate` writes them again

in this order, and an interrupted call is finished by the same one.
"""

import contextlib
import csv
import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from curation.passes.decide import DECISIONS, FUNNEL, recount
from curation.passes.filters import OPTED_OUT, SPLITS
from curation.passes.gather import PIECES, TABLE
from curation.passes.inspect import INSPECT
from curation.passes.listing import INDEX, LISTING
from curation.passes.opted_out import OPT_OUT, is_opted_out, read_ids
from curation.publish.opt_out import NAMES, remove_from_shards
from curation.tables import iterate_batches, iterate_rows, long_cells
from dynamicrafter.command import compose, say
from dynamicrafter.errors import InputError
from dynamicrafter.files import (
    atomic_path,
    folder_lock,
    read_json,
    sha256_json,
    sweep_temporaries,
    write_json,
    write_text,
)
from dynamicrafter.shards import ShardReader

STAYS = ("key", "clip_id", "video_id", "source", "frames")
"""What a row of `measures.parquet` still says of a clip that is taken out."""

OF_A_PIECE = ("shots", "measures", "encoded", "captions", "quarantine")
OF_ALL_CAPTIONS = ("captions.parquet", "quarantine.jsonl")
PAPERS = ("DATASHEET.md", "croissant.json", "manifest.json")


def main() -> None:
    """Take out the clips that conf/opt_out.yaml names."""
    compose("opt_out", opt_out)


def opt_out(config: Any) -> dict[str, int]:
    """Take the clips of `config.ids` out of `config.run` and `config.dataset`; what went where.

    Raises:
        InputError: there are no ids, or no such folder.
    """
    ids = read_ids(config.ids)
    if not ids:
        raise InputError(f"ids={config.ids} names no clip")
    if config.run is None and config.dataset is None:
        raise InputError("say where from: run=<curate run folder> or dataset=<shard folder>")
    gone: Counter[str] = Counter()
    if config.run is not None:
        run = Path(config.run)
        if not (run / TABLE).is_file():
            raise InputError(f"run={run} has no {TABLE}: it is no run folder of `curate`")
        with folder_lock(run):
            sweep_temporaries(run)
            gone += _from_run(run, ids)
    if config.dataset is not None:
        folder = Path(config.dataset)
        if not folder.is_dir():
            raise InputError(f"dataset={folder} does not exist")
        with folder_lock(folder):
            gone[f"samples in {folder}"] += remove_from_shards(folder, ids)
    parts = [f"{count} {what}" for what, count in gone.items() if count]
    line = f"opted out by {len(ids)} ids: " + (", ".join(parts) or "nothing was there")
    if config.run is not None and (Path(config.run) / "wandb").exists():
        line += f"; {Path(config.run) / 'wandb'} may show them still: remove it"
    say(line)
    return dict(gone)


@dataclass
class _Meant:
    """The clips that are meant, as a run folder knows them."""

    rows: list[int]  # of measures.parquet
    names: frozenset[str]  # the ids, and the clips' keys
    pieces: set[str]
    parts: set[str]


def _from_run(run: Path, ids: frozenset[str]) -> Counter[str]:
    gone: Counter[str] = Counter()
    meant = _find(run, ids)
    for split in SPLITS:
        folder = run / "dataset" / split
        if folder.is_dir() and any(folder.iterdir()):
            gone[f"samples in dataset/{split}"] += remove_from_shards(folder, meant.names)
    for path in sorted(run.glob("*.csv")) + sorted((run / "dataset").glob("**/*.csv")):
        gone[f"lines of {path.relative_to(run)}"] += _without_lines(path, meant.names)
    gone["files of passes"] += _remove_files(run, meant)
    gone[f"rows of {DECISIONS}"] += _clear_decisions(run, meant.rows)
    gone[f"rows of {TABLE}"] += _clear_measures(run, meant.rows)
    for name in (*OF_ALL_CAPTIONS, *PAPERS):
        (run / name).unlink(missing_ok=True)
    _make_fit(run)
    return gone


def _find(run: Path, ids: frozenset[str]) -> _Meant:
    """Find the clips and note them in `opt_out.txt`."""
    if (run / OPT_OUT).exists():
        ids |= read_ids(run / OPT_OUT)
    rows, keys, by_url = [], set(), set()
    first = 0
    columns = ["key", "clip_id", "video_id", "extra"]
    for batch in iterate_batches(run / TABLE, columns=columns):
        own = zip(*(batch[name].to_pylist() for name in columns), strict=True)
        for number, (key, clip_id, video_id, extra) in enumerate(own, start=first):
            by_name = is_opted_out(ids, key, clip_id, video_id)
            if not by_name and not is_opted_out(ids, *_other_names(extra)):
                continue
            rows.append(number)
            keys.add(key)
            if not by_name:  # decisions know nothing of other names
                by_url.add(clip_id)
        first += len(batch)
    _remember(run / OPT_OUT, ids | by_url)
    affected = [row for row in iterate_rows(run / PIECES)] if (run / PIECES).exists() else []
    numbers = iter(rows)
    number = next(numbers, None)
    pieces, parts = set(), set()
    for piece in affected:
        while number is not None and number < piece["first"] + piece["rows"]:
            pieces.add(piece["piece"])
            parts.add(piece["part"])
            number = next(numbers, None)
    return _Meant(rows, ids | keys, pieces, parts)


def _other_names(extra: str | None) -> list[str]:
    if not extra or not ('"contentUrl"' in extra or '"videoid"' in extra):
        return []
    found = json.loads(extra)
    return [found[name] for name in NAMES if isinstance(found.get(name), str)]


def _remember(path: Path, ids: frozenset[str]) -> None:
    there = path.read_text(encoding="utf-8-sig") if path.exists() else ""
    new = sorted(ids - (read_ids(path) if path.exists() else frozenset()))
    if new:
        between = "" if not there or there.endswith("\n") else "\n"
        write_text(path, there + between + "\n".join(new) + "\n")


@long_cells()
def _without_lines(path: Path, names: frozenset[str]) -> int:
    """Rewrite a CSV without the rows of these clips; return how many that were.

    Names are looked for in the columns that hold names, or, where none is called so, in all.
    """
    lines = 0
    try:
        with (
            contextlib.suppress(_Unchanged),
            path.open(encoding="utf-8-sig", newline="") as old,
            atomic_path(path) as temporary,
            temporary.open("w", encoding="utf-8", newline="") as new,
        ):
            rows = csv.reader(old)
            table = csv.writer(new, lineterminator="\n")
            header = next(rows, [])
            table.writerow(header)
            where = [i for i, name in enumerate(header) if name in ("key", *NAMES)]
            for row in rows:
                cells = [row[i] for i in where if i < len(row)] if where else row
                if is_opted_out(names, *cells):
                    lines += 1
                else:
                    table.writerow(row)
            if not lines:
                raise _Unchanged
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path} is no CSV that can be read: {error}") from None
    return lines


class _Unchanged(Exception):
    """Leaves the block of an atomic writer without writing."""


def _remove_files(run: Path, meant: _Meant) -> int:
    """Remove what passes wrote of the pieces and parts; those are made again by the next run."""
    doomed = [
        path
        for name in OF_A_PIECE
        for path in (run / name).rglob("*")
        if path.is_file() and path.name.split("-")[0].split(".")[0] in meant.pieces
    ]
    for part in meant.parts:
        doomed += [run / LISTING / f"{part}.parquet", run / INSPECT / f"{part}.parquet"]
    if meant.parts:
        doomed.append(run / INDEX)  # the parts that it names are not all there
    for path in (run / "pack").glob("*.csv"):
        if _without_lines(path, meant.names):
            doomed += [path, path.with_suffix(".json")]
    if meant.rows:
        doomed += (run / "pack").glob("plan-*.parquet")
    there = [path for path in doomed if path.exists()]
    for path in there:
        path.unlink()
    return len(there)


def _clear_measures(run: Path, numbers: list[int]) -> int:
    def cleared(row: dict[str, Any]) -> dict[str, Any]:
        return {name: row[name] if name in STAYS else None for name in row} | {"reason": OPTED_OUT}

    return _change_rows(run / TABLE, numbers, cleared)


def _clear_decisions(run: Path, numbers: list[int]) -> int:
    def cleared(row: dict[str, Any]) -> dict[str, Any]:
        return row | {"kept": False, "reason": OPTED_OUT, "repeats_row": None}

    return _change_rows(run / DECISIONS, numbers, cleared) if (run / DECISIONS).exists() else 0


def _change_rows(path: Path, numbers: list[int], change: Any) -> int:
    """Rewrite some rows of a large table; return how many of them were another."""
    changed = first = 0
    wanted = set(numbers)
    schema = pq.read_schema(path)
    notes = pq.read_metadata(path).metadata or {}
    with contextlib.suppress(_Unchanged), atomic_path(path) as temporary:
        with pq.ParquetWriter(temporary, schema, compression="zstd") as writer:
            for batch in iterate_batches(path):
                own = [i for i in range(len(batch)) if first + i in wanted]
                if own:
                    rows = batch.to_pylist()
                    for i in own:
                        new = change(rows[i])
                        changed += new != rows[i]
                        rows[i] = new
                    batch = pa.Table.from_pylist(rows, schema=schema)
                writer.write_table(batch.replace_schema_metadata(schema.metadata))
                first += len(batch)
            if b"content" in notes:  # stands for what the rows say
                content = sha256_json([notes[b"content"].decode(), numbers])
                writer.add_key_value_metadata({"content": content})
        if not changed:
            raise _Unchanged
    return changed


def _make_fit(run: Path) -> None:
    """Count again what the run has counted."""
    funnel = recount(run) if (run / FUNNEL).exists() and (run / DECISIONS).exists() else None
    if funnel:
        write_json(run / FUNNEL, funnel)
    splits = {}
    for split in SPLITS:
        if (run / "dataset" / split / "manifest.json").exists():
            reader = ShardReader(run / "dataset" / split)
            splits[split] = {
                "samples": len(reader),
                "frames": int(reader.frames.sum()),
                "shards": len(reader.manifest["shards"]),
                "bytes": sum(shard["bytes"] for shard in reader.manifest["shards"]),
                "root_digest": reader.digest,
            }
    for name, part in (("summary.json", None), ("done.json", "summary")):
        if not (run / name).exists():
            continue
        whole = read_json(run / name)
        summary = whole[part] if part else whole
        new = {"dataset": splits, **(funnel or {})}
        summary |= {key: value for key, value in new.items() if key in summary}
        summary.pop("root_digest", None)  # of the manifest that has gone
        write_json(run / name, whole)
