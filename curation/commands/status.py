"""`dynamicrafter curate status`: how far a run is, at what rate, and what it dropped."""

import json
import sys
import time
from pathlib import Path
from typing import Any

from curation.commands import survey
from curation.commands.survey import Progress
from curation.passes import listing
from curation.passes.decide import DECISIONS, FUNNEL
from curation.pipeline import listing_digest
from curation.recipe import read_recipe
from curation.tables import read_note
from dynamicrafter.command import compose, say
from dynamicrafter.errors import InputError
from dynamicrafter.files import read_json
from dynamicrafter.runs import DONE, RUN
from dynamicrafter.text_table import byte_text, table_lines, time_text

RUNNING, STOPPED, FINISHED = "running", "stopped", "finished"
WINDOW_S = 900.0
"""The rate is that of the last quarter of an hour."""

_SECTIONS = ("source", "list", "measure", "measures", "filters", "encode", "pack", "captioner")
_FOREMOST = 8  # reasons and quarantined spans that are told


def main() -> None:
    """Entry point of the verb."""
    compose("status", show)


def show(config: Any) -> None:
    """Tell the state of the run folder `config.run`, once or until the run has ended.

    Raises:
        InputError: the folder is none of a curate run.
    """
    folder = Path(config.run)
    while True:
        state = look(folder, config.sizes)
        if config.json:
            sys.stdout.write(json.dumps(state, sort_keys=True) + "\n")
            sys.stdout.flush()
        else:
            for line in lines_of(state):
                say(line)
        if not config.follow or state["state"] != RUNNING:
            return
        time.sleep(config.every_s)


def look(folder: Path, with_sizes: bool = True) -> dict[str, Any]:
    """The state of a run folder as JSON values; nothing in it is changed.

    Raises:
        InputError: the folder is none of a curate run.
    """
    from omegaconf import OmegaConf

    run = _read_run(folder)
    config = OmegaConf.create(run["config"])
    state = STOPPED
    if survey.is_held(folder):
        state = RUNNING
    elif (folder / DONE).exists():
        state = FINISHED
    began = survey.changed_at(folder / RUN)
    passes, notes = _passes(config, run["inputs"], began, folder)
    now = next((one for one in passes if not one.whole), None)
    funnel = read_json(folder / FUNNEL) if (folder / FUNNEL).exists() else None
    pieces, spans = survey.quarantined(_FOREMOST, folder)
    found = {
        "run": str(folder),
        "state": state,
        "started": run.get("started"),
        "command": run.get("command"),
        "passes": [_as_json(one) for one in passes],
        "current": None,
        "funnel": funnel,
        "funnel_is_of_an_earlier_run": bool(funnel) and not passes[3].whole,
        "quarantine": {"pieces": pieces, "first": spans},
        "disk": {},
        "notes": notes,
    }
    if state != FINISHED and now is not None:
        found["current"] = {"pass": now.name, **_rate(now, began, state == RUNNING, folder)}
    if state == FINISHED:
        found["seconds"] = read_json(folder / DONE).get("seconds")
    if with_sizes:
        sizes = survey.sizes(folder)
        found["disk"] = {name: {"files": n, "bytes": size} for name, (n, size) in sizes.items()}
    return found


def _read_run(folder: Path) -> dict[str, Any]:
    try:
        run = read_json(folder / RUN)
        config = run["config"]
        if all(name in config for name in _SECTIONS) and "probe" not in config and run["inputs"]:
            return run
    except (InputError, NotADirectoryError, KeyError, TypeError):
        pass
    raise InputError(f"{folder} is no run folder of `dynamicrafter curate`")


def _passes(
    config: Any, inputs: dict[str, str], began: float, folder: Path
) -> tuple[list[Progress], list[str]]:
    """All passes in order, and what must be said about their numbers."""
    from omegaconf import OmegaConf

    plain = OmegaConf.to_container(config, resolve=True)
    recipe = read_recipe(config)
    notes = []
    if inputs.get("measures") != recipe.measures_digest:
        notes.append(
            "the measures of this run are not those of this machine (other weights, or another "
            "version): its measured pieces may not be recognised"
        )
    digest = listing_digest(inputs, plain)
    passes = [_listed(digest, folder)]
    passes += [Progress("inspect", "clips"), Progress("measure", "pieces")]
    if passes[0].whole:
        ids, rows = survey.listed(folder)
        passes[1], there = survey.inspected(ids, rows, folder)
        passes[2] = survey.measured(ids, there, recipe.measure, recipe.tasks, folder)
        if (folder / DONE).exists() and not passes[2].whole:
            passes[2].planned = passes[2].planned or 0
            notes.append(
                f"another version of the toolkit made this: running it again would measure "
                f"{passes[2].planned - passes[2].done} pieces anew"
            )
            passes[2].done = passes[2].planned
    elif (folder / listing.INDEX).exists():
        notes.append("the listing that is there is of an earlier run")
    decided = survey.changed_at(folder / DECISIONS)
    fresh = bool(decided) and (decided >= began or (folder / DONE).exists())
    passes.append(Progress("decide", "tables", int(fresh and passes[2].whole), 1))
    passes += [
        Progress("encode", "clips"),
        Progress("caption", "clips"),
        Progress("pack", "shards"),
    ]
    if passes[3].whole:
        kept = survey.kept_by_piece(folder)
        passes[4] = survey.encoded(kept, recipe.encode, folder)
        if passes[4].whole:
            passes[5] = survey.captioned(kept, recipe.captioner, recipe.encode, folder)
        if survey.changed_at(folder / "pack" / "plan-test.parquet") >= min(decided, began):
            passes[6] = survey.packed(recipe.shard_bytes, folder)
    passes.append(Progress("finish", "papers", int((folder / DONE).exists()), 1))
    return passes, notes


