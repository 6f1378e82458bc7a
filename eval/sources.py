"""What the report reads from the run folders of the other verbs, and nothing else of them."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dynamicrafter import files
from dynamicrafter.errors import InputError
from dynamicrafter.shards import Sample, ShardReader


def run_folder(path: str, verb: str, setting: str) -> Path:
    """The run folder `path` of `verb`, which `setting` names.

    Raises:
        InputError: it does not exist; the message names the command that makes it.
    """
    if not Path(path).is_dir():
        raise InputError(
            f"there is no run of `{verb}` at {path}; make it with "
            f"`dynamicrafter {verb} run_dir={path}` or name another with {setting}=FOLDER"
        )
    return Path(path)


def digest(folder: Path) -> str:
    """The digest of a finished run, that of its configuration and inputs.

    Raises:
        InputError: the run has not finished.
    """
    return document(folder / "done.json", ["digest"])["digest"]


def document(path: Path, keys: Sequence[str]) -> dict[str, Any]:
    """Read a JSON object that has `keys`.

    Raises:
        InputError: the file is missing, is not JSON, or lacks a key.
    """
    if not path.is_file():
        raise InputError(f"{path} does not exist: the run in {path.parent} has not finished")
    value = files.read_json(path)
    missing = [key for key in keys if not isinstance(value, dict) or key not in value]
    if missing:
        raise InputError(f"{path} has no {', '.join(missing)}; run its command again")
    return value


def metrics(path: Path) -> list[dict[str, Any]]:
    """Read the rows of a `metrics.jsonl`.

    Raises:
        InputError: the file is missing or a line is not a JSON object with step and loss.
    """
    if not path.is_file():
        raise InputError(f"{path} does not exist: the training in {path.parents[2]} is not whole")
    rows = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        try:
            row = json.loads(line)
            rows.append({"step": float(row["step"]), "loss": _loss(row["loss"]), **_rest(row)})
        except (ValueError, KeyError, TypeError):
            raise InputError(
                f"{path} line {number} is not a row of metrics: {line[:60]!r}"
            ) from None
    return rows


def stages(folder: Path) -> list[tuple[str, list[dict[str, Any]]]]:
    """The training stages below `folder` in their order: (folder name, rows of metrics)."""
    found = sorted(path for path in (folder / "stages").glob("*") if path.is_dir())
    return [(path.name, metrics(path / "metrics.jsonl")) for path in found]


@dataclass(frozen=True)
class Clip:
    """A curated clip as the report shows it."""

    key: str
    split: str
    video: bytes
    old_caption: str
    new_caption: str
    info: dict[str, Any]


def clips(folder: Path, split: str, count: int) -> list[Clip]:
    """At most `count` clips of `dataset/<split>`, evenly spread over the folder."""
    return [
        Clip(
            key=sample.key,
            split=split,
            video=sample.video,
            old_caption=sample.info["name"],
            new_caption=sample.text,
            info=sample.info,
        )
        for sample in _spread(folder / "dataset" / split, count)
    ]


def infos(folder: Path, count: int) -> list[dict[str, Any]]:
    """What is known of at most `count` clips of each split, evenly spread."""
    splits = (folder / "dataset" / split for split in ("train", "test"))
    return [sample.info for split in splits for sample in _spread(split, count)]


def decisions(folder: Path) -> list[dict[str, Any]]:
    """The rows (key, kept, reason, split) of `decisions.parquet`, sorted by key."""
    import pandas as pd

    path = folder / "decisions.parquet"
    if not path.is_file():
        raise InputError(f"{path} does not exist: the run in {folder} has not finished")
    table = pd.read_parquet(path, columns=["key", "kept", "reason", "split"])
    table = table.sort_values("key").astype(object)
    return table.where(table.notna(), None).to_dict("records")


def _spread(folder: Path, count: int) -> Iterator[Sample]:
    reader = ShardReader(folder)
    step = max(len(reader) / count, 1.0) if count else 1.0
    for number in range(min(len(reader), count)):
        yield reader[int(number * step)]


def _loss(value: Any) -> float:
    return float("nan") if value is None else float(value)


def _rest(row: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if name not in ("step", "loss")}
