"""The index of one shard: where each member of each sample lies, and what is known of the sample.

The file is a parquet table with a row a member; in memory a sample costs about 200 bytes.
"""

import io
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from dynamicrafter.errors import InputError
from dynamicrafter.shards.sample import KEY_PATTERN, MEMBERS, category_of, member_digest

INDEX_SCHEMA = pa.schema(
    [
        ("key", pa.string()),
        ("member", pa.string()),
        ("offset", pa.int64()),
        ("size", pa.int64()),
        ("digest", pa.int64()),
        ("fps", pa.float64()),
        ("frames", pa.int32()),
        ("category", pa.string()),
    ]
)


@dataclass(frozen=True)
class Entry:
    """What an index knows of a sample."""

    key: str
    frames: int
    fps: float
    category: str


@dataclass(frozen=True, eq=False)
class ShardIndex:
    """The index of a shard of n samples.

    Attributes:
        keys: their keys.
        offset: int64 `[n, 3]`, first byte of each member in the tar, in the order of MEMBERS.
        size: int64 `[n, 3]`, bytes of each member.
        digest: int64 `[n, 3]`, see `member_digest`.
        fps: float64 `[n]`, frames per second.
        frames: int32 `[n]`, frame counts.
        category: `[n]`, dictionary of texts.
    """

    keys: pa.StringArray
    offset: np.ndarray
    size: np.ndarray
    digest: np.ndarray
    fps: np.ndarray
    frames: np.ndarray
    category: pa.DictionaryArray

    def __len__(self) -> int:
        return len(self.keys)

    def entry(self, row: int) -> Entry:
        """What is known of sample `row`."""
        return Entry(
            key=self.keys[row].as_py(),
            frames=int(self.frames[row]),
            fps=float(self.fps[row]),
            category=self.category[row].as_py(),
        )

    def rows(self, frames: int, category: str | None = None) -> np.ndarray:
        """The samples of at least `frames` frames, of one category or of all: int64, ascending."""
        chosen = self.frames >= frames
        if category is not None:
            code = self.category.dictionary.index(category).as_py()
            chosen &= self.category.indices.to_numpy() == code
        return np.flatnonzero(chosen)

    def categories(self, rows: np.ndarray | None = None) -> dict[str, int]:
        """How many samples each category has, among all or among `rows`."""
        codes = self.category.indices.to_numpy()
        names = self.category.dictionary.to_pylist()
        counts = np.bincount(codes if rows is None else codes[rows], minlength=len(names))
        return {name: int(count) for name, count in zip(names, counts, strict=True) if count}


def sample_rows(
    key: str, members: Iterable[tuple[int, bytes]], info: dict[str, Any]
) -> list[dict[str, Any]]:
    """The rows of a sample.

    Args:
        key: of the sample.
        members: offset in the tar and content of each member, in the order of MEMBERS.
        info: the sample's JSON; holds `fps` and `frames`.
    """
    known = {"fps": info["fps"], "frames": info["frames"], "category": category_of(info)}
    return [
        {
            "key": key,
            "member": member,
            "offset": offset,
            "size": len(content),
            "digest": member_digest(content),
            **known,
        }
        for member, (offset, content) in zip(MEMBERS, members, strict=True)
    ]


def facts_of(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """What the manifest says of a shard with these rows: samples, shortest, categories."""
    first = rows[:: len(MEMBERS)]
    return {
        "samples": len(first),
        "shortest": min((row["frames"] for row in first), default=0),
        "categories": dict(Counter(row["category"] for row in first)),
    }


def parse_index(data: bytes, shard: dict[str, Any], place: str) -> ShardIndex:
    """The index in `data`, checked against the shard's entry in the manifest.

    Args:
        data: of the parquet file.
        shard: the entry.
        place: the file, for messages.

    Raises:
        InputError: it is no index, or does not fit its shard.
    """
    try:
        table = pq.read_table(io.BytesIO(data), schema=INDEX_SCHEMA).combine_chunks()
        first = table.take(np.arange(0, table.num_rows, len(MEMBERS)))
        index = ShardIndex(
            keys=_whole(first["key"]),
            **{
                name: table[name].to_numpy().reshape(-1, len(MEMBERS))
                for name in ("offset", "size", "digest")
            },
            fps=first["fps"].to_numpy(),
            frames=first["frames"].to_numpy(),
            category=_whole(first["category"]).dictionary_encode(),
        )
    except (pa.ArrowException, ValueError) as error:
        raise InputError(f"shard index {place} cannot be read: {error}") from None
    import pyarrow.compute as pc  # here, for it takes longer to import than most commands need it

    is_key = pc.match_substring_regex(index.keys, rf"\A{KEY_PATTERN.pattern}\z")
    is_key = is_key.fill_null(False).to_numpy(zero_copy_only=False)
    if not is_key.all():
        strange = index.keys[int(np.argmin(is_key))].as_py()
        raise InputError(f"shard index {place}: {strange!r} is no key: {KEY_PATTERN.pattern}")
    if any(column.null_count for column in table.columns) or not _fits(index, shard):
        raise InputError(f"shard index {place} does not fit its shard; pack again")
    return index


def _fits(index: ShardIndex, shard: dict[str, Any]) -> bool:
    offset, size = index.offset, index.size
    lies_inside = (offset > 0) & (size >= 0) & (size <= shard["bytes"] - offset)
    return bool(
        len(index) == shard["samples"]
        and lies_inside.all()
        and not (np.diff(offset) < 0).any()
        and index.frames.min(initial=2**31 - 1) >= shard["shortest"]
        and index.categories() == shard["categories"]
    )


def _whole(column: pa.ChunkedArray) -> pa.Array:
    return pa.concat_arrays(column.chunks) if column.num_chunks else pa.array([], column.type)
