"""Scores of the arms of an ablation, and their differences on the same inputs and seeds.

A score is the mean over an arm's seeds. Its difference from the baseline is taken under every seed
that both have, then averaged:

    PIC, CLIP-SIM   video by video; the interval is that of a bootstrap over seeds and videos
    FVD             by the jackknife of `fvd_difference`; the standard errors under the seeds are
                    averaged, as if the seeds told the same thing, which is the cautious reading
    KVD             without interval
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dynamicrafter.ablation import Ablation
from dynamicrafter.errors import InputError
from dynamicrafter.statistics import bootstrap_interval, bootstrap_means, student_interval
from eval import results
from eval.metrics.intervals import fvd_difference
from eval.values import read_values

METRICS = ("fvd", "kvd", "pic", "clip_sim")
OF_THE_PAPER = ("fvd", "pic")  # shown even where they are absent


@dataclass(frozen=True)
class Evaluated:
    """The evaluation of a cell."""

    arm: str
    seed: int
    folder: Path
    found: results.Results


@dataclass(frozen=True)
class Gap:
    """An arm's score minus the baseline's; the ends are None where there is no interval."""

    value: float
    low: float | None
    high: float | None
    videos: int
    seeds: list[int]


@dataclass(frozen=True)
class Score:
    """A metric of an arm. `reliable` is False where the number must not be leant on."""

    arm: str
    metric: str
    value: float | None
    reliable: bool
    gap: Gap | None  # None for the baseline, and where the inputs differ


def evaluations(ablation: Ablation, folder: Path) -> list[Evaluated]:
    """The evaluations of the cells that have a result; `folder` holds `ablation.json`.

    Raises:
        InputError: one is missing, or they follow different protocols.
    """
    found = [
        Evaluated(cell.arm, cell.seed, place, results.read(place))
        for arm in ablation.arms
        for cell in ablation.whole(arm)
        for place in [folder / cell.evaluation]
    ]
    for one in found[1:]:
        first, other = found[0].found.protocol, one.found.protocol
        if first["digest"] != other["digest"]:
            raise InputError(
                f"{one.folder} was evaluated under {other['name']} ({other['digest'][:12]}) and "
                f"{found[0].folder} under {first['name']} ({first['digest'][:12]}); run "
                "dynamicrafter ablate again, so that all follow one protocol"
            )
    return found


def scores_of(
    arms: Sequence[str], baseline: str, evaluated: Sequence[Evaluated], seed: int
) -> list[Score]:
    """Every metric of every arm, in this order.

    Args:
        arms: their names.
        baseline: one of them.
        evaluated: all evaluations.
        seed: of the bootstrap.
    """
    by_arm = {arm: [one for one in evaluated if one.arm == arm] for arm in arms}
    return [
        _score(arm, metric, by_arm[arm], [] if arm == baseline else by_arm[baseline], seed)
        for arm in arms
        for metric in METRICS
    ]


def _score(
    arm: str, metric: str, own: Sequence[Evaluated], baseline: Sequence[Evaluated], seed: int
) -> Score:
    rows = [row for one in own if (row := _row(one, metric)) is not None and row.value is not None]
    if not rows:
        return Score(arm, metric, None, False, None)
    value = float(np.mean([row.value for row in rows]))
    pairs = [
        (one, other)
        for one in own
        for other in baseline
        if one.seed == other.seed and one.found.inputs == other.found.inputs
    ]
    reliable = all(row.reliable for row in rows)
    return Score(arm, metric, value, reliable, _gap(metric, pairs, seed))


def _gap(metric: str, pairs: Sequence[tuple[Evaluated, Evaluated]], seed: int) -> Gap | None:
    """The difference over the seeds under which both sides have the metric."""
    found = [(a, b, _values(a, metric), _values(b, metric)) for a, b in pairs]
    found = [one for one in found if None not in (one[2], one[3])]
    if not found:
        return None
    value = float(np.mean([a - b for _, _, a, b in found]))
    seeds = [one[0].seed for one in found]
    if metric == "fvd":
        return _fvd_gap(value, [(a, b) for a, b, _, _ in found], seeds)
    videos = read_values(found[0][0].folder)
    if metric not in videos:
        return Gap(value, None, None, len(videos), seeds)
    table = np.array([_difference(a, b, metric) for a, b, _, _ in found])
    interval = bootstrap_interval(float(table.mean()), bootstrap_means(table, seed, "ablation"))
    return Gap(interval.value, interval.low, interval.high, table.shape[1], seeds)


def _fvd_gap(value: float, pairs: Sequence[tuple[Evaluated, Evaluated]], seeds: list[int]) -> Gap:
    import safetensors.numpy

    errors, videos = [], len(read_values(pairs[0][0].folder))
    for one, other in pairs:
        ours, theirs = (
            safetensors.numpy.load_file(x.folder / results.FEATURES) for x in (one, other)
        )
        if not ours or not theirs:
            return Gap(value, None, None, videos, seeds)
        real, a, b = (
            np.asarray(x, np.float64)
            for x in (ours["real"], ours["generated"], theirs["generated"])
        )
        unbiased = one.found.protocol["covariance"] == "unbiased"
        try:
            errors.append(fvd_difference(real, a, b, unbiased).standard_error)
        except InputError:  # too few videos for an interval
            return Gap(value, None, None, videos, seeds)
    interval = student_interval(value, float(np.mean(errors)), videos - 1)
    return Gap(value, interval.low, interval.high, videos, seeds)


def _difference(one: Evaluated, other: Evaluated, metric: str) -> np.ndarray:
    a, b = read_values(one.folder).sort_index(), read_values(other.folder)
    return (a[metric] - b[metric].loc[a.index]).to_numpy()


def _values(one: Evaluated, metric: str) -> float | None:
    row = _row(one, metric)
    return None if row is None else row.value


def _row(one: Evaluated, metric: str) -> results.Row | None:
    return next((row for row in one.found.rows if row.metric == metric), None)
