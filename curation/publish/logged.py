"""What `curate` and `recaption` log to W&B: counts, histograms, captions, clips that may leave.

Nothing here stops or holds up a run: see `dynamicrafter.tracking`.
"""

import contextlib
import tempfile
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from curation.passes.captions import CAPTIONS
from curation.passes.dcp_table import COLUMNS, dcp_row_of
from curation.passes.decide import FUNNEL
from curation.passes.filters import SPLITS
from curation.passes.gather import TABLE
from curation.publish.datasheet_facts import measured_columns, unit_of
from curation.publish.infos import iterate_infos
from curation.tables import count_rows, iterate_batches, iterate_rows
from dynamicrafter import tracking
from dynamicrafter.files import read_json
from dynamicrafter.shards import Sample, ShardReader, may_be_passed_on

BINS = 64
MOST_CAPTIONS = 200
MOST_SIGNS = 2000  # of a text
ASKED_COLUMNS = (
    "key", "original", "dynamic_wording", "dynamic_confidence", "purity", "reason", "verdict",
    "last_wording", "offending",
)  # fmt: skip
SAMPLE_CLIPS = 8


def log_run(
    config: dict[str, Any], folder: Path, summary: dict[str, Any], clips_may_leave: bool
) -> None:
    """Log a finished run.

    Args:
        config: the resolved config; its `tracking` says where to, `sample_clips` how many clips,
            `allow_media` whether clips leave although their source does not say that they may.
        folder: the run folder.
        summary: of the run; its numbers become the summary of the W&B run.
        clips_may_leave: false: no clip leaves, whatever its own source says.
    """
    from omegaconf import OmegaConf

    settings = OmegaConf.create(config["tracking"])
    if settings.mode == "disabled":
        return
    with tracking.open_run(settings, folder, "curate", config) as run:
        _log_counts(run, folder)
        _log_measures(run, folder)
        infos = [dcp_row_of(key, info) for key, info in _spread_infos(folder, MOST_CAPTIONS)]
        cells = [[str(row[name])[:MOST_SIGNS] for name in COLUMNS] for row in infos]
        run.table("captions", COLUMNS, cells)
        if clips_may_leave:
            _log_clips(run, config, folder)
        told = (
            "rows",
            "kept",
            "reasons",
            "spans",
            "encoded_now",
            "captions",
            "captioned_now",
            "seconds",
            "absent",
        )
        run.summary({name: summary[name] for name in told if name in summary})


def log_captions(config: dict[str, Any], folder: Path, summary: dict[str, Any]) -> None:
    """Log a finished run of `recaption`: what became of captions, and its counts.

    Args:
        config: the resolved config; its `tracking` says where to.
        folder: the run folder.
        summary: of the run.
    """
    from omegaconf import OmegaConf

    settings = OmegaConf.create(config["tracking"])
    if settings.mode == "disabled":
        return
    table = folder / CAPTIONS
    wanted = sorted(_spread(count_rows(table), MOST_CAPTIONS))
    rows = [row for number in wanted for row in iterate_rows(table, number, number + 1)]
    cells = [[_cell(row[name]) for name in ASKED_COLUMNS] for row in rows]
    with tracking.open_run(settings, folder, "recaption", config) as run:
        run.table("captions", ASKED_COLUMNS, cells)
        run.summary({name: summary[name] for name in ("captions", "captioned_now", "seconds")})


def _cell(value: Any) -> Any:
    if isinstance(value, list):
        value = ", ".join(value)
    return value[:MOST_SIGNS] if isinstance(value, str) else value


def _log_counts(run: tracking.Run, folder: Path) -> None:
    funnel = read_json(folder / FUNNEL)
    columns = ("name", "in", "dropped", "out", "unknown")
    steps = [[step[name] for name in columns] for step in funnel["steps"]]
    run.table("funnel", ["step", *columns[1:]], steps)
    reasons = sorted(funnel["reasons"].items(), key=lambda item: (-item[1], item[0]))
    run.table("reasons", ["reason", "shots"], [list(item) for item in reasons])


