"""`dynamicrafter curate sweep`: what other thresholds would keep, from the figures of a run.

Nothing is measured or decided anew: each setting judges the rows of `measures.parquet`, which are
streamed, and what it keeps is counted.

    sweep.json    every setting with its counts        sweep.html    the same as tables and charts
"""

import contextlib
import itertools
import json
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from curation.commands.sweep_page import log_table, page, say_table
from curation.passes.decide import DECISIONS, columns_of, decide, table_columns
from curation.passes.filters import (
    DUPLICATE_ID,
    NEAR_DUPLICATE,
    OPTED_OUT,
    SPLITS,
    STEPS,
    Filters,
    judge,
    needed_measures,
    refuse_absent,
    threshold_names,
    with_threshold,
)
from curation.passes.gather import TABLE
from curation.publish.spread import OTHER, Spread
from curation.tables import count_rows, iterate_batches, objects
from dynamicrafter import tracking
from dynamicrafter.command import command, say
from dynamicrafter.errors import InputError
from dynamicrafter.files import read_json, sha256_file, write_json, write_text
from dynamicrafter.progress import progress
from dynamicrafter.runs import RUN

MOST_SETTINGS = 200
MOST_NAMES = 200  # sources and categories that are told apart
SPEEDS = ("slowest quarter", "slower", "faster", "fastest quarter")
DUPLICATES = {
    "present": (
        "Duplicates are counted as the run found them: a clip that it dropped as one is dropped "
        "throughout, one that it had dropped for another reason counts as none. Where a setting "
        "drops the clip that others repeat, one of them would stay; that is not counted."
    ),
    "search": (
        "Duplicates were sought anew for every setting. Clips that the run could not encode are "
        "counted as if it could."
    ),
}

main = command("sweep", "curation.commands.sweep")


@dataclass(frozen=True)
class Setting:
    """Thresholds that differ from the run's; the run's own have no changes."""

    changes: dict[str, Any]
    filters: Filters


@dataclass
class Outcome:
    """What a setting keeps and drops."""

    setting: Setting
    by_split: Counter[str] = field(default_factory=Counter)
    dropped: Counter[str] = field(default_factory=Counter)
    sources: Counter[str] = field(default_factory=Counter)
    speeds: Counter[str] = field(default_factory=Counter)
    categories: Counter[str] = field(default_factory=Counter)

    @property
    def survivors(self) -> int:
        """How many rows stay."""
        return self.by_split.total()

    def to_json(self, rows: int, present: int) -> dict[str, Any]:
        """As it stands in `sweep.json`."""
        return {
            "changes": self.setting.changes,
            "survivors": self.survivors,
            "by_split": {split: self.by_split[split] for split in SPLITS},
            "share": self.survivors / rows if rows else None,
            "change": self.survivors - present,
            "dropped": {name: self.dropped[name] for name in sorted(self.dropped)},
            "mix": {
                "source": _by_count(self.sources),
                "speed": {name: self.speeds[name] for name in SPEEDS if self.speeds.total()},
                "category": _by_count(self.categories),
            },
        }


def inputs(config: Any) -> dict[str, str]:
    """Digests of the run's tables and thresholds."""
    run_folder = run_of(config)
    names = (TABLE, DECISIONS, RUN)
    return {name: sha256_file(run_folder / name) for name in names}


def run(config: Any, folder: Path) -> dict[str, Any]:
    """Count what each setting of conf/sweep.yaml keeps; write and log it.

    Raises:
        InputError: it is no run folder, or a setting cannot be used.
    """
    from omegaconf import OmegaConf

    run_folder = run_of(config)
    plain = OmegaConf.to_container(config, resolve=True)
    settings = plan(own_filters(run_folder), plain["vary"], plain["grid"], plain["duplicates"])
    for setting in settings:
        refuse_absent(setting.filters, table_columns(run_folder), {})
    edges = speed_edges(run_folder)
    if plain["duplicates"] == "search":
        outcomes = search(settings, edges, run_folder, folder)
    else:
        outcomes = count(settings, edges, run_folder)
    rows = count_rows(run_folder / TABLE)
    present = outcomes[0]
    found = {
        "rows": rows,
        "duplicates": DUPLICATES[plain["duplicates"]],
        "thresholds": {name: getattr(present.setting.filters, name) for name in threshold_names()},
        "speed_edges": edges,
        "present": present.to_json(rows, present.survivors),
        "settings": [outcome.to_json(rows, present.survivors) for outcome in outcomes[1:]],
        "grid": plain["grid"],
    }
    write_json(folder / "sweep.json", found)
    write_text(folder / "sweep.html", page(found))
    with tracking.open_run(config.tracking, folder, "sweep", plain) as tracker:
        log_table(tracker, found)
    say_table(found, say)
    return {"settings": len(settings) - 1, "page": str(folder / "sweep.html")}


