"""`dynamicrafter curate purity`: how purely captions tell of motion, and how sure they may be.

purity.json       every figure of the corpus     purity.html    the same, explained
purity.parquet    the figures of every clip      calibration.csv    confidence → true share
"""

import heapq
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa

from curation.commands.calibrated import calibration, write_calibration
from curation.commands.captioned import Captioned, clips_of, digest_of
from curation.commands.purity_page import page
from curation.purity.corpus import KEPT, MEASURES, Corpus
from curation.tables import TableWriter
from dynamicrafter import tracking
from dynamicrafter.command import command, say
from dynamicrafter.errors import InputError
from dynamicrafter.files import atomic_path, sha256_file, write_json, write_text
from dynamicrafter.progress import progress
from dynamicrafter.statistics import spearman

FIGURES = (
    *(f"{name}_before" for name in MEASURES),
    *(f"{name}_after" for name in MEASURES),
    *KEPT,
)
SCHEMA = pa.schema([("key", pa.string()), *((name, pa.float64()) for name in FIGURES)])

main = command("purity", "curation.commands.purity")


class Extremes:
    """The few clips with the lowest values."""

    def __init__(self, count: int):
        """`count`: how many."""
        self._count = count
        self._heap: list[tuple[float, int, Captioned]] = []

    def add(self, value: float, number: int, clip: Captioned) -> None:
        """Take in a clip; of equal values the one with the lowest number stays."""
        entry = (-value, -number, clip)
        if len(self._heap) < self._count:
            heapq.heappush(self._heap, entry)
        elif self._count:
            heapq.heappushpop(self._heap, entry)

    def to_json(self) -> list[dict[str, Any]]:
        """The clips, lowest value first."""
        names = ("key", "original", "wording", "confidence", "object_motion", "category")
        return [
            {**{name: getattr(clip, name) for name in names}, "value": -value}
            for value, _, clip in sorted(self._heap, reverse=True, key=lambda entry: entry[:2])
        ]


@dataclass
class Survey:
    """All that is gathered in one pass over the clips.

    Attributes:
        moves_above: object motion from which a clip moves, frame diagonals/s.
        sure_from: confidence from which a caption says so.
        impure: clips with the least pure wording.
        still: clips that the caption is sure of and that hardly move.
        moving: clips that move and that the caption is not sure of.
    """

    moves_above: float
    sure_from: float
    impure: Extremes
    still: Extremes
    moving: Extremes
    corpus: Corpus = field(default_factory=Corpus)
    confidences: list[float] = field(default_factory=list)
    motions: list[float] = field(default_factory=list)
    failed: Counter[str] = field(default_factory=Counter)
    said_by: Counter[str] = field(default_factory=Counter)

    def add(self, number: int, clip: Captioned) -> dict[str, float | None]:
        """Take in a clip; return its figures."""
        self.said_by[clip.said_by] += 1
        figures = self.corpus.add(clip.original, clip.wording, clip.category)
        purity = figures["value_after"]
        if purity is not None:
            self.impure.add(purity, number, clip)
        if clip.confidence is not None and clip.object_motion is not None:
            self.confidences.append(clip.confidence)
            self.motions.append(clip.object_motion)
            if clip.confidence >= self.sure_from and clip.object_motion < self.moves_above:
                self.still.add(clip.object_motion, number, clip)
            if clip.confidence < self.sure_from and clip.object_motion >= self.moves_above:
                self.moving.add(-clip.object_motion, number, clip)
        return figures


def inputs(config: Any) -> dict[str, str]:
    """Digests of the captions and of CLIP's weights, if any are named."""
    found = {"captions": digest_of(config.run, config.dataset, config.table)}
    checkpoint = config.first_frame.checkpoint
    if checkpoint is not None and Path(checkpoint).is_file():
        found["clip"] = sha256_file(checkpoint)
    return found