def _log_measures(run: tracking.Run, folder: Path) -> None:
    """A histogram of each number over all that was measured, kept or not; a table of them all."""
    rows = []
    for name, unit, low, high, known, unknown in ranges(folder):
        rows.append([name, unit, low, high, known, unknown])
    run.table("measures", ["measure", "unit", "least", "most", "shots", "without a value"], rows)
    for name, (counts, edges) in histograms(folder, rows).items():
        run.histogram(f"measures/{name}", counts.tolist(), edges.tolist())


def ranges(folder: Path) -> list[list[Any]]:
    """[measure, unit, least, most, known, unknown] of each measure that is a number or a flag."""
    columns = measured_columns(folder)
    names = [one.name for one in columns]
    low = dict.fromkeys(names, np.inf)
    high = dict.fromkeys(names, -np.inf)
    known = dict.fromkeys(names, 0)
    total = 0
    for batch in _measured(folder, names):
        total += len(batch)
        for name in names:
            values = batch[name].cast(pa.float64()).to_numpy()
            values = values[np.isfinite(values)]
            if len(values):
                low[name] = min(low[name], float(values.min()))
                high[name] = max(high[name], float(values.max()))
                known[name] += len(values)
    found = []
    for one in columns:
        span = [low[one.name], high[one.name]] if known[one.name] else [None, None]
        own = known[one.name]
        found.append([one.name, unit_of(one), *span, own, total - own])
    return found


def histograms(folder: Path, found: list[list[Any]]) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Measure → counts and edges of 64 equal bins over its range; `found` by `ranges`."""
    edges = {}
    for name, _, low, high, known, _ in found:
        if known:
            edges[name] = np.linspace(low, high if high > low else low + 1, BINS + 1)
    counts = {name: np.zeros(BINS, np.int64) for name in edges}
    for batch in _measured(folder, list(edges)):
        for name, own in edges.items():
            values = batch[name].cast(pa.float64()).to_numpy()
            counts[name] += np.histogram(values[np.isfinite(values)], own)[0]
    return {name: (counts[name], edges[name]) for name in edges}


def _measured(folder: Path, names: list[str]) -> Iterator[pa.Table]:
    """The rows that were measured."""
    for batch in iterate_batches(folder / TABLE, columns=[*names, "reason"]):
        yield batch.filter(pc.is_null(batch["reason"]))


def _spread_infos(folder: Path, most: int) -> Iterator[tuple[str, dict[str, Any]]]:
    """(key, info) of at most `most` samples, spread evenly over both splits."""
    total = sum(read_json(_manifest(folder, split))["samples"] for split in SPLITS)
    wanted = _spread(total, most)
    number = 0
    for split in SPLITS:
        for key, info in iterate_infos(folder / "dataset" / split):
            if number in wanted:
                yield key, info
            number += 1


def _spread(total: int, most: int) -> Collection[int]:
    """At most `most` numbers below `total`, spread evenly."""
    return {i * total // most for i in range(most)} if total > most else range(total)


def _manifest(folder: Path, split: str) -> Path:
    return folder / "dataset" / split / "manifest.json"


def _log_clips(run: tracking.Run, config: dict[str, Any], folder: Path) -> None:
    for sample in _sample_clips(folder, config.get("sample_clips", SAMPLE_CLIPS)):
        if not may_be_passed_on(sample.info) and not config.get("allow_media", False):
            continue
        with tempfile.TemporaryDirectory() as name:
            path = Path(name) / "clip.mp4"
            path.write_bytes(sample.video)
            with contextlib.suppress(ValueError, OSError):  # W&B cannot use it
                run.video(f"clips/{sample.key}", path, sample.text)


def _sample_clips(folder: Path, most: int) -> Iterator[Sample]:
    """At most `most` samples, spread evenly over the training split, then over the test split."""
    for split in SPLITS:
        reader = ShardReader(folder / "dataset" / split)
        count = min(most, len(reader))
        for i in range(count):
            yield reader[i * len(reader) // count]
        most -= count
