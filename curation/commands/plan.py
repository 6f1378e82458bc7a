"""`dynamicrafter curate plan`: hours, storage and money of a curation, from a probe of its clips.

    probe-<digest>.json    what the probed clips cost; taken over while source and settings stay
    plan.json              the estimate, every figure with its 90 % interval

Other prices, another fleet or another number of clips probe nothing again.
"""

import os
import platform
import tempfile
from pathlib import Path
from typing import Any

from curation.commands.estimate import PASSES, Fleet, estimate
from curation.commands.probe import draw, probe_clips
from curation.passes.listing import source_inputs
from curation.passes.opted_out import read_ids, without_opted_out
from curation.recipe import as_settings, plain, read_recipe
from curation.sources import read_clips
from curation.tables import digest_rows
from dynamicrafter.ahead import cores
from dynamicrafter.command import compose, run_in_folder, say
from dynamicrafter.errors import InputError
from dynamicrafter.files import read_json, write_json
from dynamicrafter.text_table import table_lines

PLAN = "plan.json"
_KNOBS = 4  # that are told; all are in plan.json
_STORAGE = {
    "read": "bytes read",
    "written": "bytes written",
    "dataset": "storage, dataset",
    "run_folder": "storage, run folder",
}
_SMALLER = {
    "h": (("h", 1.0), ("min", 1 / 60), ("s", 1 / 3600)),
    "TB": (("TB", 1.0), ("GB", 1e-3), ("MB", 1e-6), ("kB", 1e-9)),
}
_SECTIONS = ("source", "measure", "measures", "filters", "captioner", "encode", "pack")


def main() -> None:
    """Entry point of the verb."""
    compose("plan_curate", _plan)


def _plan(config: Any) -> None:
    run_in_folder(config, "curation.commands.plan")
    for line in lines_of(read_json(Path(config.run_dir) / PLAN)):
        say(line)


def inputs(config: Any) -> dict[str, str]:
    """Digests of what the plan depends on besides the config: tables or names, and weights."""
    return {
        **source_inputs(plain(config.source), check_files=False),
        "measures": read_recipe(config).measures_digest,
        "opt_out": digest_rows(sorted(read_ids(config.opt_out))),
    }


def run(config: Any, folder: Path) -> dict[str, Any]:
    """Probe the source of `config`, write the plan into `folder`, return its main figures.

    Raises:
        InputError: the source or a setting cannot be used.
    """
    fleet = as_settings(Fleet, config.fleet)
    if config.probe < 2:
        raise InputError(f"probe={config.probe}; an interval needs 2 clips at least")
    machine = describe_machine()
    settings = {name: plain(config[name]) for name in _SECTIONS}
    given = read_json(folder / "run.json")["inputs"]
    path = folder / f"probe-{digest_rows(given, settings, config.probe, machine)}.json"
    if not path.exists():
        write_json(path, {**_probe(config, folder), "machine": machine})
    probe = read_json(path)
    total = probe["listed"] if config.total_clips is None else config.total_clips
    if total < 1:
        raise InputError(f"total_clips={total}; it must be 1 or more")
    plan = {
        **estimate(probe, total, fleet),
        "source": config.source.name,
        "fleet": plain(config.fleet),
        "currency": config.currency,
        "machine": machine,
        "load_average": probe["load_average"],
        "absent": probe["absent"],
    }
    write_json(folder / PLAN, plan)
    return {name: plan[name] for name in ("clips", "hours", "core_hours", "gpu_hours", "cost")}


def _probe(config: Any, folder: Path) -> dict[str, Any]:
    """Draw the clips and curate them in a scratch folder."""
    recipe = read_recipe(config)
    recipe.check_absent()
    opted_out = read_ids(config.opt_out)
    rows = (without_opted_out(clip, opted_out) for clip in read_clips(plain(config.source)))
    clips, listed, list_s = draw(rows, config.probe)
    with tempfile.TemporaryDirectory(dir=folder, prefix=".probe-", suffix=".partial") as scratch:
        found = probe_clips(
            clips, recipe, opted_out, config.workers, config.unit_timeout_s, Path(scratch)
        )
    listing = found["per_clip"]["cpu_s"]["list"]
    found["per_clip"]["cpu_s"]["list"] = [seconds + list_s / listed for seconds in listing]
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
    return {**found, "listed": listed, "absent": recipe.absent, "load_average": load}


def describe_machine() -> dict[str, Any]:
    """Cores that this process may use, and the model of the CPU."""
    model = platform.processor() or platform.machine()
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        model = next(line.split(":", 1)[1].strip() for line in lines if line[:10] == "model name")
    except (OSError, StopIteration):
        pass
    return {"cores": cores(), "cpu": model, "system": f"{platform.system()} {platform.machine()}"}


