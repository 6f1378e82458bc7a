"""The second pass: what the files of a part are, found out before anything is measured.

    inspect/<part id>.parquet    one row a clip: facts and content digest, or the reason

From the facts follow the spans, the units of measuring: a clip, or a minute or so of a long one.
"""

import contextlib
import math
import os
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from curation.clip import Clip
from curation.passes.listing import read_part, stamp
from curation.tables import digest_rows, read_note, read_rows, write_rows
from dynamicrafter.errors import InputError, MediaError
from dynamicrafter.files import inside, sha256_file
from dynamicrafter.media.decode import check_size
from dynamicrafter.media.isolation import CRASHED, TIMEOUT, Isolated
from dynamicrafter.media.probe import probe

VERSION = 1
INSPECT = f"inspect-{VERSION}"
LONGEST_S = 7 * 24 * 3600.0  # a week; a container that states more is damaged, or made to harm
MIN_FPS, MAX_FPS = 1.0, 240.0  # what is stated beyond them is a mistake, or no film

_TEXT = pa.string()
SCHEMA = pa.schema(
    [
        ("sha256", _TEXT),
        ("bytes", pa.int64()),
        ("mtime_ns", pa.int64()),
        ("container", _TEXT),
        ("codec", _TEXT),
        ("width", pa.int32()),
        ("height", pa.int32()),
        ("rotation", pa.int32()),
        ("fps", pa.float64()),
        ("file_frames", pa.int64()),
        ("duration_s", pa.float64()),
        ("reason", _TEXT),
        ("message", _TEXT),
    ]
)


@dataclass(frozen=True)
class Span:
    """A unit of measuring: the shots of a clip that begin in [start_s, end_s)."""

    clip_id: str
    sha256: str  # of the file
    caption: str  # the stock caption, which some measures look at
    fps: float
    clip_start_s: float
    clip_end_s: float | None  # None: to the end of the file
    start_s: float
    end_s: float | None


@contextlib.contextmanager
def local_file(clip: Clip) -> Iterator[Path]:
    """The path of a clip's video; one that lies in a tar is copied out for as long as it is used.

    Raises:
        MediaError: `missing`, `bad_path` (it leaves its folder).
    """
    try:
        path = inside(clip.root, clip.path)
    except (InputError, OSError) as error:
        raise MediaError("bad_path", str(error)) from None
    if clip.member is None:
        yield path
        return
    offset, size = clip.member
    with tempfile.TemporaryDirectory(prefix="curate-") as folder:
        copy = Path(folder) / "video"
        try:
            with open(path, "rb") as tar, open(copy, "wb") as file:
                _copy_range(tar.fileno(), file, offset, size)
        except FileNotFoundError:
            raise MediaError("missing", f"{path} does not exist") from None
        yield copy


def inspect_clip(clip: Clip, listed: list[int] | None) -> dict[str, Any]:
    """Facts of one clip's file.

    Raises:
        MediaError: why it cannot be used.
    """
    if clip.reason:
        raise MediaError(clip.reason, clip.message)
    now = stamp(clip)
    if listed is not None and now is not None and now != listed:
        raise MediaError("changed", f"{clip.path} was changed since it was listed; run again")
    with local_file(clip) as path:
        facts = probe(path)
        check_size(facts.width, facts.height)
        fps = float(facts.fps)
        if not facts.duration_s <= LONGEST_S:
            raise MediaError("bad_duration", f"{clip.path} states {facts.duration_s:g} s")
        if not MIN_FPS <= fps <= MAX_FPS:
            raise MediaError(
                "bad_rate", f"{clip.path} states {fps:g} frames/s, not {MIN_FPS:g} to {MAX_FPS:g}"
            )
        if clip.start_s >= facts.duration_s > 0:
            raise MediaError(
                "bad_time", f"{clip.path} lasts {facts.duration_s:g} s, the clip begins later"
            )
        return {
            "sha256": sha256_file(path),
            "bytes": clip.member[1] if clip.member else path.stat().st_size,
            "mtime_ns": now[1] if now else None,
            "container": facts.container,
            "codec": facts.codec,
            "width": facts.width,
            "height": facts.height,
            "rotation": facts.rotation,
            "fps": fps,
            "file_frames": facts.frames,
            "duration_s": facts.duration_s,
        }


