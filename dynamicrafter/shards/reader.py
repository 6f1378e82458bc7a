"""Random access to the samples of a shard folder, local or remote.

Opening reads the manifest alone. The index of a shard is read when one of its samples is asked for,
and a few are kept, so that ten million samples open in a second and take little memory. A sample is
one read at an indexed offset; every member is checked against its digest. The reader holds no open
file: it can be pickled, forked into DataLoader workers and used by them at once.

A shard folder may come from anybody, and its keys become file names: whatever it states is checked
before it is used.
"""

import functools
import json
import os
from collections import OrderedDict
from typing import Any

import numpy as np

from dynamicrafter.errors import InputError
from dynamicrafter.files import sha256_bytes
from dynamicrafter.shards.cache import BlockCache
from dynamicrafter.shards.index import Entry, ShardIndex, parse_index
from dynamicrafter.shards.manifest import MANIFEST, index_name, parse_manifest
from dynamicrafter.shards.sample import MEMBERS, Sample, member_digest
from dynamicrafter.shards.stores import missing, open_store

KEPT_SAMPLES = 2**18  # whose index rows are kept in memory, about 50 MB


class ShardReader:
    """The samples of a shard folder as a sequence, shard by shard, each ordered by key.

    Attributes:
        folder: the shard folder, or its URL.
        digest: the manifest's root digest; equal digests mean equal bytes.
        manifest: the whole manifest.
        counts: int64 `[shards]`, samples of each shard.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        verify: bool = False,
        cache: BlockCache | None = None,
    ):
        """Open a shard folder.

        Args:
            folder: as written by `write_shards`, or the URL of such a folder.
            verify: also hash every shard and index (reads all bytes); without it the sizes must
                agree, and each sample is hashed when it is read.
            cache: where blocks of a remote folder are kept.

        Raises:
            InputError: the manifest, an index or a shard is missing, malformed or does not agree.
            MachineError: a store cannot be reached.
        """
        self._store = open_store(folder, cache)
        self.folder = self._store.place
        data = self._store.read_all(MANIFEST)
        if data is None:
            raise InputError(f"{folder} has no {MANIFEST}: no shard folder, or not finished")
        self.manifest = parse_manifest(data, self._store.where(MANIFEST))
        self.digest: str = self.manifest["root_digest"]
        shards = self.manifest["shards"]
        self.counts = np.array([shard["samples"] for shard in shards], np.int64)
        self._ends = np.cumsum(self.counts)
        self._kept: OrderedDict[int, ShardIndex] = OrderedDict()
        self._check_sizes()
        if verify:
            self._check_contents()

    def __getstate__(self) -> dict[str, Any]:
        """Without the indexes that were read, which another process does not need."""
        state = {name: value for name, value in self.__dict__.items() if name != "_columns"}
        return {**state, "_kept": OrderedDict()}

    def __len__(self) -> int:
        return int(self.counts.sum())

    def __getitem__(self, i: int) -> Sample:
        """Read sample `i`.

        Raises:
            InputError: the shard is missing, was replaced or cut off since it was indexed, or the
                sample's texts cannot be read.
            MachineError: a store cannot be reached, or the disk of its cache is full.
        """
        shard, row = self.shard_of(i)
        key = self.index(shard).keys[row].as_py()
        json_bytes, video, text_bytes = self._read(shard, row, range(len(MEMBERS)))
        where = self._store.where(self.manifest["shards"][shard]["file"])
        try:
            text, info = text_bytes.decode(), json.loads(json_bytes)
        except (ValueError, RecursionError) as error:  # no UTF-8, no JSON
            raise InputError(f"shard {where}: sample {key} cannot be read: {error}") from None
        if not isinstance(info, dict):
            raise InputError(f"shard {where}: the JSON of sample {key} is no object")
        return Sample(key, video, text, info)

    def shard_of(self, i: int) -> tuple[int, int]:
        """Shard of sample `i`, and its place in there.

        Raises:
            IndexError: there are fewer samples.
        """
        i = i + len(self) if i < 0 else i
        if not 0 <= i < len(self):
            raise IndexError(f"sample {i} of {len(self)}")
        shard = int(np.searchsorted(self._ends, i, side="right"))
        return shard, int(i - self.start_of(shard))

    def start_of(self, shard: int) -> int:
        """Number of the first sample of a shard."""
        return int(self._ends[shard] - self.counts[shard])

    def index(self, shard: int) -> ShardIndex:
        """The index of a shard, read and checked when it is first needed.

        Raises:
            InputError: it is missing, was changed, or does not fit its shard.
        """
        if shard in self._kept:
            self._kept.move_to_end(shard)
            return self._kept[shard]
        found = self._kept[shard] = self._read_index(shard)
        while len(self._kept) > 1 and sum(map(len, self._kept.values())) > KEPT_SAMPLES:
            self._kept.popitem(last=False)
        return found

    def entry(self, i: int) -> Entry:
        """What the index knows of sample `i`."""
        shard, row = self.shard_of(i)
        return self.index(shard).entry(row)

    def info_bytes(self, i: int) -> bytes:
        """The JSON of sample `i` as it was written, without reading its video.

        Raises:
            InputError: as for the whole sample.
        """
        return self._read(*self.shard_of(i), [MEMBERS.index("json")])[0]

    @property
    def keys(self) -> list[str]:
        """The keys of all samples; reads every index."""
        return self._columns[0]

    @property
    def fps(self) -> np.ndarray:
        """float64 `[n]`, frames per second of each sample; reads every index."""
        return self._columns[1]

    @property
    def frames(self) -> np.ndarray:
        """int32 `[n]`, frame count of each sample; reads every index."""
        return self._columns[2]

    @functools.cached_property
    def _columns(self) -> tuple[list[str], np.ndarray, np.ndarray]:
        indexes = [self._read_index(shard) for shard in range(len(self.counts))]
        keys = [key for index in indexes for key in index.keys.to_pylist()]
        fps = np.concatenate([np.empty(0), *(index.fps for index in indexes)])
        frames = np.concatenate([np.empty(0, np.int32), *(index.frames for index in indexes)])
        return keys, fps, frames

    def _read(self, shard: int, row: int, members: range | list[int]) -> list[bytes]:
        """The checked contents of members of a sample that lie one after the other."""
        index, entry = self.index(shard), self.manifest["shards"][shard]
        offset, size = index.offset[row, members], index.size[row, members]
        start, length = int(offset[0]), int(offset[-1] + size[-1] - offset[0])
        place = (entry["file"], start, length, entry["sha256"])
        for again in (True, False):
            data = self._store.read(*place)
            contents = [
                data[begin : begin + int(count)]
                for begin, count in zip((offset - start).tolist(), size, strict=True)
            ]
            wrong = [
                MEMBERS[member]
                for member, content in zip(members, contents, strict=True)
                if member_digest(content) != index.digest[row, member]
            ]
            if not wrong:
                return contents
            if not (self._store.forget(*place) and again):  # it may have rotted in the cache
                break
        raise InputError(
            f"shard {self._store.where(entry['file'])} does not hold "
            f"{index.keys[row].as_py()}.{wrong[0]} where its index says; "
            "it was replaced or cut off: pack again"
        )

    def _read_index(self, shard: int) -> ShardIndex:
        entry = self.manifest["shards"][shard]
        name = index_name(entry["file"])
        place = (name, 0, entry["index_bytes"], entry["index_sha256"])
        for again in (True, False):
            data = self._store.read(*place)
            if sha256_bytes(data) == entry["index_sha256"]:
                return parse_index(data, entry, self._store.where(name))
            if not (self._store.forget(*place) and again):
                break
        raise InputError(
            f"shard index {self._store.where(name)} was changed since it was written; pack again"
        )

    def _check_sizes(self) -> None:
        sizes = self._store.sizes()
        if sizes is None:  # then it is found out when it is read
            return
        for entry in self.manifest["shards"]:
            name = index_name(entry["file"])
            for needed, wanted in ((entry["file"], entry["bytes"]), (name, entry["index_bytes"])):
                if needed not in sizes:
                    raise missing(self._store.where(needed))
                if sizes[needed] not in (wanted, None):  # some stores do not say
                    raise InputError(
                        f"shard file {self._store.where(needed)} has {sizes[needed]} bytes, the "
                        f"manifest says {wanted}; it was replaced or cut off: pack again"
                    )

    def _check_contents(self) -> None:
        for shard, entry in enumerate(self.manifest["shards"]):
            self._read_index(shard)
            if self._store.sha256(entry["file"], entry["bytes"]) != entry["sha256"]:
                raise InputError(
                    f"shard {self._store.where(entry['file'])} does not match its sha256 in the "
                    "manifest; pack again"
                )
