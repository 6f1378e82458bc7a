"""Writes a shard folder whose bytes depend on nothing but the samples.

A shard is written by `write_shard`, by whatever process; `write_manifest` then declares the folder
whole. `write_shards` does both, one shard after the other. The manifest is removed first and
written last, so a folder with a manifest is whole.
"""

import json
import math
import os
import tarfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from dynamicrafter.errors import InputError
from dynamicrafter.files import atomic_path, sha256_file, write_json
from dynamicrafter.shards.index import INDEX_SCHEMA, facts_of, sample_rows
from dynamicrafter.shards.manifest import FORMAT, MANIFEST, index_name, root_digest
from dynamicrafter.shards.sample import KEY_PATTERN, MEMBERS, Sample

if TYPE_CHECKING:
    import webdataset


def write_shards(
    folder: str | os.PathLike[str],
    samples: Iterable[Sample],
    *,
    name: str,
    config_digest: str,
    shard_bytes: int = 512 * 2**20,
) -> dict[str, Any]:
    """Write `samples` as `<name>-000000.tar` … with their indexes and manifest; return the latter.

    Args:
        folder: created if need be; older shards in it are replaced.
        samples: in ascending order of their keys; consumed one at a time.
        name: prefix of the shard files.
        config_digest: digest of the configuration that made the samples.
        shard_bytes: a shard is closed once it is this long.

    Raises:
        InputError: a key breaks the rule, is repeated or out of order.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / MANIFEST).unlink(missing_ok=True)
    shards: list[dict[str, Any]] = []
    left = _Pushback(_checked(samples))
    while left.more():
        shards.append(write_shard(folder / f"{name}-{len(shards):06d}.tar", left, shard_bytes))
    return write_manifest(folder, shards, config_digest)


def write_shard(
    path: Path, samples: Iterable[Sample], shard_bytes: float = math.inf
) -> dict[str, Any]:
    """Write one shard and its index, from `samples` until it is `shard_bytes` long.

    Args:
        path: of the tar.
        samples: in ascending order of their keys; consumed one at a time.
        shard_bytes: the shard is closed once it is this long.

    Returns:
        Its entry in the manifest.
    """
    import webdataset

    rows: list[dict[str, Any]] = []
    with (
        atomic_path(path) as temporary,
        temporary.open("wb") as file,
        webdataset.TarWriter(file, user="", group="", mtime=0, encoder=False) as tar,
    ):
        for sample in samples:
            rows += _add(tar, sample)
            if tar.tarstream.offset >= shard_bytes:
                break
    return index_shard(path, rows)


def index_shard(path: Path, rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Write the index of a shard that lies at `path`; return its entry in the manifest.

    Args:
        path: of the tar.
        rows: of INDEX_SCHEMA, those of a sample after each other, its members as in MEMBERS.
    """
    index_path = index_path_of(path)
    with atomic_path(index_path) as temporary:
        pq.write_table(pa.Table.from_pylist(rows, schema=INDEX_SCHEMA), temporary)
    return {
        "file": path.name,
        "bytes": path.stat().st_size,
        "sha256": sha256_file(path),
        "index_bytes": index_path.stat().st_size,
        "index_sha256": sha256_file(index_path),
        **facts_of(rows),
    }


def write_manifest(
    folder: Path, shards: list[dict[str, Any]], config_digest: str
) -> dict[str, Any]:
    """Declare `shards`, entries of `write_shard`, to be the whole of `folder`; remove others."""
    folder.mkdir(parents=True, exist_ok=True)
    _remove_others(folder, shards)
    content = {"format": FORMAT, "config_digest": config_digest, "shards": shards}
    manifest = {
        **content,
        "samples": sum(shard["samples"] for shard in shards),
        "root_digest": root_digest(content),
    }
    write_json(folder / MANIFEST, manifest)
    return manifest


class _Pushback:
    """An iterator that can be asked whether there is more."""

    def __init__(self, samples: Iterable[Sample]):
        self._samples = iter(samples)
        self._next = next(self._samples, None)

    def more(self) -> bool:
        return self._next is not None

    def __iter__(self) -> Iterator[Sample]:
        while (sample := self._next) is not None:
            self._next = next(self._samples, None)
            yield sample


def index_path_of(tar_path: Path) -> Path:
    """`clips-000000.tar` → `clips-000000.index.parquet` beside it."""
    return tar_path.with_name(index_name(tar_path.name))


def _checked(samples: Iterable[Sample]) -> Iterable[Sample]:
    last = ""
    for sample in samples:
        if not KEY_PATTERN.fullmatch(sample.key):
            raise InputError(f"sample key {sample.key!r} must match {KEY_PATTERN.pattern}")
        if sample.key <= last:
            raise InputError(f"sample key {sample.key!r} after {last!r}: keys must be ascending")
        last = sample.key
        yield sample


def _add(tar: "webdataset.TarWriter", sample: Sample) -> list[dict[str, Any]]:
    """Write one sample; returns its index rows."""
    info = json.dumps(sample.info, sort_keys=True, ensure_ascii=False, allow_nan=False)
    contents = {"json": info.encode(), "mp4": sample.video, "txt": sample.text.encode()}
    offset = tar.tarstream.offset
    tar.write({"__key__": sample.key, **contents})
    members = []
    for content in (contents[member] for member in MEMBERS):
        offset += tarfile.BLOCKSIZE  # its header
        members.append((offset, content))
        offset += -(-len(content) // tarfile.BLOCKSIZE) * tarfile.BLOCKSIZE
    return sample_rows(sample.key, members, sample.info)


def _remove_others(folder: Path, shards: list[dict[str, Any]]) -> None:
    """Remove shards of an earlier, longer writing."""
    tars = [folder / shard["file"] for shard in shards]
    wanted = {*tars, *(index_path_of(tar) for tar in tars)}
    for path in [*folder.glob("*.tar"), *folder.glob("*.index.parquet")]:
        if path not in wanted:
            path.unlink()
