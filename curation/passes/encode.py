"""The fifth pass: the shots that stay, encoded as the samples' videos.

    encoded/<2 hex>/<piece>-<settings>-<which>.tar    clips of a piece that stay, a digest each
    encoded/<2 hex>/<piece>-<settings>.failed.json    those that could not be encoded, with reasons

A clip is decoded and encoded once; thresholds that let more through encode only those. Frames and
settings decide the bytes, and the version of the encoder is one of the settings.
"""

import io
import itertools
import tarfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from curation.clip import Clip
from curation.passes.gather import TABLE
from curation.passes.inspect import local_file
from curation.passes.measure import refuse_changed
from curation.tables import Row, digest_rows, iterate_rows
from dynamicrafter.errors import MediaError
from dynamicrafter.files import atomic_path, read_json, write_json
from dynamicrafter.media.decode import Resizer, iterate_pictures, scaled_size
from dynamicrafter.media.encode import encode_mp4, encoder_version
from dynamicrafter.media.isolation import Isolated

ENCODED = "encoded"
VERSION = 1
"""Raised when the same frames shall give other bytes."""


@dataclass
class EncodeSettings:
    """`encode` of conf/curate.yaml, where each setting is explained."""

    short_side: int
    crf: int
    preset: str

    @property
    def digest(self) -> str:
        """Digest of all that a clip's bytes depend on besides its frames."""
        return digest_rows(VERSION, asdict(self), encoder_version())


@dataclass(frozen=True)
class EncodeJob:
    """The rows of `measures.parquet` that a piece made, and which of them stay."""

    piece: str
    first: int
    kept: tuple[int, ...]  # relative to first


@dataclass(frozen=True)
class Encoded:
    """Where the video of a clip lies."""

    path: Path  # of the tar
    offset: int
    size: int

    def read(self) -> bytes:
        """The mp4."""
        with self.path.open("rb") as file:
            file.seek(self.offset)
            return file.read(self.size)


def encoded_size(row: Row, settings: EncodeSettings) -> tuple[int, int]:
    """(width, height) of a clip as encoded; odd sizes lose a row or a column."""
    width, height = scaled_size(row["width"], row["height"], settings.short_side)
    return width // 2 * 2, height // 2 * 2


def encode_piece(
    job: EncodeJob, isolated: Isolated, *, settings: EncodeSettings, folder: Path
) -> dict[str, Any]:
    """Encode the clips of a piece that stay, but for those that are there."""
    stop = job.first + job.kept[-1] + 1
    rows = list(iterate_rows(folder / TABLE, job.first, stop))
    wanted = {clip_digest(rows[i]): rows[i] for i in job.kept}
    there = find_encoded(job.piece, settings, folder)
    missing = {name: row for name, row in wanted.items() if name not in there}
    failed: dict[str, list[str]] = {}
    note = _note_path(job.piece, settings, folder)
    if missing:
        which = digest_rows(sorted(missing))[:8]
        path = _folder_of(job.piece, folder) / f"{job.piece}-{settings.digest}-{which}.tar"
        with atomic_path(path) as temporary, tarfile.open(temporary, "w") as tar:
            for name, row in sorted(missing.items()):
                try:
                    _add(tar, f"{name}.mp4", isolated(encode_clip, row, settings))
                except MediaError as error:
                    failed[name] = [error.reason, str(error)]
    if failed:
        write_json(note, failed)
    else:
        note.unlink(missing_ok=True)
    return {"clips": len(wanted), "encoded": len(missing), "failed": len(failed)}


def encode_clip(row: Row, settings: EncodeSettings) -> bytes:
    """Decode the frames of a row of `measures.parquet` again and encode them.

    Raises:
        MediaError: the file is not what it was, or gives less when its middle is read alone.
    """
    clip = clip_of(row)
    refuse_changed(clip, row)
    resize = Resizer(settings.short_side)
    with local_file(clip) as path:
        pictures = iterate_pictures(path, row["start_s"])
        frames = (resize(picture) for picture in _exactly(row, pictures))
        return encode_mp4(frames, row["fps"], crf=settings.crf, preset=settings.preset)


def _exactly(row: Row, pictures: Iterator[tuple[float, Any]]) -> Iterator[Any]:
    """As many pictures as the row says.

    Raises:
        MediaError: `unreadable`, there are fewer.
    """
    count = 0
    for _, picture in itertools.islice(pictures, row["frames"]):
        yield picture
        count += 1
    if count < row["frames"]:
        raise MediaError(
            "unreadable",
            f"{row['path']} gives {count} of {row['frames']} frames when read from "
            f"{row['start_s']:g} s on",
        )


def clip_of(row: Row) -> Clip:
    """The clip of a row of `measures.parquet`, as far as opening its file needs it."""
    member = tuple(row["member"]) if row["member"] else None
    return Clip(row["clip_id"], row["source"], row["root"], row["path"], member)


def clip_digest(row: Row) -> str:
    """16 hex digits for what is encoded: the file's content and the part of it."""
    return digest_rows(row["sha256"], repr(row["start_s"]), row["frames"], repr(row["fps"]))


def find_encoded(piece: str, settings: EncodeSettings, folder: Path) -> dict[str, Encoded]:
    """Digest of a clip → where its video lies, for all clips of a piece that were encoded."""
    found: dict[str, Encoded] = {}
    for path in sorted(_folder_of(piece, folder).glob(f"{piece}-{settings.digest}-*.tar")):
        for name, offset, size in _members(path):
            found.setdefault(name.removesuffix(".mp4"), Encoded(path, offset, size))
    return found


def find_failed(piece: str, settings: EncodeSettings, folder: Path) -> dict[str, list[str]]:
    """Digest of a clip → [reason, message], for the clips that could not be encoded."""
    note = _note_path(piece, settings, folder)
    return read_json(note) if note.exists() else {}


def _note_path(piece: str, settings: EncodeSettings, folder: Path) -> Path:
    return _folder_of(piece, folder) / f"{piece}-{settings.digest}.failed.json"


def _folder_of(piece: str, folder: Path) -> Path:
    return folder / ENCODED / piece[:2]


def _members(path: Path) -> Iterator[tuple[str, int, int]]:
    with tarfile.open(path) as tar:
        for member in tar:
            yield member.name, member.offset_data, member.size


def _add(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    info = tarfile.TarInfo(name)
    info.size = len(data)
    tar.addfile(info, io.BytesIO(data))
