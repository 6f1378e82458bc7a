"""Random access to the samples of a shard folder.

A sample is one `os.pread` at an indexed offset. The shard is opened for each read (microseconds
beside the tens of milliseconds of a decode), so the reader holds no file: it can be pickled,
forked into DataLoader workers and used from threads.
"""

import json
import os
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from dynamicrafter.errors import InputError
from dynamicrafter.files import read_json, sha256_file
from dynamicrafter.shards.sample import MEMBERS, Sample
from dynamicrafter.shards.writer import FORMAT, MANIFEST, index_path_of, root_digest


class ShardReader:
    """The samples of a shard folder as a sequence, ordered by key.

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
            InputError: the manifest, an index or a shard is missing or does not agree.
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
            InputError: the shard was replaced or cut off since it was indexed.
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
        return Sample(key, contents["mp4"], contents["txt"].decode(), json.loads(contents["json"]))

    def _check_manifest(self) -> None:
        manifest, path = self.manifest, self.folder / MANIFEST
        if manifest.get("format") != FORMAT:
            raise InputError(f"{path} has format {manifest.get('format')}, not {FORMAT}")
        if root_digest(manifest) != manifest["root_digest"]:
            raise InputError(f"{path} does not match its root digest; pack again")

    def _check_shard(self, shard: dict[str, Any], verify: bool) -> None:
        path = self.folder / shard["file"]
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
        columns = pq.read_table(index_path_of(self.folder / shard["file"]))
        self.keys += columns["key"].to_pylist()[:: len(MEMBERS)]
        part = np.empty(shard["samples"], _ROW)
        part["shard"] = number
        for name in ("offset", "size"):
            part[name] = columns[name].to_numpy().reshape(-1, len(MEMBERS))
        for name in ("fps", "frames"):
            part[name] = columns[name].to_numpy()[:: len(MEMBERS)]
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


def _pread(path: Path, offset: int, size: int) -> bytes:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        return os.pread(descriptor, size, offset)
    finally:
        os.close(descriptor)
