"""Some clips of a source, curated for real in a scratch folder, and what each of them cost.

The passes are those of the pipeline; only their calls into worker processes go through a meter. CPU
seconds of this process (tables, decisions, shards) are counted too, and shared out evenly; what it
does alone is done a second time for that, since loading libraries would count with few clips.
"""

import functools
import heapq
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from curation.clip import Clip
from curation.commands.meter import Meter
from curation.commands.survey import sizes
from curation.engines.local import LocalEngine
from curation.passes import pack
from curation.passes.decide import DECISIONS
from curation.passes.encode import encode_clip
from curation.passes.filters import SPLITS, Filters, active_rules, needed_measures
from curation.passes.gather import TABLE, iterate_pieces
from curation.passes.inspect import SCHEMA, inspect_path, read_facts, spans_of
from curation.passes.listing import freeze, parts, read_part
from curation.passes.measure import Task, measure_span, shots_path, values_path
from curation.passes.run import Passes
from curation.recipe import Recipe
from curation.tables import Row, hash64, iterate_rows, read_rows, write_rows
from dynamicrafter.errors import MediaError
from dynamicrafter.media.isolation import Isolation

KEPT = "kept"
PAIRS = 16
"""Clips that are measured, or shots that are encoded, a second time under a cheaper setting."""

_FUNCTIONS = {"inspect_clip": "inspect", "measure_span": "measure", "encode_clip": "encode"}
_FROM_THE_TABLE = {"stated_confidence", "cgi_caption"}
"""Columns that are known before a file is opened."""


def draw(clips: Iterable[Clip], count: int) -> tuple[list[Clip], int, float]:
    """`count` clips by a hash of their names, in the order of the source; all of few.

    Returns:
        (clips, how many there are in all, CPU seconds that it took to list them).
    """
    chosen: list[tuple[int, int, Clip]] = []
    total, began = 0, time.process_time()
    for clip in clips:
        name = f"{clip.clip_id}\n{clip.path}\n{clip.start_s}\n{clip.end_s}"
        rank = hash64(name)
        if len(chosen) < count:
            heapq.heappush(chosen, (-rank, total, clip))
        elif -rank > chosen[0][0]:
            heapq.heapreplace(chosen, (-rank, total, clip))
        total += 1
    seconds = time.process_time() - began
    return [clip for _, _, clip in sorted(chosen, key=lambda item: item[1])], total, seconds


