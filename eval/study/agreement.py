"""Do participants agree? Krippendorff's alpha for names, which allows missing answers."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from dynamicrafter.statistics import jackknife
from eval.study.answers import Answer

MISSING = -1


@dataclass(frozen=True)
class Agreement:
    """Alpha of an aspect, over the questions about the same methods.

    `alpha` is 1 where all agree and 0 where they agree as often as by chance; None where there is
    nothing to tell them apart. The interval leaves out one question at a time.
    """

    aspect: str
    methods: tuple[str, ...]
    alpha: float | None
    low: float | None
    high: float | None
    questions: int
    answers: int


def krippendorff_alpha(table: np.ndarray) -> float | None:
    """Krippendorff's alpha for nominal data.

    Args:
        table: integers `[units, raters]`: a category from 0 on, or -1 where a rater gave none.

    Returns:
        1 - observed / expected disagreement; None where every value that can be compared is the
        same, or none can.

    Source: K. Krippendorff, Computing Krippendorff's alpha-reliability, 2011. A unit with m values
    adds 1/(m-1) for each of their ordered pairs to the matrix of coincidences.
    """
    categories = np.arange(table.max(initial=0) + 1)
    counts = (table[:, :, None] == categories).sum(1)  # [units, categories]
    counts = counts[counts.sum(1) >= 2].astype(np.float64)  # a value alone can be compared to none
    values = counts.sum(1, keepdims=True)
    total = float(values.sum())
    margins = counts.sum(0)
    expected = (total**2 - float(margins @ margins)) / max(total - 1, 1)
    if expected <= 0:
        return None
    observed = float(((values**2 - (counts**2).sum(1, keepdims=True)) / (values - 1)).sum())
    return 1 - observed / expected


def agreements(answers: Sequence[Answer], aspects: Sequence[str]) -> list[Agreement]:
    """Alpha of each aspect for each set of methods that questions were about.

    Questions about other methods have other answers to choose from. Put together they would seem
    to agree, because nobody chooses a method that is not there.
    """
    sets = sorted({tuple(sorted(one.sides)) for one in answers})
    found = []
    for aspect in aspects:
        for methods in sets:
            own = [
                one
                for one in answers
                if one.aspect == aspect and tuple(sorted(one.sides)) == methods
            ]
            if own:
                found.append(_agreement(own, aspect, methods))
    return found


def _agreement(own: Sequence[Answer], aspect: str, methods: tuple[str, ...]) -> Agreement:
    rows = {number: row for row, number in enumerate(sorted({one.question for one in own}))}
    columns = {name: column for column, name in enumerate(sorted({one.participant for one in own}))}
    table = np.full((len(rows), len(columns)), MISSING)
    for one in own:
        category = len(methods) if one.choice is None else methods.index(one.choice)
        table[rows[one.question], columns[one.participant]] = category
    alpha = krippendorff_alpha(table)
    low = high = None
    without = [krippendorff_alpha(np.delete(table, row, 0)) for row in range(len(rows))]
    if alpha is not None and len(rows) > 1 and None not in without:
        interval = jackknife(lambda kept: krippendorff_alpha(table[kept]), len(rows), len(rows))
        low, high = max(interval.low, -1.0), min(interval.high, 1.0)
    return Agreement(aspect, methods, alpha, low, high, len(rows), len(own))
