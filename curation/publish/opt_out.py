"""Clips that are taken out because somebody asked for it: by clip id, key or source video.

A run folder remembers them in `opt_out.txt`, so that they stay out of its later runs. Clips that
lie in shards already are taken out of those, the bytes of all others staying as they are.

Beyond the shards and the run folder lie copies that no list of ids finds: the features that `eval`
keeps are filed under digests of the videos' content and say nothing of whose they are (remove its
cache), trained weights hold what they learned, and what was logged to W&B lies there.
"""

import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from curation.passes.opted_out import is_opted_out
from curation.publish.infos import MOST_BYTES, parse_info
from dynamicrafter.errors import InputError
from dynamicrafter.files import (
    atomic_path,
    inside,
    read_json,
    sweep_temporaries,
    write_json,
)
from dynamicrafter.shards import ShardReader
from dynamicrafter.shards.index import sample_rows
from dynamicrafter.shards.manifest import MANIFEST
from dynamicrafter.shards.sample import MEMBERS
from dynamicrafter.shards.writer import index_path_of, index_shard, write_manifest

JOURNAL = "opt_out.json"
"""In a shard folder, while it has no manifest: the former manifest, and what is taken out."""

NAMES = ("clip_id", "videoid", "video_id", "contentUrl")
"""What a sample's JSON may call it by, besides its key."""


def remove_from_shards(folder: Path, ids: frozenset[str]) -> int:
    """Take the samples of these clips out of a shard folder; return how many that were.

    Shards that hold one are rewritten, those that are empty then vanish. The manifest is removed
    before and written again after that, so a reader sees the folder whole or not finished, and a
    call that was interrupted is finished by the next one, whatever its ids.

    Raises:
        InputError: it is no shard folder, or one of its samples cannot be read.
    """
    folder = Path(folder)
    removed = 0
    journal = folder / JOURNAL
    if journal.exists():
        if not (folder / MANIFEST).exists():
            removed = _take_out(folder, read_json(journal))
        journal.unlink()  # beside a manifest it was finished, or the folder was packed again
    reader = ShardReader(folder)
    sweep_temporaries(folder)  # an interrupted writer's may hold what shall go
    doomed = {}
    for shard in reader.manifest["shards"]:
        if keys := _meant(inside(folder, shard["file"]), ids):
            doomed[shard["file"]] = keys
    if doomed:
        plan = {"manifest": reader.manifest, "doomed": doomed}
        write_json(journal, plan)
        removed += _take_out(folder, plan)
        journal.unlink()
    return removed


def _take_out(folder: Path, plan: dict[str, Any]) -> int:
    """Do what a journal says, or what is left of it."""
    (folder / MANIFEST).unlink(missing_ok=True)
    sweep_temporaries(folder)
    shards = []
    for entry in plan["manifest"]["shards"]:
        path = inside(folder, entry["file"])
        keys = plan["doomed"].get(entry["file"])
        if keys is None:
            if not path.exists() or path.stat().st_size != entry["bytes"]:
                raise InputError(f"shard {path} is not what it was; pack again")
            shards.append(entry)
        elif path.exists() and (left := _rewrite(path, frozenset(keys))):
            shards.append(left)
    write_manifest(folder, shards, plan["manifest"]["config_digest"])
    return sum(len(keys) for keys in plan["doomed"].values())


@dataclass(frozen=True)
class _Member:
    """A file in a tar: sample key, name after it, and where header, content and next file begin."""

    key: str
    name: str
    start: int
    content: int
    size: int

    @property
    def stop(self) -> int:
        return self.content + -(-self.size // tarfile.BLOCKSIZE) * tarfile.BLOCKSIZE


def _members(path: Path) -> Iterator[_Member]:
    try:
        with tarfile.open(path, "r:") as tar:
            for info in tar:
                key, _, name = info.name.partition(".")
                yield _Member(key, name, info.offset, info.offset_data, info.size)
    except tarfile.TarError as error:
        raise InputError(f"shard {path} cannot be read: {error}") from None


def _infos(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    with path.open("rb") as file:
        for member in _members(path):
            if member.name == "json":
                file.seek(member.content)
                data = file.read(min(member.size, MOST_BYTES + 1))
                yield member.key, parse_info(data, member.key, path)


def _meant(path: Path, ids: frozenset[str]) -> list[str]:
    """The keys of a shard's samples that go by one of these ids; all must be fit to be kept."""
    found = []
    for key, info in _infos(path):
        names = (info.get(name) for name in NAMES)
        if is_opted_out(ids, key, *(name for name in names if isinstance(name, str))):
            found.append(key)
        _check_rate_and_length(key, info, path)
    return found


def _check_rate_and_length(key: str, info: dict[str, Any], path: Path) -> None:
    fps, frames = info.get("fps"), info.get("frames")
    if not isinstance(fps, int | float) or not isinstance(frames, int) or frames >= 2**31:
        raise InputError(f"shard {path}: sample {key} states no fps and frames")


def _rewrite(path: Path, doomed: frozenset[str]) -> dict[str, Any] | None:
    """Leave these samples out of a shard and its index; its manifest entry, None if it is empty.

    The index is read off the tar, so this may be done again after an interruption at any moment.
    """
    members = [member for member in _members(path) if member.key not in doomed]
    if not any(member.name in MEMBERS for member in members):
        path.unlink()
        index_path_of(path).unlink(missing_ok=True)
        return None
    with atomic_path(path) as temporary, path.open("rb") as old, temporary.open("wb") as new:
        for member in members:
            old.seek(member.start)
            _copy(old, new, member.stop - member.start)
        new.write(bytes(2 * tarfile.BLOCKSIZE))
        new.write(bytes(-new.tell() % tarfile.RECORDSIZE))
    return index_shard(path, _index_rows(path))


def _index_rows(path: Path) -> list[dict[str, Any]]:
    """The index of a shard, read off its tar."""
    places = {(member.key, member.name): member for member in _members(path)}
    rows = []
    with path.open("rb") as file:
        for key, info in _infos(path):
            _check_rate_and_length(key, info, path)
            if not all((key, name) in places for name in MEMBERS):
                continue
            members = [places[key, name] for name in MEMBERS]
            rows += sample_rows(key, [(one.content, _content(file, one)) for one in members], info)
    return rows


def _content(file: BinaryIO, member: _Member) -> bytes:
    file.seek(member.content)
    return file.read(member.size)


def _copy(old: Any, new: Any, size: int) -> None:
    while size > 0:
        block = old.read(min(size, 2**20))
        if not block:
            raise InputError("a shard ends within a sample; restore it or pack again")
        new.write(block)
        size -= len(block)
