"""From the costs of a few clips to those of all: pure arithmetic on arrays.

A figure travels as draws `[1 + DRAWS]`: the estimate, then what it would be had chance picked other
clips for the probe (a bootstrap over clips, the same clips for every figure, so that sums and
quotients of figures are as sure as they are). Its interval holds 90 % of them.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from dynamicrafter.errors import InputError
from dynamicrafter.statistics import wilson_interval

DRAWS = 2000
LEVEL = 0.9
PASSES = ("list", "inspect", "measure", "decide", "encode", "pack", "vlm_caption")
SERIAL = ("list", "decide")
"""Passes that one process does, however many there are."""

CAPTION = "vlm_caption"
CAPTION_BAND = (3.4 / 6.3, 12.6 / 6.3)
"""How far an assumed captioning rate may be off, as factors: the utilisation of a GPU by published
pipelines lies between 0.08 and 0.30 where the rate assumes 0.15."""


@dataclass
class Fleet:
    """`fleet` of conf/plan_curate.yaml, where each figure is explained."""

    cores: int
    core_hour_cost: float
    gpus: int
    gpu_hour_cost: float
    storage_month_cost_per_tb: float
    caption_clips_per_gpu_second: float | None

    def __post_init__(self) -> None:
        if self.cores < 1 or self.gpus < 0:
            raise InputError(f"fleet.cores={self.cores}, fleet.gpus={self.gpus}; 1 and 0 at least")
        rate = self.caption_clips_per_gpu_second
        if rate is not None and rate <= 0:
            raise InputError(f"fleet.caption_clips_per_gpu_second={rate:g}; it must be above 0")


class Draws:
    """Resamples of the clips of a probe."""

    def __init__(self, clips: int, total: int, seed: int = 0):
        """`clips` were drawn from `total`, without regard to what they are."""
        self._random = np.random.default_rng(seed)
        self._rows = self._random.integers(0, clips, (DRAWS, clips))
        self._total = total
        # A sample knows its own part of the whole, and underrates its spread by 1/n.
        self._scale = (max(1 - clips / total, 0.0) * clips / max(clips - 1, 1)) ** 0.5

    def total(self, values: Any) -> np.ndarray:
        """Draws of the sum over all clips, from the values `[n]` of those of the probe."""
        found = np.asarray(values, np.float64)
        mean = found.mean()
        means = mean + (found[self._rows].mean(axis=1) - mean) * self._scale
        return self._total * np.concatenate([[mean], np.maximum(means, 0.0)])

    def ratio(self, base: Any, other: Any) -> np.ndarray:
        """Draws of Σ other / Σ base over clips `[m]` that both were measured of."""
        first, second = np.asarray(base, np.float64), np.asarray(other, np.float64)
        rows = self._random.integers(0, len(first), (DRAWS, len(first)))
        drawn = second[rows].sum(axis=1) / np.maximum(first[rows].sum(axis=1), 1e-12)
        return np.concatenate([[second.sum() / max(first.sum(), 1e-12)], drawn])

    def band(self, value: float, low: float, high: float) -> np.ndarray:
        """Draws of an assumed figure of which 90 % shall lie between `low` and `high`."""
        z = self._random.standard_normal(DRAWS) / 1.645
        spread = np.where(z < 0, np.log(value / low), np.log(high / value))
        return np.concatenate([[value], value * np.exp(z * spread)])


def figure(draws: np.ndarray, unit: str, **more: Any) -> dict[str, Any]:
    """{"value", "low", "high", "unit"} of draws."""
    edges = np.quantile(draws[1:], [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    low, high = min(edges[0], draws[0]), max(edges[1], draws[0])
    return {"value": float(draws[0]), "low": float(low), "high": float(high), "unit": unit, **more}


@dataclass(frozen=True)
class Load:
    """What all clips ask for: seconds by pass, as draws."""

    cpu: dict[str, np.ndarray]
    gpu: dict[str, np.ndarray]

    def less(self, cpu: dict[str, np.ndarray], gpu: dict[str, np.ndarray] | None = None) -> "Load":
        """The load without these seconds of some passes."""
        return Load(
            {name: np.maximum(s - cpu.get(name, 0.0), 0.0) for name, s in self.cpu.items()},
            {name: np.maximum(s - (gpu or {}).get(name, 0.0), 0.0) for name, s in self.gpu.items()},
        )

    def hours(self, fleet: Fleet) -> dict[str, np.ndarray]:
        """Hours of each pass on a fleet: its cores, or its GPUs, whichever takes longer."""
        found = {}
        for name in [*self.cpu, *(name for name in self.gpu if name not in self.cpu)]:
            cores = 1 if name in SERIAL else fleet.cores
            seconds = self.cpu.get(name, np.zeros(1 + DRAWS)) / cores
            if name in self.gpu:
                if not fleet.gpus:
                    raise InputError(f"the pass {name} needs GPUs, and fleet.gpus is 0")
                seconds = np.maximum(seconds, self.gpu[name] / fleet.gpus)
            found[name] = seconds / 3600
        return found

    def money(self, fleet: Fleet) -> np.ndarray:
        """Price of the hours that are worked."""
        return (
            _sum(self.cpu) / 3600 * fleet.core_hour_cost
            + _sum(self.gpu) / 3600 * fleet.gpu_hour_cost
        )


def _sum(parts: dict[str, np.ndarray]) -> np.ndarray:
    return sum(parts.values(), np.zeros(1 + DRAWS))


def estimate(probe: dict[str, Any], total: int, fleet: Fleet) -> dict[str, Any]:
    """The estimate for `total` clips, as JSON values.

    Args:
        probe: as `curation.commands.probe.probe_clips` returns it.
        total: number of clips.
        fleet: what they are to run on.

    Raises:
        InputError: a pass needs GPUs and there are none.
    """
    per_clip, count = probe["per_clip"], len(probe["per_clip"]["outcome"])
    draws = Draws(count, total)
    kept = draws.total(per_clip["kept_shots"])
    cpu = {name: draws.total(values) for name, values in per_clip["cpu_s"].items()}
    gpu = {}
    if probe["gpu_measures"]:
        on_gpu = [per_clip["measure_wall_s"][name] for name in probe["gpu_measures"]]
        gpu["measure"] = draws.total(np.sum(on_gpu, axis=0))
    assumed = {}
    if (rate := fleet.caption_clips_per_gpu_second) is not None and fleet.gpus:
        low, high = (rate * factor for factor in CAPTION_BAND)
        gpu[CAPTION] = kept / draws.band(rate, low, high)
        assumed[CAPTION] = f"{rate:g} clips/s a GPU, {low:.3g} to {high:.3g}; not probed"
    load = Load(cpu, gpu)
    hours = load.hours(fleet)
    whole = _sum(hours)
    read = {name: draws.total(values) for name, values in per_clip["read_bytes"].items()}
    dataset, folder = (draws.total(per_clip[name]) for name in ("dataset_bytes", "folder_bytes"))
    bottleneck = max(hours, key=lambda name: hours[name][0])
    terabytes = {
        "read": _sum(read),
        "written": folder,
        "dataset": dataset,
        "run_folder": folder,
    }
    return {
        "clips": total,
        "probed": count,
        "hours": figure(whole, "h"),
        "hours_by_pass": {name: figure(values, "h") for name, values in hours.items()},
        "core_hours": figure(_sum(cpu) / 3600, "core h"),
        "core_hours_by_pass": {name: figure(s / 3600, "core h") for name, s in cpu.items()},
        "core_hours_by_measure": {
            name: figure(draws.total(values) / 3600, "core h")
            for name, values in per_clip["measure_cpu_s"].items()
        },
        "gpu_hours": figure(_sum(gpu) / 3600, "GPU h"),
        "gpu_hours_by_pass": {name: figure(s / 3600, "GPU h") for name, s in gpu.items()},
        "assumed": assumed,
        "terabytes": {name: figure(size / 1e12, "TB") for name, size in terabytes.items()},
        "read_megabytes_per_s": figure(_sum(read) / 1e6 / np.maximum(whole * 3600, 1e-9), "MB/s"),
        "kept_shots": figure(kept, "shots"),
        "outcomes": _outcomes(per_clip["outcome"]),
        "cost": figure(load.money(fleet), "money"),
        "storage_month_cost": figure(folder / 1e12 * fleet.storage_month_cost_per_tb, "money"),
        "bottleneck": bottleneck,
        "bottleneck_share": float(hours[bottleneck][0] / max(whole[0], 1e-12)),
        "knobs": _knobs(probe, draws, load, dataset, fleet),
    }


def _outcomes(outcomes: list[str]) -> dict[str, dict[str, Any]]:
    """Share of the clips that keep a shot, and of those that lose all for a reason."""
    names = sorted(set(outcomes) - {"kept"}, key=lambda name: (-outcomes.count(name), name))
    found = {}
    for name in ["kept", *names]:
        count = outcomes.count(name)
        share = wilson_interval(count, len(outcomes), LEVEL)
        found[name] = {
            "value": share.value,
            "low": share.low,
            "high": share.high,
            "unit": "share of the clips",
            "clips": count,
        }
    return found


def _knobs(
    probe: dict[str, Any], draws: Draws, load: Load, dataset: np.ndarray, fleet: Fleet
) -> list[dict[str, Any]]:
    """Settings that save hours, the one that saves most first."""
    per_clip, found = probe["per_clip"], []
    before, price = _sum(load.hours(fleet)), load.money(fleet)

    def add(setting: str, loses: str, other: Load, **more: Any) -> None:
        saved = before - _sum(other.hours(fleet))
        cheaper = price - other.money(fleet)
        knob = {"setting": setting, "loses": loses, **more}
        found.append({**knob, "saves": figure(saved, "h"), "saves_cost": figure(cheaper, "money")})

    for name in probe["optional_measures"]:
        gpu = {}
        if name in probe["gpu_measures"]:
            gpu["measure"] = draws.total(per_clip["measure_wall_s"][name])
        cpu = {"measure": draws.total(per_clip["measure_cpu_s"][name])}
        loses = "its columns; no filter that is on looks at them"
        add(f"measures.{name}.use=false", loses, load.less(cpu, gpu))
    for pair in probe["pairs"]:
        ratio = draws.ratio(pair["base_cpu_s"], pair["other_cpu_s"])
        saved = (1 - ratio) * load.cpu[pair["pass"]]
        more = {}
        if "base_bytes" in pair:
            growth = draws.ratio(pair["base_bytes"], pair["other_bytes"])
            more["dataset"] = figure(growth * dataset / 1e12, "TB")
        add(pair["setting"], pair["loses"], load.less({pair["pass"]: saved}), **more)
    early = np.isin(per_clip["outcome"], probe["told_by_the_table"])
    if early.any():
        cpu = {
            name: draws.total(np.where(early, per_clip["cpu_s"][name], 0.0))
            for name in ("inspect", "measure")
        }
        add(
            "leave the rows out of the table that fail "
            + " and ".join(probe["thresholds_of_the_table"]),
            "nothing: these filters need no picture",
            load.less(cpu),
        )
    saving = [knob for knob in found if knob["saves"]["value"] > 0]
    return sorted(saving, key=lambda knob: -knob["saves"]["value"])
