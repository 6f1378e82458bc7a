"""Validation losses of the arms of an ablation, compared clip by clip and seed by seed.

Arms see the same held-out clips under the same noise and timesteps, and arms with the same seed
were trained on the same clips, noise, timesteps and drops. So the luck of a clip and of a seed is
in both losses, and cancels in their difference.

One value is the loss of one clip under one seed, the mean over its timesteps. The 95 % intervals
are those of a bootstrap that draws clips and seeds anew, each independently of the other: how far
other held-out clips, and other seeds, would have moved the number. Under a single seed they know of
clips alone; under two, what is known of seeds is little, and the difference under each is told. The
paired interval draws the same clips and seeds for both arms, the unpaired one draws for each arm by
itself, as for two runs that have nothing in common.

Modes that only one of the arms has are left out: without an image stream there is no image to
drop.
"""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from dynamicrafter.ablation import Difference, Estimate, Loss, Slice
from dynamicrafter.errors import InputError
from dynamicrafter.statistics import bootstrap_interval, bootstrap_means
from train.validation import LossRow, paired_difference
from train.validation.losses import MODES, stratum_bounds

SeedRows = Mapping[int, Sequence[LossRow]]  # the rows of a validation, by the seed of the training
Table = Mapping[int, Mapping[str, float]]  # seed → clip → loss
ALL = -1  # in place of a slice of the timesteps: the mean over all of them


def losses_of(arm: str, rows: SeedRows, baseline: SeedRows | None, seed: int) -> list[Loss]:
    """The losses of an arm under every mode, and their differences from the baseline's.

    Args:
        arm: its name.
        rows: of its last validation, under one seed at least.
        baseline: the same of the baseline; None for the baseline itself.
        seed: of the bootstrap's draws.

    Raises:
        InputError: the arms were not judged on the same clips, noise and timesteps, or have no seed
            in common.
    """
    modes = _modes(rows)
    if baseline is not None:
        modes = [mode for mode in modes if mode in _modes(baseline)]
        shared = sorted(set(rows) & set(baseline))
        if not shared:
            raise InputError(f"{arm} and the baseline have no seed in common that is whole in both")
        for one in shared:
            pair = (_of_modes(baseline[one], modes), _of_modes(rows[one], modes))
            paired_difference(*pair)  # raises where they are unlike
    return [_loss(arm, mode, rows, baseline, seed) for mode in modes]


def _loss(arm: str, mode: str, rows: SeedRows, baseline: SeedRows | None, seed: int) -> Loss:
    own = _tables(rows, mode)
    theirs = None if baseline is None else _tables(baseline, mode)
    strata = len(own) - 1
    slices = []
    for stratum in range(strata):
        first, end = stratum_bounds(stratum, strata)
        other = None if theirs is None else theirs[stratum]
        slices.append(
            Slice(first, end, _estimate(own[stratum], seed), _difference(own[stratum], other, seed))
        )
    whole = None if theirs is None else theirs[ALL]
    return Loss(
        arm=arm,
        mode=mode,
        loss=_estimate(own[ALL], seed),
        difference=_difference(own[ALL], whole, seed),
        by_seed=[] if whole is None else _by_seed(own[ALL], whole),
        slices=slices,
    )


def _tables(rows: SeedRows, mode: str) -> dict[int, Table]:
    """By slice of the timesteps, from 0 on, then `ALL`: every clip's loss under every seed."""
    strata = sorted({row["stratum"] for found in rows.values() for row in found})
    return {
        stratum: {
            seed: _by_clip(
                row for row in found if row["mode"] == mode and stratum in (ALL, row["stratum"])
            )
            for seed, found in rows.items()
        }
        for stratum in (*strata, ALL)
    }


def _by_clip(rows: Iterable[LossRow]) -> dict[str, float]:
    """Mean loss of each clip, in the order of their keys."""
    losses: dict[str, list[float]] = {}
    for row in rows:
        losses.setdefault(row["key"], []).append(row["loss"])
    return {key: float(np.mean(losses[key])) for key in sorted(losses)}


def _array(table: Table, seeds: Sequence[int]) -> np.ndarray:
    """Losses `[seeds, clips]`."""
    return np.array([list(table[seed].values()) for seed in seeds])


def _estimate(table: Table, seed: int) -> Estimate:
    values = _array(table, sorted(table))
    means = bootstrap_means(values, seed, "ablation")
    found = bootstrap_interval(float(values.mean()), means)
    return Estimate(found.value, found.low, found.high)


def _difference(own: Table, theirs: Table | None, seed: int) -> Difference | None:
    if theirs is None:
        return None
    seeds = sorted(set(own) & set(theirs))
    arm, base = _array(own, seeds), _array(theirs, seeds)
    value = float((arm - base).mean())
    pairs = bootstrap_means(arm - base, seed, "ablation")
    alone = bootstrap_means(arm, seed, "ablation arm")
    alone -= bootstrap_means(base, seed, "ablation baseline")
    paired, unpaired = bootstrap_interval(value, pairs), bootstrap_interval(value, alone)
    return Difference(
        value, paired.low, paired.high, unpaired.low, unpaired.high, arm.shape[1], seeds
    )


def _by_seed(own: Table, theirs: Table) -> list[float]:
    seeds = sorted(set(own) & set(theirs))
    return [float(d) for d in (_array(own, seeds) - _array(theirs, seeds)).mean(axis=1)]


def _of_modes(rows: Sequence[LossRow], modes: Sequence[str]) -> list[LossRow]:
    return [row for row in rows if row["mode"] in modes]


def _modes(rows: SeedRows) -> list[str]:
    found = {row["mode"] for part in rows.values() for row in part}
    return [mode for mode in MODES if mode in found]
