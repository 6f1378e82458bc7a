"""From answers to numbers: preference shares, win rates, Bradley-Terry strengths.

Answers of one person hang together, so beside Wilson's interval, which takes them for independent,
there is one that leaves out a participant at a time.
"""

import functools
import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from dynamicrafter.statistics import Interval, jackknife, wilson_interval
from eval.study.answers import Answer
from eval.study.design import SAME

Range = tuple[float, float] | None
STEPS = 10_000  # of the fit; it takes some tens where no method is far ahead


@dataclass(frozen=True)
class Share:
    """How often a method was chosen of the times that it was shown; `same` is no difference."""

    aspect: str
    method: str
    chosen: int
    shown: int
    share: float
    wilson: tuple[float, float]
    participants: Range


@dataclass(frozen=True)
class Duel:
    """Two methods side by side; `rate` is the first one's share of wins, a tie half a win."""

    aspect: str
    first: str
    second: str
    wins: int
    losses: int
    ties: int
    rate: float
    participants: Range


@dataclass(frozen=True)
class Strength:
    """A method's Bradley-Terry strength; those of all methods add up to 1.

    None where there is no finite fit: some methods never won against, or lost to, the others.
    """

    aspect: str
    method: str
    strength: float | None
    participants: Range
    answers: int


def shares(
    answers: Sequence[Answer], methods: Sequence[str], aspects: Sequence[str]
) -> list[Share]:
    """The share of each method in each aspect, and that of no difference."""
    found = []
    for aspect in aspects:
        own = [one for one in answers if one.aspect == aspect]
        for method in (*methods, SAME):
            seen = [one for one in own if method == SAME or method in one.sides]
            if not seen:
                continue
            hits = [(one.choice or SAME) == method for one in seen]
            wilson = wilson_interval(sum(hits), len(hits))
            found.append(
                Share(
                    aspect,
                    method,
                    sum(hits),
                    len(hits),
                    sum(hits) / len(hits),
                    (wilson.low, wilson.high),
                    participant_range(seen, [float(hit) for hit in hits]),
                )
            )
    return found


def duels(answers: Sequence[Answer], methods: Sequence[str], aspects: Sequence[str]) -> list[Duel]:
    """Every two methods that questions of two videos set side by side."""
    found = []
    for aspect, (first, second) in itertools.product(aspects, itertools.combinations(methods, 2)):
        own = [one for one in answers if one.aspect == aspect and {*one.sides} == {first, second}]
        if not own:
            continue
        points = [0.5 if one.choice is None else float(one.choice == first) for one in own]
        found.append(
            Duel(
                aspect,
                first,
                second,
                points.count(1.0),
                points.count(0.0),
                points.count(0.5),
                sum(points) / len(points),
                participant_range(own, points),
            )
        )
    return found


def strengths(
    answers: Sequence[Answer], methods: Sequence[str], aspects: Sequence[str]
) -> list[Strength]:
    """Bradley-Terry strengths of each aspect, from questions of two videos."""
    found = []
    for aspect in aspects:
        own = [one for one in answers if one.aspect == aspect and len(one.sides) == 2]
        people = sorted({one.participant for one in own})
        wins = np.zeros((len(people), len(methods), len(methods)))
        for one in own:
            left, right = (methods.index(name) for name in one.sides)
            point = 0.5 if one.choice is None else float(one.choice == one.sides[0])
            wins[people.index(one.participant), left, right] += point
            wins[people.index(one.participant), right, left] += 1 - point
        fit = bradley_terry(wins.sum(0))
        ranges = _strength_ranges(wins)
        for place, method in enumerate(methods):
            count = sum(method in one.sides for one in own)
            value = None if fit is None else float(fit[place])
            found.append(Strength(aspect, method, value, ranges[place], count))
    return found


def bradley_terry(wins: np.ndarray) -> np.ndarray | None:
    """The maximum-likelihood strengths of the Bradley-Terry model.

    Args:
        wins: `[m, m]`, how often the row won against the column; a tie is half a win of both.

    Returns:
        `[m]`, adding up to 1: i beats j with probability s_i / (s_i + s_j). None where there is no
        finite fit, because some methods never won against any of the others.

    Source: D. R. Hunter, MM algorithms for generalized Bradley-Terry models, 2004.
    """
    from scipy.sparse.csgraph import connected_components

    m = len(wins)
    parts, _ = connected_components(wins > 0, directed=True, connection="strong")
    if parts > 1:
        return None
    games, own = wins + wins.T, wins.sum(1)
    strength = np.full(m, 1 / m)
    for _ in range(STEPS):
        rates = games / (strength[:, None] + strength[None, :])
        after = own / rates.sum(1)
        after /= after.sum()
        if np.abs(after / strength - 1).max() < 1e-10:
            return after
        strength = after
    return strength


def participant_range(answers: Sequence[Answer], points: Sequence[float]) -> Range:
    """The interval of the mean of `points`, one for each answer, leaving out a person at a time.

    None for fewer than two participants.
    """
    people = sorted({one.participant for one in answers})
    if len(people) < 2:
        return None
    sums = np.zeros((len(people), 2))  # points, answers
    for one, point in zip(answers, points, strict=True):
        sums[people.index(one.participant)] += (point, 1)

    def mean(kept: np.ndarray) -> float:
        total, count = sums[kept].sum(0)
        return float(total / count)

    return _clipped(jackknife(mean, len(people), len(people)))


def _strength_ranges(wins: np.ndarray) -> list[Range]:
    """Intervals `[m]` of the strengths, from wins `[participants, m, m]`."""
    people, m, _ = wins.shape
    without = [bradley_terry(np.delete(wins, one, 0).sum(0)) for one in range(people)]
    if people < 2 or any(fit is None for fit in without):
        return [None] * m

    def strength(kept: np.ndarray, place: int) -> float:
        fit = bradley_terry(wins[kept].sum(0))
        assert fit is not None  # all people together have the wins of each subset
        return float(fit[place])

    return [
        _clipped(jackknife(functools.partial(strength, place=place), people, people))
        for place in range(m)
    ]


def _clipped(interval: Interval) -> tuple[float, float]:
    return max(interval.low, 0.0), min(interval.high, 1.0)