def _listed(digest: str, folder: Path) -> Progress:
    found = Progress("list", "clips", made=(listing.LISTING, ".parquet"))
    index = folder / listing.INDEX
    if index.exists() and ((folder / DONE).exists() or read_note(index, "digest") == digest):
        found.done = found.planned = listing.count_clips(folder)
    return found


def _as_json(one: Progress) -> dict[str, Any]:
    found = {
        "name": one.name,
        "unit": one.unit,
        "done": one.done,
        "planned": one.planned,
        "about": one.about,
        "whole": one.whole,
    }
    return found | ({} if one.by_measure is None else {"by_measure": one.by_measure})


def _rate(now: Progress, began: float, running: bool, folder: Path) -> dict[str, Any]:
    """{"files_per_s", "per_s", "left_s"}: each None where it cannot be told yet."""
    unknown = {"per_s": None, "left_s": None, "last_file_s_ago": None}
    if not now.made[0]:
        return unknown
    times = survey.times_of(now.made, began, folder)
    if not len(times):
        return unknown
    clock = time.time()
    end = clock if running else times[-1]
    times = times[times >= end - WINDOW_S]
    found = {**unknown, "last_file_s_ago": round(max(clock - times[-1], 0.0), 1)}
    if len(times) < 2 or end <= times[0]:
        return found
    files_per_s = (len(times) - 1) / (end - times[0])
    made = len(survey.times_of(now.made, 0.0, folder))
    found["per_s"] = files_per_s * max(now.done, 1) / made
    if now.planned is not None and running:
        found["left_s"] = (now.planned - now.done) / found["per_s"]
    return found


def lines_of(state: dict[str, Any]) -> list[str]:
    """The state in words and small tables."""
    lines = [f"{state['run']}: {state['state']}, started {state['started']}"]
    lines += [f"note: {note}" for note in state["notes"]]
    current = (state["current"] or {}).get("pass")
    rows = []
    for one in state["passes"]:
        about = "about " if one["about"] else ""
        planned = "?" if one["planned"] is None else f"{about}{one['planned']}"
        word = "done" if one["whole"] else ""
        if one["name"] == current:
            word = f"<- {'now' if state['state'] == RUNNING else 'stopped here'}"
        rows.append((one["name"], str(one["done"]), "of", planned, one["unit"], word))
        counts = one.get("by_measure") or {}
        if not one["whole"] and len(set(counts.values())) > 1:
            rows += [(f"  {name}", str(n), "of", planned, "", "") for name, n in counts.items()]
    lines += table_lines(rows, "lrlrll")
    lines += _rate_lines(state)
    if funnel := state["funnel"]:
        of = " (of an earlier run)" if state["funnel_is_of_an_earlier_run"] else ""
        kept = funnel["kept"]
        total = funnel["steps"][0]["in"] if funnel["steps"] else 0
        lines.append(
            f"kept{of}: {sum(kept.values())} of {total} "
            f"({', '.join(f'{count} {split}' for split, count in kept.items())})"
        )
        steps = [(s["name"], str(s["dropped"]), str(s["out"])) for s in funnel["steps"]]
        steps = [step for step in steps if step[1] != "0"]
        if steps:
            lines += table_lines([("step", "dropped", "left"), *steps], "lrr")
        reasons = sorted(funnel["reasons"].items(), key=lambda item: (-item[1], item[0]))
        if reasons:
            told = ", ".join(f"{reason} {count}" for reason, count in reasons[:_FOREMOST])
            lines.append(f"reasons: {told}{', …' if len(reasons) > _FOREMOST else ''}")
    if pieces := state["quarantine"]["pieces"]:
        lines.append(f"quarantined: spans of {pieces} pieces, among them")
        first = state["quarantine"]["first"]
        spans = [(str(s["key"]), str(s["reason"]), str(s["message"] or "")) for s in first]
        lines += table_lines(spans, "lll")
    if disk := state["disk"]:
        by_size = sorted(disk.items(), key=lambda item: -item[1]["bytes"])
        rows = [(n, str(f["files"]), byte_text(f["bytes"])) for n, f in by_size]
        lines += table_lines([("folder", "files", "size"), *rows], "lrr")
    return lines


def _rate_lines(state: dict[str, Any]) -> list[str]:
    current = state["current"] or {}
    if current.get("per_s") is None:
        return []
    (unit,) = (one["unit"] for one in state["passes"] if one["name"] == current["pass"])
    words = [f"{current['pass']}: {current['per_s']:.3g} {unit}/s"]
    if current["left_s"] is not None:
        words.append(f"{time_text(current['left_s'])} left in this pass")
    words.append(f"last file {time_text(current['last_file_s_ago'])} ago")
    return [", ".join(words)]