def run_of(config: Any) -> Path:
    """The run folder that is looked at.

    Raises:
        InputError: it is none, or has not decided yet.
    """
    folder = Path(config.run)
    for name in (TABLE, DECISIONS, RUN):
        if not (folder / name).is_file():
            raise InputError(
                f"run={folder} has no {name}; make it with `dynamicrafter curate run_dir={folder}`"
            )
    return folder


def own_filters(run_folder: Path) -> Filters:
    """The thresholds that a run had.

    Raises:
        InputError: its `run.json` does not state them, or others.
    """
    stated = read_json(run_folder / RUN).get("config", {}).get("filters", {})
    wanted = {one.name for one in fields(Filters)}
    if missing := sorted(wanted - stated.keys()):
        raise InputError(
            f"{run_folder / RUN} does not state filters.{missing[0]}: another version made it; run "
            "`dynamicrafter curate` on it again, which measures nothing anew"
        )
    return Filters(**{name: stated[name] for name in wanted})


def plan(present: Filters, vary: dict[str, Any], grid: bool, duplicates: str) -> list[Setting]:
    """The run's own setting, then those that are asked for.

    Raises:
        InputError: nothing is varied, or a value cannot be used.
    """
    if duplicates not in DUPLICATES:
        raise InputError(f"duplicates={duplicates}; choose one of {', '.join(DUPLICATES)}")
    varied = {name: values for name, values in vary.items() if values is not None}
    if unknown := sorted(varied.keys() - set(threshold_names())):
        raise InputError(f"vary.{unknown[0]}: there is no such threshold")
    if not varied:
        raise InputError("nothing is varied; pass for example vary.min_object_motion=[0.001,0.01]")
    for name, values in varied.items():
        varied[name] = _checked(name, values, getattr(present, name), duplicates)
    if grid:
        names = list(varied)
        chosen = [
            dict(zip(names, each, strict=True)) for each in itertools.product(*varied.values())
        ]
    else:
        chosen = [{name: value} for name, values in varied.items() for value in values]
    if len(chosen) > MOST_SETTINGS:
        raise InputError(f"{len(chosen)} settings are more than {MOST_SETTINGS}; vary fewer values")
    settings = [Setting({}, present)]
    for changes in chosen:
        filters = present
        for name, value in changes.items():
            filters = with_threshold(filters, name, value)
        settings.append(Setting(changes, filters))
    return settings


def _checked(name: str, values: Any, present: Any, duplicates: str) -> list[Any]:
    values = values if isinstance(values, list) else [values]
    is_flag = name.startswith("drop_")
    for value in values:
        fits = value is None or (isinstance(value, int | float) and not isinstance(value, bool))
        if isinstance(value, bool) if is_flag else fits:
            continue
        wanted = "true or false" if is_flag else "a number, or null for off"
        raise InputError(f"vary.{name}: {value!r} is not {wanted}")
    if name == "camera_dominance" and None in values:
        raise InputError(f"vary.{name}: null is no number; set max_camera_motion to null instead")
    if name == "max_phash_distance":
        if not all(value is None or (value == int(value) and 0 <= value < 63) for value in values):
            raise InputError(f"vary.{name}: {values} are not whole numbers from 0 to 62")
        if duplicates == "present" and set(values) - {None, present}:
            raise InputError(f"vary.{name} needs duplicates=search, which seeks them anew")
    return list(dict.fromkeys(values))


def speed_edges(run_folder: Path) -> list[float] | None:
    """The quartiles of object motion among the rows that the run keeps, frame diagonals/s."""
    if "object_motion" not in table_columns(run_folder):
        return None
    spread = Spread()
    for batch, decided in _together(run_folder, ["object_motion"], run_folder):
        kept = np.array(decided["kept"].to_pylist(), bool)
        spread.add(batch["object_motion"].to_numpy()[kept])
    return spread.quantiles([0.25, 0.5, 0.75])


