"""Windows of videos and their condition images, cut in processes that may be killed.

    records/<key>.json   what is known of a video that was tried: a window, or why there is none
    images/<key>.png     the first frame of the window

A video is tried once: a run that is started again takes over what is on record, unless the file or
what decides the window has changed.
"""

import contextlib
import os
import shutil
from collections.abc import Generator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from PIL import Image

from dynamicrafter import files
from dynamicrafter.errors import InputError, MediaError
from dynamicrafter.images import open_image
from dynamicrafter.media.decode import check_size, read_frames
from dynamicrafter.media.isolation import CRASHED, TIMEOUT, Isolation
from dynamicrafter.media.probe import decoded, open_video, probe
from dynamicrafter.media.sampling import center_crop
from dynamicrafter.progress import progress
from eval.benchmarks.catalogue import stamp
from eval.benchmarks.selection import image_path
from eval.protocols import Protocol
from eval.windows import window_start

SHORT = ("skip", "reduce_stride")
VERSION = 1  # of the records; another one cuts again


@dataclass(frozen=True)
class Rule:
    """How a window is cut.

    `short` is what happens to a video that has too few frames: `skip` drops it, `reduce_stride`
    takes the widest stride that fits.
    """

    protocol: Protocol
    short: str

    def __post_init__(self) -> None:
        if self.short not in SHORT:
            raise InputError(f"short={self.short}; choose {' or '.join(SHORT)}")

    def place(self, key: str, frames: int) -> tuple[int, int]:
        """Start and stride in a video of so many frames.

        Raises:
            MediaError: `too_short`.
        """
        protocol = self.protocol
        if self.short == "reduce_stride":
            widest = (frames - 1) // (protocol.frames - 1)
            protocol = replace(protocol, stride=max(min(widest, protocol.stride), 1))
        if frames < protocol.span:
            raise MediaError("too_short", f"{frames} frames, a window spans {protocol.span}")
        return window_start(protocol, key, frames), protocol.stride

    def deciding(self) -> list[Any]:
        """What decides the window and its picture, as plain values."""
        one = self.protocol
        return [VERSION, one.frames, one.stride, one.start, one.seed, one.resolution, self.short]


@dataclass(frozen=True)
class Job:
    """A file to cut: a video, or an image; `window` is start and stride where they are given."""

    key: str
    path: Path
    is_video: bool = True
    window: tuple[int, int] | None = None


def cut(job: Job, rule: Rule, picture: Path) -> dict[str, Any]:
    """Cut the window of a video, or take an image, and save the condition image.

    Args:
        job: the file.
        rule: how windows are cut.
        picture: where the condition image goes, a PNG of the protocol's resolution.

    Returns:
        sha256 of the file and, of a video, `start`, `stride`, `fps`, and its `frames` with those
        that it states.

    Raises:
        MediaError: why the file cannot be used.
    """
    if job.is_video:
        facts, frames = _window(job, rule)
    else:
        try:
            facts, frames = {}, open_image(job.path)[None]
        except InputError as error:
            raise MediaError("no_image", str(error)) from None
    with files.atomic_path(picture) as temporary:
        fitted = center_crop(frames[:1], rule.protocol.resolution)[0]
        Image.fromarray(fitted).save(temporary, format="PNG")
    return {"sha256": files.sha256_file(job.path), **facts}


def cut_all(
    jobs: Sequence[Job], rule: Rule, folder: Path, workers: int, timeout_s: float
) -> list[dict[str, Any]]:
    """Cut every job that is not on record; returns the records in the order of the jobs.

    A record is what `cut` returns, or `reason` and `detail`.

    Args:
        jobs: what to cut.
        rule: how.
        folder: where images and records lie.
        workers: processes; 0 cuts in this one.
        timeout_s: seconds for one file, then its process is killed.
    """
    records = {job.key: _on_record(job, rule, folder) for job in jobs}
    todo = [job for job in jobs if records[job.key] is None]
    with (
        progress("select", len(jobs), "files", len(jobs) - len(todo)) as advance,
        contextlib.closing(_cut_each(todo, rule, folder, workers, timeout_s)) as cuts,
    ):
        for job, found in cuts:
            records[job.key] = found
            if found.get("reason") not in (TIMEOUT, CRASHED):  # those may go better next time
                signed = {**found, "signature": _signature(job, rule)}
                files.write_json(_record_path(folder, job.key), signed)
            advance(1)
    return [records[job.key] for job in jobs]


def share_image(folder: Path, key: str, other: str) -> None:
    """Give the condition image of one sample to another sample of the same window."""
    source, target = image_path(folder, key), image_path(folder, other)
    if source == target:
        return
    target.unlink(missing_ok=True)
    try:
        os.link(source, target)
    except OSError:  # a file system without links
        shutil.copyfile(source, target)


def _cut_each(
    jobs: Sequence[Job], rule: Rule, folder: Path, workers: int, timeout_s: float
) -> Generator[tuple[Job, dict[str, Any]], None, None]:
    if workers == 0 or not jobs:
        for job in jobs:
            yield job, _told(cut, job, rule, image_path(folder, job.key))
        return
    with ThreadPoolExecutor(workers) as threads, Isolation(workers, timeout_s) as isolated:
        calls = {
            threads.submit(_told, isolated, cut, job, rule, image_path(folder, job.key)): job
            for job in jobs
        }
        try:
            for call in as_completed(calls):
                yield calls[call], call.result()
        finally:
            for call in calls:
                call.cancel()


def _told(call: Any, *arguments: Any) -> dict[str, Any]:
    try:
        return call(*arguments)
    except MediaError as error:
        return {"reason": error.reason, "detail": str(error)}


def _window(job: Job, rule: Rule) -> tuple[dict[str, Any], Any]:
    """Facts and frames of the window, uint8 `[t, h, w, 3]`."""
    facts = probe(job.path)
    check_size(facts.width, facts.height)
    frames = facts.frames
    try:
        place, pictures = _read(job, rule, frames)
    except MediaError as error:
        if error.reason != "too_short":
            raise
        frames = _count(job.path)  # containers state wrong numbers
        if frames == facts.frames:
            raise
        place, pictures = _read(job, rule, frames)
    start, stride = place
    rate = float(facts.fps)
    own = {"start": start, "stride": stride, "fps": rate}
    return {**own, "frames": frames, "stated_frames": facts.frames}, pictures


def _read(job: Job, rule: Rule, frames: int) -> tuple[tuple[int, int], Any]:
    start, stride = job.window or rule.place(job.key, frames)
    end = start + rule.protocol.frames * stride
    return (start, stride), read_frames(job.path, range(start, end, stride))


def _count(path: Path) -> int:
    with open_video(path) as (opened, stream):
        return sum(1 for _ in decoded(opened, stream))


def _record_path(folder: Path, key: str) -> Path:
    return folder / "records" / f"{key}.json"


def _on_record(job: Job, rule: Rule, folder: Path) -> dict[str, Any] | None:
    path = _record_path(folder, job.key)
    if not path.is_file():
        return None
    record = files.read_json(path)
    if record.pop("signature") != _signature(job, rule):
        return None
    return record if "reason" in record or image_path(folder, job.key).is_file() else None


def _signature(job: Job, rule: Rule) -> str:
    """Changes with the file, and with what decides its window."""
    own = [str(job.path), stamp(job.path), job.is_video, job.window]
    return files.sha256_json([own, rule.deciding()])
