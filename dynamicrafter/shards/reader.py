"""Random access to the samples of a shard folder.

A sample is one `os.pread` at an indexed offset. The shard is opened for each read (microseconds
beside the tens of milliseconds of a decode), so the reader holds no file: it can be pickled,
forked into DataLoader workers and used from threads.

A shard folder may come from anybody, and its keys become file names: whatever it states is checked
before it is used.
"""

import json
import os
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from dynamicrafter.errors import InputError
from dynamicrafter.files import inside, read_json, sha256_file
from dynamicrafter.shards.sample import KEY_PATTERN, MEMBERS, Sample
from dynamicrafter.shards.writer import FORMAT, INDEX_SCHEMA, MANIFEST, index_path_of, root_digest


class ShardReader:
    """The samples of a shard folder as a sequence, shard by shard, each ordered by key.

    Attributes:
        folder: the shard folder.
        digest: the manifest's root digest; equal digests mean equal bytes.
        manifest: the whole manifest.
        keys: the sample keys.
        fps: float64 [n], frames per second of each sample.
        frames: int32 [n], frame count of each sample.
    """

    def __init__(self, folder: str | os.PathLike[str], verify: bool = False):
        """Open a shard folder.

        Args:
            folder: as written by `write_shards`.
            verify: also hash every shard (reads all bytes); without it the sizes must agree.

        Raises:
            InputError: the manifest, an index or a shard is missing, malformed or does not agree.
        """
        self.folder = Path(folder)
        if not (self.folder / MANIFEST).is_file():
            raise InputError(f"{folder} has no {MANIFEST}: no shard folder, or not finished")
        self.manifest = read_json(self.folder / MANIFEST)
        self._check_manifest()
        self.digest: str = self.manifest["root_digest"]
        self.keys: list[str] = []
        parts: list[np.ndarray] = []
        for number, shard in enumerate(self.manifest["shards"]):
            self._check_shard(shard, verify)
            parts.append(self._read_index(number, shard))
        table = np.concatenate(parts) if parts else np.empty(0, _ROW)
        self._table = table
        self.fps = np.ascontiguousarray(table["fps"])
        self.frames = np.ascontiguousarray(table["frames"])

    def __len__(self) -> int:
        return len(self.keys)

    def __getitem__(self, i: int) -> Sample:
        """Read sample `i`.

        Raises:
            InputError: the shard was replaced or cut off since it was indexed, or the sample's
                texts cannot be read.
        """
        row = self._table[i]
        key = self.keys[i]
        path = self.folder / self.manifest["shards"][row["shard"]]["file"]
        start = int(row["offset"][0]) - tarfile.BLOCKSIZE
        stop = int(row["offset"][-1] + row["size"][-1])
        try:
            data = _pread(path, start, stop - start)
        except FileNotFoundError:
            raise InputError(f"shard {path} is missing; restore it or pack again") from None
        contents = {}
        for member, offset, size in zip(MEMBERS, row["offset"], row["size"], strict=True):
            begin = int(offset) - start
            name = data[begin - tarfile.BLOCKSIZE :][:100].rstrip(b"\0")
            contents[member] = data[begin : begin + int(size)]
            if name != f"{key}.{member}".encode() or len(contents[member]) != size:
                raise InputError(
                    f"shard {path} does not hold {key}.{member} where its index says; "
                    "it was replaced or cut off: pack again"
                )
        try:
            text, info = contents["txt"].decode(), json.loads(contents["json"])
        except (ValueError, RecursionError) as error:  # no UTF-8, no JSON
            raise InputError(f"shard {path}: sample {key} cannot be read: {error}") from None
        if not isinstance(info, dict):
            raise InputError(f"shard {path}: the JSON of sample {key} is no object")
        return Sample(key, contents["mp4"], text, info)

    def _check_manifest(self) -> None:
        manifest, path = self.manifest, self.folder / MANIFEST
        _require(manifest, {"format": int, "config_digest": str, "root_digest": str}, path)
        _require(manifest, {"shards": list}, path)
        if manifest["format"] != FORMAT:
            raise InputError(f"{path} has format {manifest['format']}, not {FORMAT}")
        try:
            agrees = root_digest(manifest) == manifest["root_digest"]
        except ValueError:  # NaN or text that is no UTF-8, which no writer puts there
            agrees = False
        if not agrees:
            raise InputError(f"{path} does not match its root digest; pack again")
        for shard in manifest["shards"]:
            _require(shard, {"file": str, "sha256": str, "index_sha256": str}, path)
            _require(shard, {"bytes": int, "samples": int}, path)

    def _check_shard(self, shard: dict[str, Any], verify: bool) -> None:
        path = inside(self.folder, shard["file"])
        index = index_path_of(path)
        for needed in (path, index):
            if not needed.is_file():
                raise InputError(f"shard file {needed} is missing; restore it or pack again")
        if (size := path.stat().st_size) != shard["bytes"]:
            raise InputError(f"shard {path} has {size} bytes, the manifest says {shard['bytes']}")
        if sha256_file(index) != shard["index_sha256"]:
            raise InputError(f"shard index {index} was changed since it was written; pack again")
        if verify and sha256_file(path) != shard["sha256"]:
            raise InputError(f"shard {path} does not match its sha256 in the manifest; pack again")

    def _read_index(self, number: int, shard: dict[str, Any]) -> np.ndarray:
        path = index_path_of(self.folder / shard["file"])
        try:
            columns = pq.read_table(path, schema=INDEX_SCHEMA)
            part = np.empty(columns.num_rows // len(MEMBERS), _ROW)
            part["shard"] = number
            for name in ("offset", "size"):
                part[name] = columns[name].to_numpy().reshape(-1, len(MEMBERS))
            for name in ("fps", "frames"):
                part[name] = columns[name].to_numpy()[:: len(MEMBERS)]
        except (pa.ArrowException, ValueError) as error:
            raise InputError(f"shard index {path} cannot be read: {error}") from None
        keys = columns["key"].to_pylist()[:: len(MEMBERS)]
        for key in keys:
            if key is None or not KEY_PATTERN.fullmatch(key):
                raise InputError(f"shard index {path}: {key!r} is no key: {KEY_PATTERN.pattern}")
        offset, size = part["offset"], part["size"]
        lies_inside = (
            (offset >= tarfile.BLOCKSIZE) & (size >= 0) & (size <= shard["bytes"] - offset)
        )
        if len(keys) != shard["samples"] or not lies_inside.all() or (np.diff(offset) < 0).any():
            raise InputError(f"shard index {path} does not fit its shard; pack again")
        self.keys += keys
        return part


_ROW = np.dtype(
    [
        ("shard", np.int32),
        ("offset", np.int64, len(MEMBERS)),
        ("size", np.int64, len(MEMBERS)),
        ("fps", np.float64),
        ("frames", np.int32),
    ]
)


def _require(entry: Any, fields: dict[str, type], path: Path) -> None:
    for name, kind in fields.items():
        if not isinstance(entry, dict) or not isinstance(entry.get(name), kind):
            raise InputError(f"{path} lacks a proper {name}; it is no manifest of shards")


def _pread(path: Path, offset: int, size: int) -> bytes:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        return os.pread(descriptor, size, offset)
    finally:
        os.close(descriptor)
