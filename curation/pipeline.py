"""The chain: sources → measure → decide → pack.

    inventory.json     facts and digest of each file       measures/   one file a span
    clips/             encoded shots                       decisions.parquet, funnel.json
    dataset/train, dataset/test, dcp.csv                   summary.json

Every part is redone only if what it depends on has changed.
"""

import time
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

from curation.caption import CaptionSettings
from curation.decide import Filters, decide, funnel
from curation.engine import Failure, run_jobs
from curation.export import COLUMNS, write_dcp_csv
from curation.inventory import plan_spans, stamp, take_inventory
from curation.measure import (
    MEASURES,
    MeasureSettings,
    Span,
    clip_path,
    encode_again,
    measure_span,
)
from curation.measures import UNITS
from curation.measures.action import available
from curation.pack import describe, pack
from curation.sources import Clip, read_clips
from dynamicrafter import tracking
from dynamicrafter.errors import FailedShareError, InputError
from dynamicrafter.files import atomic_path, read_json, sha256_json, write_json
from dynamicrafter.progress import progress

Settings = TypeVar("Settings")


def inputs(config: Any) -> dict[str, str]:
    """Digests of what the result depends on besides the config: the source's clips, the I3D."""
    clips = read_clips(_plain(config.source))
    listing = [
        [clip.clip_id, clip.start_s, clip.end_s, clip.caption, clip.extra, stamp(clip.path)]
        for clip in clips
    ]
    weights = available()[0] if config.measure.action else None
    return {"source": sha256_json(listing), "action": "absent" if weights is None else weights.name}


def run(config: Any, folder: Path) -> dict[str, Any]:
    """Curate the source of `config` into `folder` and return the summary.

    Raises:
        InputError: the source or a setting cannot be used.
        FailedShareError: more clips than `max_failed_share` allows could not be read; what was
            measured stays, nothing is packed.
    """
    measure_settings = _settings(MeasureSettings, config.measure)
    filters = _settings(Filters, config.filters)
    captioner = _settings(CaptionSettings, config.captioner)
    pool = {"workers": config.workers, "timeout_s": config.unit_timeout_s}
    weights, no_action = available() if measure_settings.action else (None, "measure.action=false")
    seconds: dict[str, float] = {}
    clock = _Clock(seconds)

    clips = {clip.clip_id: clip for clip in read_clips(_plain(config.source))}
    files = take_inventory(list(clips.values()), folder, **pool)
    clock.lap("inspect")

    spans = [
        span
        for clip in clips.values()
        if "reason" not in (facts := files[str(clip.path)])
        for span in plan_spans(clip, facts, measure_settings.span_s)
    ]
    measured = measure(spans, measure_settings, filters, weights, folder, pool)
    clock.lap("measure")

    results = [read_json(folder / MEASURES / span.name) for span in spans]
    failures = _failures(clips, files, results)
    decided = decide([row for result in results for row in result["shots"]], filters)
    reasons = Counter(failure["reason"] for failure in failures)
    counts = funnel(decided, reasons, filters.split_by)
    _write_decisions(folder / "decisions.parquet", decided)
    write_json(folder / "funnel.json", counts)
    write_json(folder / "failures.json", failures)
    _check_failed_share(failures, len(clips), config.max_failed_share, folder)
    clock.lap("decide")

    encoded = _encode_missing(decided, clips, measure_settings.short_side, folder, pool)
    kept = describe(decided, clips, captioner, folder)
    digests = {"decide": sha256_json(asdict(filters)), "caption": sha256_json(asdict(captioner))}
    dataset = pack(kept, digests, config.pack.shard_megabytes * 2**20, folder)
    write_dcp_csv(folder / "dcp.csv", [item.dcp for item in kept])
    clock.lap("pack")

    summary = {
        "clips": len(clips),
        "shots": len(decided),
        "kept": counts["kept"],
        "reasons": counts["reasons"],
        "dataset": dataset,
        "spans": {"all": len(spans), "measured_now": measured},
        "encoded_again": encoded,
        "action_absent_because": no_action or None,
        "seconds": seconds,
    }
    write_json(folder / "summary.json", summary)
    _log(config, folder, counts, [item.dcp for item in kept])
    return summary