def probe_clips(
    clips: list[Clip],
    recipe: Recipe,
    opted_out: frozenset[str],
    workers: int,
    timeout_s: float,
    folder: Path,
) -> dict[str, Any]:
    """Curate `clips` in `folder`, an empty one, and return what that cost, as JSON values.

    Args:
        clips: of a source; broken ones are part of the sample.
        recipe: what is done with them.
        opted_out: ids that are taken out.
        workers: processes.
        timeout_s: for one call.
        folder: scratch.
    """
    own: dict[str, float] = defaultdict(float)  # CPU seconds of this process, by pass
    with Isolation(workers, timeout_s) as isolated:
        meter = Meter(isolated, timeout_s)
        passes = Passes(LocalEngine(workers, meter), folder, timeout_s)
        passes.freeze(clips, max(len(clips) // (4 * workers), 1), True, "probe")
        with _spent(own, "inspect"):
            passes.inspect()
        with _spent(own, "measure"):
            passes.measure(recipe.measure, recipe.tasks)
        _decide(passes, recipe, opted_out)
        with _spent(own, "encode"):
            passes.encode(recipe.encode)
        with _spent(own, "pack"):
            passes.caption(recipe.captioner_of_probe, recipe.encode)
        jobs = passes.plan(recipe.encode, recipe.shard_bytes)
        passes.pack(jobs, recipe.packing)
        calls = list(meter.calls)
        _again(passes, recipe, opted_out, clips, jobs, own)
        return {
            "per_clip": _per_clip(clips, calls, own, recipe, folder),
            "gpu_measures": [task.name for task in recipe.tasks if _is_on_gpu(task)],
            "optional_measures": _optional(recipe),
            "pairs": _pairs(meter, workers, recipe, folder),
            **_told_by_the_table(recipe.filters),
        }


def _decide(passes: Passes, recipe: Recipe, opted_out: frozenset[str]) -> None:
    passes.decide(recipe.measure, recipe.tasks, recipe.absent, recipe.filters, opted_out)


def _again(
    passes: Passes,
    recipe: Recipe,
    opted_out: frozenset[str],
    clips: list[Clip],
    jobs: dict[str, list[pack.PackJob]],
    own: dict[str, float],
) -> None:
    """Make `own` the CPU seconds of what this process does itself that grow with the clips.

    The libraries are loaded now, and what is paid once a run is taken off. A probe is cut into
    smaller parts than a run, to be soon done; what a part costs whatever it holds is counted as
    often as a run has parts of it.
    """
    folder = passes.folder
    now: dict[str, float] = defaultdict(float)
    once: dict[str, float] = defaultdict(float)
    with tempfile.TemporaryDirectory(dir=folder) as name:
        one = Passes(passes.engine, Path(name), passes.timeout_s)
        with _spent(once, "list"):
            freeze(clips[:1], 1, True, "one", one.folder)
        (part,) = parts(one.folder)
        write_rows(inspect_path(part, one.folder), [{"reason": "unreadable"}], SCHEMA)
        with _spent(once, "decide"):
            _decide(one, recipe, opted_out)
        with _spent(now, "list"):
            freeze(clips, recipe.part_rows, True, "all", one.folder)
    with _spent(now, "reading"):
        pieces = 0
        for piece in iterate_pieces(recipe.measure, folder):
            pieces += 1
            if piece.spans:
                read_rows(shots_path(piece, recipe.measure, folder))
                for task in recipe.tasks:
                    read_rows(values_path(piece, task, folder))
    (folder / TABLE).unlink()
    with _spent(now, "decide"):
        _decide(passes, recipe, opted_out)
    seconds = sum(
        (row["end_s"] or 0.0) - (row["start_s"] or 0.0) for row in iterate_rows(folder / TABLE)
    )
    fewer = max(len(clips) / recipe.part_rows, seconds / recipe.measure.job_s) / pieces
    fewer = min(fewer, 1.0)
    for name in ("inspect", "measure", "encode"):
        own[name] *= fewer
    own["list"] = max(now["list"] - once["list"], 0.0)
    own["decide"] = max(now["decide"] - once["decide"] - now["reading"] * (1 - fewer), 0.0)
    for split in SPLITS:
        for job in jobs[split]:
            pack.entry_of(job, folder).unlink()
    with _spent(own, "pack"):
        work = functools.partial(pack.pack_shard, packing=recipe.packing, folder=folder)
        for _ in passes.engine.run(work, [job for split in SPLITS for job in jobs[split]]):
            pass


@contextmanager
def _spent(own: dict[str, float], name: str) -> Iterator[None]:
    began = time.process_time()
    yield
    own[name] += time.process_time() - began


def _per_clip(
    clips: list[Clip],
    calls: list[dict[str, Any]],
    own: dict[str, float],
    recipe: Recipe,
    folder: Path,
) -> dict[str, Any]:
    """Lists with an entry a clip."""
    count = len(clips)
    number = {clip.clip_id: i for i, clip in enumerate(clips)}  # the last of equal names has it all
    cpu = {name: np.zeros(count) for name in ("list", "inspect", "measure", "decide")}
    cpu |= {name: np.zeros(count) for name in ("encode", "pack")}
    read = {name: np.zeros(count) for name in _FUNCTIONS.values()}
    on_cpu = {task.name: np.zeros(count) for task in recipe.tasks}
    wall = {task.name: np.zeros(count) for task in recipe.tasks}
    file_bytes = _file_bytes(folder)
    for call in calls:
        i, name = number[call["clip_id"]], _FUNCTIONS[call["function"]]
        cpu[name][i] += call["cpu_s"]
        known = call.get("read_bytes")
        read[name][i] += file_bytes.get(call["clip_id"], 0) if known is None else known
        for measure, (cpu_s, wall_s) in call["measures"].items():
            on_cpu[measure][i] += cpu_s
            wall[measure][i] += wall_s
    shots, kept, video = (np.zeros(count) for _ in range(3))
    reasons: list[Counter[str]] = [Counter() for _ in clips]
    encoded = _encoded_bytes(folder)
    rows = zip(iterate_rows(folder / TABLE), iterate_rows(folder / DECISIONS), strict=True)
    for row, (measured, decided) in enumerate(rows):
        i = number[measured["clip_id"]]
        shots[i] += measured["frames"] is not None
        if decided["kept"]:
            kept[i] += 1
            video[i] += encoded[row]
        else:
            reasons[i][decided["reason"]] += 1
    of_kept = kept / max(kept.sum(), 1)
    for name, seconds in own.items():
        share = (
            kept / max(kept.sum(), 1) if name in ("encode", "pack") else np.full(count, 1 / count)
        )
        cpu[name] += seconds * share
    disk = {name: size for name, (_, size) in sizes(folder).items()}
    dataset = video + (disk.get("dataset", 0) - video.sum()) * of_kept
    rest = sum(disk.values()) - disk.get("dataset", 0) - disk.get("encoded", 0)
    in_tars = video * disk.get("encoded", 0) / max(video.sum(), 1)
    outcome = [
        KEPT if kept[i] else (reasons[i].most_common(1) or [("duplicate_id", 1)])[0][0]
        for i in range(count)
    ]
    return {
        "clip_id": [clip.clip_id for clip in clips],
        "outcome": outcome,
        "shots": shots.tolist(),
        "kept_shots": kept.tolist(),
        "cpu_s": {name: values.tolist() for name, values in cpu.items()},
        "measure_cpu_s": {name: values.tolist() for name, values in on_cpu.items()},
        "measure_wall_s": {name: values.tolist() for name, values in wall.items()},
        "read_bytes": {name: values.tolist() for name, values in read.items()},
        "video_bytes": video.tolist(),
        "dataset_bytes": dataset.tolist(),
        "folder_bytes": (dataset + in_tars + rest / count).tolist(),
    }


def _file_bytes(folder: Path) -> dict[str, int]:
    """clip_id → bytes of its file, for systems that do not count what is read."""
    found = {}
    for part in parts(folder):
        for (clip, _), facts in zip(read_part(part, folder), read_facts(part, folder), strict=True):
            found[clip.clip_id] = facts["bytes"] or 0
    return found


def _encoded_bytes(folder: Path) -> dict[int, int]:
    """Row in measures.parquet → bytes of its video."""
    return {
        row["row"]: row["size"]
        for split in SPLITS
        for row in iterate_rows(folder / "pack" / f"plan-{split}.parquet")
    }


def _pairs(meter: Meter, workers: int, recipe: Recipe, folder: Path) -> list[dict[str, Any]]:
    """What some clips cost under cheaper settings, beside what they did cost."""
    before = list(meter.calls)
    small = replace(recipe.measure, short_side=max(recipe.measure.short_side // 2, 2))
    measuring = [
        (measure_span, clip, span, small, recipe.tasks)
        for clip, facts in _readable(folder)
        for span in spans_of(clip, facts, recipe.measure.span_s)
    ]
    fast = replace(recipe.encode, preset="ultrafast")
    encoding = [(encode_clip, row, fast) for row in _kept(folder)]
    pairs = [
        {
            "setting": f"measure.short_side={small.short_side}",
            "loses": "fine motion and detail; thresholds of motion and sharpness shift",
            "pass": "measure",
            **_repeat(meter, measuring, before, workers)[0],
        }
    ]
    if recipe.encode.preset != fast.preset:
        costs, videos = _repeat(meter, encoding, before, workers)
        bytes_of = _encoded_bytes(folder)
        costs["base_bytes"] = [bytes_of[row["row"]] for row in _kept(folder)][: len(videos)]
        costs["other_bytes"] = [len(video or b"") for video in videos]
        setting = {"setting": "encode.preset=ultrafast", "loses": "larger shards", "pass": "encode"}
        pairs.append({**setting, **costs})
    return [pair for pair in pairs if pair["base_cpu_s"]]


def _repeat(
    meter: Meter, calls: list[tuple[Any, ...]], before: list[dict[str, Any]], workers: int
) -> tuple[dict[str, Any], list[Any]]:
    """Make some calls again; CPU seconds by clip, then and now, and the results."""

    def one(call: tuple[Any, ...]) -> Any:
        try:
            return meter(*call)
        except MediaError:
            return None

    first = len(meter.calls)
    with ThreadPoolExecutor(workers) as pool:
        results = list(pool.map(one, calls))
    now: Counter[str] = Counter()
    for call in meter.calls[first:]:
        now[call["clip_id"]] += call["cpu_s"]
    then: Counter[str] = Counter()
    names = {call[0].__name__ for call in calls}
    for call in before:
        if call["function"] in names and call["clip_id"] in now:
            then[call["clip_id"]] += call["cpu_s"]
    ids = sorted(now)
    return {"base_cpu_s": [then[i] for i in ids], "other_cpu_s": [now[i] for i in ids]}, results


def _readable(folder: Path) -> list[tuple[Clip, Row]]:
    found = [
        (clip, facts)
        for part in parts(folder)
        for (clip, _), facts in zip(read_part(part, folder), read_facts(part, folder), strict=True)
        if not facts["reason"]
    ]
    return found[:: max(len(found) // PAIRS, 1)][:PAIRS]


def _kept(folder: Path) -> list[Row]:
    """All kept shots of at most PAIRS clips, with their row in measures.parquet."""
    found: dict[str, list[Row]] = {}
    rows = zip(iterate_rows(folder / TABLE), iterate_rows(folder / DECISIONS), strict=True)
    for number, (row, decided) in enumerate(rows):
        if decided["kept"] and (row["clip_id"] in found or len(found) < PAIRS):
            found.setdefault(row["clip_id"], []).append({**row, "row": number})
    return [row for rows in found.values() for row in rows]


def _is_on_gpu(task: Task) -> bool:
    return str(getattr(task.settings, "device", "cpu")).startswith(("cuda", "mps"))


def _optional(recipe: Recipe) -> list[str]:
    """Measures that can be left out: no filter that is on looks at them, nor does the captioner."""
    needed = needed_measures(recipe.filters) | {"object_motion"}
    return [task.name for task in recipe.tasks if not needed & task.measure.columns.keys()]


def _told_by_the_table(filters: Filters) -> dict[str, list[str]]:
    rules = [rule for rule in active_rules(filters) if set(rule.measures) <= _FROM_THE_TABLE]
    return {
        "told_by_the_table": [rule.reason for rule in rules],
        "thresholds_of_the_table": [f"filters.{rule.threshold}" for rule in rules],
    }
