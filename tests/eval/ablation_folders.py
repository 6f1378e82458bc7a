"""A matrix of arms and seeds as `dynamicrafter ablate` leaves it, without any training."""

from pathlib import Path

import numpy as np
import pandas as pd
import safetensors.numpy

from dynamicrafter import ablation
from dynamicrafter.ablation import Ablation, Cell, Difference, Estimate, Loss, Slice, Stage
from eval import results
from eval.results import Pair, Row
from tests.eval.test_bad_videos import encode
from tests.report_folders import moving_square

VIDEOS, WIDTH = 24, 3
PROTOCOL = {"name": "demo", "digest": "d" * 64, "covariance": "unbiased", "stride": 3}
KEYS = [f"clip-{i:02d}" for i in range(VIDEOS)]
HOSTILE = "<script>x</script> 50% & more"
WORSE = {"full": 0.0, "wo_vdg": 0.2, "wo_ctx": 0.1}


def pic_of(arm: str, seed: int) -> np.ndarray:
    """PIC of every video: that of the video, less what the arm is worse, and some luck."""
    of_videos = np.random.default_rng(1).uniform(0.4, 0.9, VIDEOS)
    luck = np.random.default_rng([2, seed, list(WORSE).index(arm)]).normal(0, 0.01, VIDEOS)
    return of_videos - WORSE[arm] + luck


def features_of(arm: str, seed: int) -> dict[str, np.ndarray]:
    real = np.random.default_rng(3).normal(size=(VIDEOS, WIDTH))
    own = np.random.default_rng([4, seed]).normal(size=(VIDEOS, WIDTH)) + 5 * WORSE[arm]
    return {"real": real, "generated": own}


def write_evaluation(folder: Path, arm: str, seed: int, **changes) -> Path:
    """The run folder of an evaluation."""
    pic = pic_of(arm, seed)
    rows = [
        Row("fvd", "FVD", 100.0 + 100 * WORSE[arm] + seed, reliable=True),
        Row("kvd", "KVD", 5.0 + WORSE[arm], reliable=False, reason="few videos"),
        Row("pic", "PIC", float(pic.mean()), reliable=True),
        Row("clip_sim", "CLIP-SIM", None, reason="no checkpoint"),
    ]
    folder.mkdir(parents=True)
    (folder / "video.mp4").write_bytes(encode(moving_square(seed, 16)))
    free = [Pair(key, HOSTILE, None, "video.mp4", key != KEYS[0]) for key in KEYS[:3]]
    found = {"protocol": PROTOCOL, "rows": rows, "pairs": free, "method": arm, "inputs": "same"}
    results.write(folder, results.Results(**{**found, **changes}))
    order = np.random.default_rng(seed).permutation(VIDEOS)  # of its own: rows go by their keys
    table = pd.DataFrame({"key": np.array(KEYS)[order], "pic": pic[order]})
    table.to_parquet(folder / results.PER_VIDEO, index=False)
    data = safetensors.numpy.save(features_of(arm, seed))
    (folder / results.FEATURES).write_bytes(data)
    return folder


def stages(arm: str, seed: int, gpus: int) -> list[Stage]:
    """`context` is shared by all arms of a seed, `joint` by none."""
    return [
        Stage("context", f"c{seed}", 100, 3600.0, 3600.0 * gpus),
        Stage("joint", f"j{arm}{seed}", 50, 1800.0, 1800.0 * gpus),
    ]


def loss_of(arm: str) -> Loss:
    value = 0.5 + WORSE[arm]
    gap = None
    if WORSE[arm]:
        worse = WORSE[arm]
        gap = Difference(worse, worse - 0.01, worse + 0.01, worse - 0.4, worse + 0.4, 8, [0, 1])
    mean = Estimate(value, value - 0.3, value + 0.3)
    slices = [Slice(0, 500, mean, gap), Slice(500, 1000, mean, gap)]
    return Loss(arm, "full", mean, gap, [WORSE[arm]] * 2 if gap else [], slices)


def make_matrix(root: Path, gpus: int = 0, **changes) -> Path:
    """`ablation.json` of full and wo_vdg under two seeds, and of wo_ctx, which failed under one."""
    cells, arms = [], list(WORSE)
    for arm in arms:
        for seed in (0, 1):
            place = f"{arm}/seed-{seed}"
            cell = Cell(arm, seed, f"{place}/train", f"{place}/eval", stages(arm, seed, gpus))
            if (arm, seed) == ("wo_ctx", 1):
                cell = Cell(arm, seed, cell.train, cell.evaluation, [], "train: no <b>weights</b>")
            else:
                write_evaluation(root / cell.evaluation, arm, seed)
            cells.append(cell)
    found = {"baseline": "full", "cells": cells, "losses": [loss_of(arm) for arm in arms]}
    path = root / ablation.FILE
    ablation.write(path, Ablation(**{**found, **changes}))
    return path
