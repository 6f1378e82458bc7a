"""What the samples of shard folders say of themselves, without their videos.

A shard folder may come from anybody: nothing in a sample's JSON is as it should be until it is
looked at.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from curation.passes.filters import SPLITS
from dynamicrafter.errors import InputError
from dynamicrafter.shards import ShardReader
from dynamicrafter.shards.manifest import MANIFEST
from dynamicrafter.shards.sample import MEMBERS

MOST_BYTES = 16 * 2**20  # of a sample's JSON


def shard_folders(path: Path, splits: tuple[str, ...] | list[str] = SPLITS) -> list[Path]:
    """The shard folders that `path` names: itself, or those of a dataset folder or curate run.

    Raises:
        InputError: there is none.
    """
    if (path / MANIFEST).is_file() and not (path / "dataset").is_dir():
        return [path]
    dataset = path / "dataset" if (path / "dataset").is_dir() else path
    found = [dataset / split for split in splits if (dataset / split / MANIFEST).is_file()]
    if not found:
        raise InputError(
            f"{path} is neither a shard folder nor a curate run or dataset folder with a finished "
            f"{' or '.join(splits)} in it"
        )
    return found


def iterate_infos(folder: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """(key, info) of each sample, in order; of each video not a byte is read.

    Raises:
        InputError: the folder is no whole shard folder, or a JSON cannot be read.
    """
    reader = ShardReader(folder)
    for number, shard in enumerate(reader.manifest["shards"]):
        index, path = reader.index(number), Path(folder) / shard["file"]
        for row, key in enumerate(index.keys.to_pylist()):
            if index.size[row, MEMBERS.index("json")] > MOST_BYTES:
                raise InputError(f"shard {path}: the JSON of sample {key} is too large")
            yield key, parse_info(reader.info_bytes(reader.start_of(number) + row), key, path)


def parse_info(data: bytes, key: str, path: Path) -> dict[str, Any]:
    """A sample's JSON.

    Raises:
        InputError: it is too large, or no JSON object.
    """
    try:
        info = json.loads(data) if len(data) <= MOST_BYTES else None
    except (ValueError, RecursionError) as error:
        raise InputError(f"shard {path}: sample {key} cannot be read: {error}") from None
    if not isinstance(info, dict):
        raise InputError(f"shard {path}: the JSON of sample {key} is no object, or too large")
    return info