def lines_of(plan: dict[str, Any]) -> list[str]:
    """The plan as lines for a terminal."""
    machine, fleet, money = plan["machine"], plan["fleet"], plan["currency"]
    lines = [
        f"plan for {plan['clips']} clips of {plan['source']}, from {plan['probed']} of them",
        f"probed on {machine['cores']} cores of {machine['cpu']}, {machine['system']}; the fleet's "
        f"{fleet['cores']} cores are taken to be as fast",
    ]
    rows = [("", "estimate", "90 % interval", "")]

    def add(name: str, found: dict[str, Any], unit: str = "", note: str = "") -> None:
        value, low, high, own = _scaled(found)
        rows.append((name, value, f"{low} to {high}", f"{unit or own}  {note}".rstrip()))

    def add_passes(kind: str) -> None:
        for name in sorted(plan[kind], key=PASSES.index):
            note = plan["assumed"].get(name, "")
            add(f"  {name}", plan[kind][name], note=note and f"ASSUMED: {note}")

    with_assumed = f"with the assumed {', '.join(plan['assumed'])}" if plan["assumed"] else ""
    add("hours on the fleet", plan["hours"], note=with_assumed)
    add_passes("hours_by_pass")
    add("core-hours", plan["core_hours"])
    add_passes("core_hours_by_pass")
    for name, found in sorted(plan["core_hours_by_measure"].items(), key=_descending):
        add(f"    measure: {name}", found)
    add("GPU-hours", plan["gpu_hours"], note=with_assumed)
    add_passes("gpu_hours_by_pass")
    for name, words in _STORAGE.items():
        add(words, plan["terabytes"][name])
    add("read, while it runs", plan["read_megabytes_per_s"])
    add("kept shots", plan["kept_shots"])
    add("cost", plan["cost"], money, with_assumed)
    add("storage", plan["storage_month_cost"], f"{money} a month", "of the run folder")
    lines += table_lines(rows, "lrrl")
    rows = [("clips by outcome", "share", "90 % interval")]
    for name, found in sorted(plan["outcomes"].items(), key=_descending):
        share = f"{100 * found['value']:.1f} %"
        rows.append((name, share, f"{100 * found['low']:.1f} to {100 * found['high']:.1f} %"))
    lines += table_lines(rows, "lrr")
    lines.append("repeats are only found among the probed clips; expect more in all of them")
    slowest = sorted(plan["hours_by_pass"].items(), key=_descending)
    words = [f"{name}{' (assumed)' if name in plan['assumed'] else ''}" for name, _ in slowest]
    shares = [100 * found["value"] / plan["hours"]["value"] for _, found in slowest]
    told = [f"{word}, {share:.0f} %" for word, share in zip(words, shares, strict=True)]
    lines.append(f"bottleneck: {told[0]} of the hours; then {told[1]}")
    return lines + [_knob_line(knob, plan, money) for knob in plan["knobs"][:_KNOBS]]


def _knob_line(knob: dict[str, Any], plan: dict[str, Any], money: str) -> str:
    value, low, high, unit = _scaled(knob["saves"])
    part = 100 * knob["saves"]["value"] / plan["hours"]["value"]
    words = "cheapest knob" if knob is plan["knobs"][0] else "or"
    more = ""
    if "dataset" in knob:
        size, _, _, of = _scaled(knob["dataset"])
        more = f" (the dataset becomes {size} {of})"
    return (
        f"{words}: {knob['setting']} saves {value} {unit} ({low} to {high}), {part:.0f} % of the "
        f"hours, {_short(knob['saves_cost']['value'])} {money}; it costs {knob['loses']}{more}"
    )


def _descending(item: tuple[str, dict[str, Any]]) -> tuple[float, str]:
    return -item[1]["value"], item[0]


def _scaled(found: dict[str, Any]) -> tuple[str, str, str, str]:
    """Value, ends of the interval and unit, in one that leaves no row of zeros."""
    what, _, unit = found["unit"].rpartition(" ")
    scale = next(
        (item for item in _SMALLER.get(unit, ()) if found["value"] >= 0.1 * item[1]),
        _SMALLER.get(unit, ((unit, 1.0),))[-1],
    )
    value, low, high = (_short(found[name] / scale[1]) for name in ("value", "low", "high"))
    return value, low, high, f"{what} {scale[0]}".strip()


def _short(value: float) -> str:
    """Three significant digits, without a power of ten where that can be."""
    return f"{value:.0f}" if abs(value) >= 100 or value == 0 else f"{value:.3g}"