def inspect_part(
    part: str, isolated: Isolated, *, timeout_s: float, folder: Path
) -> dict[str, Any]:
    """Inspect the clips of a part, unless that is done.

    What was too slow or killed its process is tried again once `timeout_s` is another.
    """
    path = inspect_path(part, folder)
    clips = read_part(part, folder)
    if not is_settled(path, timeout_s, "reason"):
        rows = []
        for clip, listed in clips:
            try:
                rows.append(isolated(inspect_clip, clip, listed))
            except MediaError as error:
                rows.append({"reason": error.reason, "message": str(error)})
        write_rows(path, rows, SCHEMA, {"timeout_s": repr(timeout_s)})
    return {"clips": len(clips)}


def is_settled(path: Path, timeout_s: float, column: str) -> bool:
    """Whether a table is there, and none of its rows would be tried again with this limit.

    Args:
        path: of a table that was written with the note `timeout_s`.
        timeout_s: seconds for one call, now.
        column: where a row says that it was too slow or killed its process.
    """
    if not path.exists():
        return False
    if read_note(path, "timeout_s") == repr(timeout_s):
        return True
    return not {TIMEOUT, CRASHED} & {row[column] for row in read_rows(path, [column])}


def inspect_path(part: str, folder: Path) -> Path:
    """Where the facts of a part lie."""
    return folder / INSPECT / f"{part}.parquet"


def read_facts(part: str, folder: Path) -> list[dict[str, Any]]:
    """The facts of a part's clips, in their order."""
    return read_rows(inspect_path(part, folder))


def spans_of(clip: Clip, facts: dict[str, Any], span_s: float) -> list[Span]:
    """Divide a clip into spans; the last one is open, since stated durations are often short."""
    if facts["reason"]:
        return []
    end_s = math.inf if clip.end_s is None else clip.end_s
    count = max(1, math.ceil((min(end_s, facts["duration_s"]) - clip.start_s) / span_s))
    borders = [clip.start_s + i * span_s for i in range(count)] + [clip.end_s]
    return [
        Span(
            clip_id=clip.clip_id,
            sha256=facts["sha256"],
            caption=clip.caption,
            fps=facts["fps"],
            clip_start_s=clip.start_s,
            clip_end_s=clip.end_s,
            start_s=borders[i],
            end_s=borders[i + 1],
        )
        for i in range(count)
    ]


@dataclass(frozen=True)
class Piece:
    """A job of measuring: consecutive entries of a part, each a span, or a clip that gave none."""

    part: str
    entries: tuple[tuple[int, Span | None], ...]  # (row of the clip in its part, span)

    @property
    def spans(self) -> list[tuple[int, Span]]:
        """The entries that are measured."""
        return [(row, span) for row, span in self.entries if span is not None]

    @property
    def digest(self) -> str:
        """Digest of what the shots and most measures depend on, but for the settings."""
        return digest_rows([{**asdict(span), "caption": None} for _, span in self.spans])

    @property
    def caption_digest(self) -> str:
        """Digest of the captions, which some measures look at as well."""
        return digest_rows([span.caption for _, span in self.spans])


def pieces_of(
    part: str, clips: list[Clip], facts: list[dict[str, Any]], span_s: float, job_s: float
) -> Iterator[Piece]:
    """Cut a part into pieces of about `job_s` seconds of video."""
    entries: list[tuple[int, Span | None]] = []
    seconds = 0.0
    for row, (clip, known) in enumerate(zip(clips, facts, strict=True)):
        for span in spans_of(clip, known, span_s) or [None]:
            entries.append((row, span))
            if span is not None:
                end_s = known["duration_s"] if span.end_s is None else span.end_s
                seconds += max(end_s - span.start_s, 0.0)
            if seconds >= job_s:
                yield Piece(part, tuple(entries))
                entries, seconds = [], 0.0
    if entries:
        yield Piece(part, tuple(entries))


def _copy_range(tar: int, file: Any, offset: int, size: int) -> None:
    while size > 0:
        data = os.pread(tar, min(size, 2**20), offset)
        if not data:
            raise MediaError("truncated", "the tar ends within the video")
        file.write(data)
        offset, size = offset + len(data), size - len(data)