def measure(
    spans: list[Span],
    settings: MeasureSettings,
    filters: Filters,
    weights: Path | None,
    folder: Path,
    pool: dict[str, Any],
) -> int:
    """Measure the spans that have no result of the present digest; return how many that were.

    Spans that were too slow or made a worker crash in an earlier run are tried again.
    """
    pending = [span for span in spans if not _is_measured(span, settings, weights, folder)]
    arguments = (settings, filters, weights, folder)
    start = len(spans) - len(pending)
    with progress("measure", total=len(spans), unit="spans", start=start) as advance:
        for span, result in run_jobs(measure_span, pending, arguments, **pool, folder=folder):
            if isinstance(result, Failure):
                content = {
                    "digest": span.digest(settings, weights),
                    "clip_id": span.clip_id,
                    "shots": [],
                    "error": asdict(result),
                }
                write_json(folder / MEASURES / span.name, content)
            advance(1)
    return len(pending)


def _is_measured(span: Span, settings: MeasureSettings, weights: Path | None, folder: Path) -> bool:
    path = folder / MEASURES / span.name
    if not path.is_file():
        return False
    result = read_json(path)
    if result["digest"] != span.digest(settings, weights):
        return False
    return not (result["error"] and Failure(**result["error"]).transient)


def _encode_missing(
    decided: list[dict[str, Any]],
    clips: dict[str, Clip],
    short_side: int,
    folder: Path,
    pool: dict[str, Any],
) -> int:
    """Encode kept shots that had not passed the filters when they were measured."""
    jobs = [
        (row, clips[row["clip_id"]].path)
        for row in decided
        if row["reason"] is None and not clip_path(row, folder).is_file()
    ]
    arguments = (short_side, folder)
    for (_, path), result in run_jobs(encode_again, jobs, arguments, **pool, folder=folder):
        if isinstance(result, Failure):
            raise InputError(f"{path} was readable before and is not now: {result.message}")
    return len(jobs)


def _failures(
    clips: dict[str, Clip], files: dict[str, dict[str, Any]], results: list[dict[str, Any]]
) -> list[dict[str, Any]]:
    """Clips that could not be read and spans that broke off, with the reason of each."""
    failures = [
        {"clip_id": clip.clip_id, "reason": facts["reason"], "message": facts["message"]}
        for clip in clips.values()
        if "reason" in (facts := files[str(clip.path)])
    ]
    broken = [result for result in results if result["error"]]
    return failures + [{"clip_id": result["clip_id"], **result["error"]} for result in broken]


def _check_failed_share(
    failures: list[dict[str, Any]], clips: int, limit: float, folder: Path
) -> None:
    failed = len({failure["clip_id"] for failure in failures})
    if failed > limit * clips:
        raise FailedShareError(
            f"{failed} of {clips} clips could not be read, more than max_failed_share={limit:g}; "
            f"the reasons are in {folder / 'failures.json'}"
        )


def _write_decisions(path: Path, decided: list[dict[str, Any]]) -> None:
    """One row a shot: key, place, kept, reason, split and every measure."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    number, text = pa.float64(), pa.string()
    types = {"motion_curve": pa.list_(number), "phash": text, "action": text}
    schema = pa.schema(
        [("key", text), ("clip_id", text), ("start_s", number), ("end_s", number)]
        + [("fps", number), ("frames", pa.int32()), ("kept", pa.bool_())]
        + [("reason", text), ("split", text)]
        + [
            pa.field(name, types.get(name, number), metadata={"unit": unit})
            for name, unit in UNITS.items()
        ]
    )
    rows = [{**row, "kept": row["reason"] is None, **(row["measures"] or {})} for row in decided]
    with atomic_path(path) as temporary:
        pq.write_table(pa.Table.from_pylist(rows, schema=schema), temporary)


def _log(config: Any, folder: Path, counts: dict[str, Any], rows: list[dict[str, Any]]) -> None:
    """The funnel and the captions into the W&B run; no media, which a source may not allow."""
    with tracking.open_run(config.tracking, folder, "curate", _plain(config)) as run:
        steps = [
            [step["name"], step["in"], step["out"], step["dropped"]] for step in counts["steps"]
        ]
        run.table("funnel", ["step", "in", "out", "dropped"], steps)
        run.table("captions", COLUMNS, [[row[name] for name in COLUMNS] for row in rows])
        run.summary({"kept": counts["kept"], "dropped": counts["reasons"]})


def _settings(kind: type[Settings], section: Any) -> Settings:
    """A section of the config as its dataclass; wrong names and types are errors of OmegaConf."""
    from omegaconf import OmegaConf

    return OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(kind), section))


def _plain(section: Any) -> dict[str, Any]:
    from omegaconf import OmegaConf

    return OmegaConf.to_container(section, resolve=True, throw_on_missing=True)


class _Clock:
    """Wall seconds of each step."""

    def __init__(self, seconds: dict[str, float]):
        self._seconds = seconds
        self._began = time.monotonic()

    def lap(self, name: str) -> None:
        now = time.monotonic()
        self._seconds[name] = round(now - self._began, 2)
        self._began = now
