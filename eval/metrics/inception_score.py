"""Inception Score: exp of the mean divergence of each video's class probabilities from their mean.

Splits are runs of consecutive rows, from i N // S on, as in StyleGAN-V and TGAN2. The score of few
videos is biased: N videos cannot score more than N.
"""

import itertools
from dataclasses import dataclass

import numpy as np

from dynamicrafter.errors import InputError


@dataclass(frozen=True)
class InceptionScore:
    """`mean` and `deviation` (ddof 0) over the splits, `value` of all rows as one."""

    value: float
    mean: float
    deviation: float
    per_split: np.ndarray  # [splits]
    count: int


def inception_score(probs: np.ndarray, splits: int = 10) -> InceptionScore:
    """Inception Score of class probabilities `[n, classes]`, one row a video.

    Args:
        probs: rows of probabilities that sum to 1.
        splits: 1 to n.

    Raises:
        InputError: shapes that do not fit, rows that are no probabilities, splits outside 1 to n.
    """
    probs = np.asarray(probs, np.float64)
    if probs.ndim != 2 or probs.shape[1] == 0:
        raise InputError(f"probabilities are [n, classes], not {probs.shape}")
    if not 1 <= splits <= len(probs):
        raise InputError(f"{len(probs)} videos take 1 to {len(probs)} splits, not {splits}")
    if not (np.isfinite(probs).all() and (probs >= 0).all()):
        raise InputError("some probabilities are negative or not finite; apply the softmax first")
    sums = probs.sum(axis=1)
    if np.abs(sums - 1).max() > 1e-3:
        worst = float(sums[np.abs(sums - 1).argmax()])
        raise InputError(f"a row of probabilities sums to {worst:.6g}, not 1; apply the softmax")
    cuts = [i * len(probs) // splits for i in range(splits + 1)]
    per_split = np.array([_score(probs[i:j]) for i, j in itertools.pairwise(cuts)])
    return InceptionScore(
        _score(probs), float(per_split.mean()), float(per_split.std()), per_split, len(probs)
    )


def _score(probs: np.ndarray) -> float:
    mean = probs.mean(axis=0)
    ratio = np.ones_like(probs)  # a class of probability 0 adds nothing
    np.divide(probs, mean, out=ratio, where=(probs > 0) & (mean > 0))
    return float(np.exp((probs * np.log(ratio)).sum(axis=1).mean()))
