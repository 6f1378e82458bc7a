"""A selection that was made before, taken over: checked against the videos that are here."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from omegaconf import DictConfig

from dynamicrafter.errors import InputError
from dynamicrafter.files import sha256_file, sha256_json
from eval.benchmarks.catalogue import Count, existing_folder, stamp
from eval.benchmarks.cutting import Job, Rule, cut_all, share_image
from eval.benchmarks.integrity import Report, header
from eval.benchmarks.readers import read_benchmark
from eval.benchmarks.selection import Chosen, read_selection


class Located(NamedTuple):
    """A row and where its file lies here, relative to the benchmark's root."""

    row: Chosen
    file: str


def given_inputs(config: DictConfig) -> dict[str, str]:
    """Digests of the selection, and of the sizes and times of its files."""
    rows, root = _located(config)
    return {
        "selection": sha256_file(config.selection),
        "files": sha256_json([stamp(root / one.file) for one in rows]),
    }


def take_over(config: DictConfig, rule: Rule, folder: Path) -> tuple[list[Chosen], Report]:
    """Cut the images of a given selection; returns its rows, with the paths that hold here.

    Only the selected videos must be there; the rest of the benchmark is not looked at.

    Raises:
        InputError: a video that is unknown, has changed or is too short, windows of another length
            than the protocol's, another number of videos.
    """
    rows, root = _located(config)
    place, chosen = config.selection, rule.protocol
    windows: dict[tuple[str, int | None, int], list[Chosen]] = defaultdict(list)
    for row, file in rows:
        _check_window(place, row, rule)
        windows[file, row.start_frame, row.stride].append(row)
    videos = len({one.file for one in rows})
    if chosen.count not in (None, videos) and not config.allow_incomplete:
        raise InputError(
            f"{place} selects {videos} videos, protocol {chosen.name} takes {chosen.count}; choose "
            "the protocol that it was made with, or pass allow_incomplete=true"
        )
    jobs = [
        Job(
            same[0].key,
            root / file,
            is_video=start is not None,
            window=None if start is None else (start, stride),
        )
        for (file, start, stride), same in windows.items()
    ]
    records = cut_all(jobs, rule, folder, config.workers, config.timeout_s)
    for job, record, same in zip(jobs, records, windows.values(), strict=True):
        for row in same:
            _check_record(f"{place}, {row.key}", job, record, row)
            share_image(folder, job.key, row.key)
    report = Report(
        header(config, chosen, root),
        [Count("videos of the selection", videos, chosen.count)],
        {},
        outcome={"videos": videos, "samples": len(rows), "dropped": 0},
    )
    return [replace(row, video=file if row.video else "") for row, file in rows], report


def _located(config: DictConfig) -> tuple[list[Located], Path]:
    """The rows of the given selection with their files."""
    root = existing_folder(config.benchmark.root, "benchmark.root")
    rows = read_selection(Path(config.selection))
    files = {row.key: row.video for row in rows}
    if not all(files.values()):
        images = {entry.key: entry.file for entry in read_benchmark(config.benchmark).entries}
        files |= {key: images.get(key, "") for key, file in files.items() if not file}
    by_name: dict[str, list[str]] = {}
    found = []
    for row in rows:
        file = files[row.key]
        if not file or not (root / file).is_file():
            by_name = by_name or _by_name(root)
            file = _elsewhere(config.selection, row, root, by_name)
        found.append(Located(row, file))
    return found, root


def _by_name(root: Path) -> dict[str, list[str]]:
    by_name = defaultdict(list)
    for path in root.rglob("*"):
        if path.is_file():
            by_name[path.name].append(path.relative_to(root).as_posix())
    return by_name


def _elsewhere(place: str, row: Chosen, root: Path, by_name: Mapping[str, Sequence[str]]) -> str:
    """The only file of this name: copies of a benchmark have other folders."""
    named = by_name.get(Path(row.video).name, []) if row.video else []
    if len(named) != 1:
        what = f"video {row.video}" if row.video else f"image of {row.key}"
        raise InputError(
            f"{place}: {root} has no {what}; get it, or point benchmark.root to where it lies"
        )
    return named[0]


def _check_window(place: str, row: Chosen, rule: Rule) -> None:
    chosen = rule.protocol
    narrower = rule.short == "reduce_stride" and row.stride < chosen.stride
    if row.frames != chosen.frames or not (row.stride == chosen.stride or narrower):
        raise InputError(
            f"{place}: {row.key} takes {row.frames} frames at stride {row.stride}, protocol "
            f"{chosen.name} {chosen.frames} at {chosen.stride}; choose the protocol and `short` "
            "that it was made with"
        )


def _check_record(place: str, job: Job, record: Mapping[str, Any], row: Chosen) -> None:
    if record.get("reason") == "too_short":
        raise InputError(
            f"{place}: start_frame={row.start_frame} with {row.frames} frames at stride "
            f"{row.stride} goes past the end of {job.path}"
        )
    if "reason" in record:
        raise InputError(f"{place}: {record['detail']} ({record['reason']})")
    if record["sha256"] != row.sha256:
        raise InputError(
            f"{place}: {job.path} is another file than was selected (SHA-256 "
            f"{record['sha256'][:12]}…, not {row.sha256[:12]}…); use the same copy"
        )