def run(config: Any, folder: Path) -> dict[str, Any]:
    """Look at the captions that conf/purity.yaml names; write what they are like.

    Raises:
        InputError: there are none, or a setting cannot be used.
    """
    from omegaconf import OmegaConf

    from curation.commands.first_frames import first_frames

    plain = OmegaConf.to_container(config, resolve=True)
    _check(plain)
    survey = Survey(
        plain["moves_above"],
        plain["sure_from"],
        *(Extremes(plain["examples"]) for _ in range(3)),
    )
    count, clips = clips_of(config.run, config.dataset, config.table)
    with (
        atomic_path(folder / "purity.parquet") as temporary,
        progress("purity", total=count, unit="clips") as advance,
    ):
        writer = TableWriter(temporary, SCHEMA)
        for number, clip in enumerate(clips):
            advance(1)
            if clip.reason is not None:
                survey.failed[clip.reason] += 1
            else:
                writer.add([{"key": clip.key, **survey.add(number, clip)}])
        writer.close()
    if not survey.corpus.after.captions:
        raise InputError("there is no caption to look at; name another run, dataset or table")
    found = {
        "of": next(plain[name] for name in ("run", "dataset", "table") if plain[name] is not None),
        "clips": survey.corpus.after.captions,
        "failed": dict(survey.failed.most_common()),
        "said_by": dict(survey.said_by.most_common()),
        "corpus": survey.corpus.to_json(),
        "moves_above": survey.moves_above,
        "sure_from": survey.sure_from,
        "confidence": confidence_figures(survey, plain["bins"]),
        "first_frame": first_frames(plain),
        "examples": {
            "impure": survey.impure.to_json(),
            "still": survey.still.to_json(),
            "moving": survey.moving.to_json(),
        },
    }
    write_json(folder / "purity.json", found)
    if found["confidence"] is not None:
        write_calibration(folder, found["confidence"])
    write_text(folder / "purity.html", page(found))
    summary = summary_of(found)
    with tracking.open_run(config.tracking, folder, "purity", plain) as tracker:
        tracker.summary(summary)
    for name, value in summary.items():
        say(f"{name.replace('_', ' ')}: {'-' if value is None else f'{value:.4g}'}")
    return {**summary, "page": str(folder / "purity.html")}


def confidence_figures(survey: Survey, bins: int) -> dict[str, Any] | None:
    """Calibration against measured motion; None where no clip has both figures."""
    if not survey.confidences:
        return None
    moves = [motion >= survey.moves_above for motion in survey.motions]
    order = spearman(survey.confidences, survey.motions)
    cells = Counter(
        (confidence >= survey.sure_from, moving)
        for confidence, moving in zip(survey.confidences, moves, strict=True)
    )
    return {
        **calibration(survey.confidences, moves, bins),
        "moving": sum(moves),
        "spearman": None if order is None else [order.value, order.low, order.high],
        "sure_and_moving": cells[True, True],
        "sure_and_still": cells[True, False],
        "unsure_and_moving": cells[False, True],
        "unsure_and_still": cells[False, False],
    }


def summary_of(found: dict[str, Any]) -> dict[str, float | None]:
    """The figures that matter most."""
    corpus, sure = found["corpus"], found["confidence"]
    return {
        "clips": found["clips"],
        "purity_before": corpus["before"]["value"],
        "purity_after": corpus["after"]["value"],
        "motion_kept": corpus["kept"],
        "removal": corpus["removal"],
        "decoupling": corpus["score"],
        "novel_motion": corpus["novel"],
        "none_share": corpus["after"]["none_share"],
        "calibration_error": None if sure is None else sure["error"],
        "spearman": sure["spearman"][0] if sure and sure["spearman"] else None,
    }


def _check(plain: dict[str, Any]) -> None:
    for name, low, high, kind in (
        ("sure_from", 0, 100, int | float),
        ("moves_above", 0, float("inf"), int | float),
        ("bins", 1, 100, int),
        ("examples", 0, 1000, int),
    ):
        value = plain[name]
        if isinstance(value, bool) or not isinstance(value, kind) or not low <= value <= high:
            what = "a whole number" if kind is int else "a number"
            raise InputError(f"{name}={value} is not {what} from {low} to {high}")