def count(
    settings: Sequence[Setting],
    edges: list[float] | None,
    run_folder: Path,
    decisions: Path | None = None,
) -> list[Outcome]:
    """Count what each setting keeps.

    Args:
        settings: all of them are counted in one pass.
        edges: of the speed classes.
        run_folder: of `curate`.
        decisions: folder of decisions that are taken as they are, in place of judging.
    """
    outcomes = [Outcome(setting) for setting in settings]
    there = set(table_columns(run_folder))
    measures = set().union(*(needed_measures(setting.filters) for setting in settings))
    columns = sorted((measures - {"phash"} | {"object_motion"}) & there)
    names = {"source": _Coded(), "category": _Coded()}
    total = count_rows(run_folder / TABLE)
    with progress("sweep", total=total, unit="rows") as advance:
        stored_of = decisions or run_folder
        wanted = [*columns, "extra", "source", "reason"]
        for batch, decided in _together(run_folder, wanted, stored_of):
            values = columns_of(batch.select(columns))
            stored = objects(decided["reason"])
            splits = np.array(decided["split"].to_pylist(), object)
            own = objects(batch["reason"])
            unreadable = own != None  # noqa: E711 - element by element
            sources = names["source"].codes(batch["source"].to_pylist())
            extras = batch["extra"].to_pylist()
            categories = names["category"].codes([_category(extra) for extra in extras])
            speeds = None if edges is None else np.digitize(values["object_motion"], edges)
            fixed = unreadable | (stored == OPTED_OUT)
            late = _found_later(stored) & ~unreadable
            for outcome in outcomes:
                if decisions is None:
                    reasons, _ = judge(values, outcome.setting.filters)
                    follow = late
                    if outcome.setting.filters.max_phash_distance is None:
                        follow = late & (stored != NEAR_DUPLICATE)
                    reasons = np.where((reasons == None) & follow, stored, reasons)  # noqa: E711
                    reasons = np.where(fixed, stored, reasons)
                else:
                    reasons = stored
                stays = reasons == None  # noqa: E711
                outcome.dropped.update(reasons[~stays].tolist())
                outcome.by_split.update(splits[stays].tolist())
                names["source"].tally(outcome.sources, sources[stays])
                names["category"].tally(outcome.categories, categories[stays])
                if speeds is not None:
                    known = stays & ~np.isnan(values["object_motion"])
                    found = np.bincount(speeds[known], minlength=len(SPEEDS))
                    outcome.speeds.update(dict(zip(SPEEDS, found.tolist(), strict=True)))
            advance(len(batch))
    return outcomes


def search(
    settings: Sequence[Setting], edges: list[float] | None, run_folder: Path, folder: Path
) -> list[Outcome]:
    """As `count`, with duplicates sought for every setting: all that `curate` does to decide."""
    opted_out = set()
    for batch in iterate_batches(run_folder / DECISIONS, columns=["key", "reason"]):
        rows = zip(batch["key"].to_pylist(), batch["reason"].to_pylist(), strict=True)
        opted_out |= {key for key, reason in rows if reason == OPTED_OUT}
    outcomes = []
    for setting in settings:
        with tempfile.TemporaryDirectory(dir=folder, prefix=".sweep-", suffix=".partial") as name:
            scratch = Path(name)
            (scratch / TABLE).symlink_to((run_folder / TABLE).resolve())
            decide(setting.filters, frozenset(opted_out), scratch)
            (outcome,) = count([setting], edges, run_folder, decisions=scratch)
        outcomes.append(outcome)
    return outcomes


def _found_later(stored: np.ndarray) -> np.ndarray:
    """Rows that had passed all rules: duplicates, and those that could not be encoded."""
    steps = set(STEPS) - {DUPLICATE_ID, NEAR_DUPLICATE}
    return np.array([reason is not None and reason not in steps for reason in stored], bool)


def _together(
    run_folder: Path, columns: Sequence[str], decisions: Path
) -> Iterator[tuple[pa.Table, pa.Table]]:
    """The rows of both tables, a row group of each at a time.

    Raises:
        InputError: they are not of one run.
    """
    measured = iterate_batches(run_folder / TABLE, columns=columns)
    decided = iterate_batches(decisions / DECISIONS)
    for batch, other in itertools.zip_longest(measured, decided):
        if batch is None or other is None or len(batch) != len(other):
            raise InputError(f"{TABLE} and {DECISIONS} of {run_folder} do not agree; run it again")
        yield batch, other


class _Coded:
    """Names as numbers, so that counting them for many settings is cheap."""

    def __init__(self) -> None:
        self._codes: dict[str, int] = {}

    def codes(self, names: Sequence[str | None]) -> np.ndarray:
        """A number a name; -1 for none."""
        found = np.empty(len(names), np.int64)
        for i, name in enumerate(names):
            if name is None:
                found[i] = -1
                continue
            if name not in self._codes and len(self._codes) >= MOST_NAMES:
                name = OTHER
            found[i] = self._codes.setdefault(name, len(self._codes))
        return found

    def tally(self, counts: Counter[str], codes: np.ndarray) -> None:
        """Add the numbers of these codes to counts by name."""
        found = np.bincount(codes[codes >= 0], minlength=len(self._codes))
        counts.update({name: int(found[code]) for name, code in self._codes.items() if found[code]})


def _category(extra: str | None) -> str | None:
    """The category that a source states."""
    if not extra or "category" not in extra:
        return None
    with contextlib.suppress(ValueError):
        found = json.loads(extra)
        for name in ("dynamic_source_category", "category"):
            if isinstance(found.get(name), str) and found[name] not in ("", "none"):
                return found[name]
    return None


def _by_count(counts: Counter[str]) -> dict[str, int]:
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))
