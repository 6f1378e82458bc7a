"""`dynamicrafter eval ablation run=runs/ablate/ablation.json`: the paper's Table 3 of a matrix.

    table.json, ablation.csv, losses.csv    all figures
    ablation.md, ablation.tex               the table for people and for papers
    ablation.html                           the same, with curves and videos

`dynamicrafter ablate` ends with this command; it can be given again, for example with another table
of published values.
"""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from dynamicrafter import ablation, files
from dynamicrafter.command import command
from dynamicrafter.tracking import open_run
from eval import ablation_tables as tables
from eval.ablation_page import ablation_page, samples
from eval.ablation_scores import evaluations, scores_of
from eval.published import Published, read_published
from eval.spreadsheet import csv_lines

main = command("eval_ablation", "eval.ablation")

SCORES = ("variant", "metric", "value", "reliable", "difference", "low", "high", "videos", "seeds")
LOSSES = ("variant", "mode", "timesteps", "loss", "low", "high", "difference", "paired_low",
          "paired_high", "unpaired_low", "unpaired_high", "clips", "seeds")  # fmt: skip
PUBLISHED = ("variant", "metric", "value", "protocol", "source", "verified")
COSTS = ("variant", "seed", "stage", "key", "steps", "seconds", "gpu_seconds")


def inputs(config: DictConfig) -> dict[str, str]:
    """Digests of the matrix, of its evaluations, and of the published values."""
    path = Path(config.run)
    found = ablation.read(path)
    places = [cell.evaluation for cell in found.cells if cell.reason is None]
    digests = {
        place: files.sha256_file(path.parent / place / "results.json")
        for place in places
        if (path.parent / place / "results.json").is_file()
    }
    published = [asdict(one) for one in _published(config, found)]
    return {
        **digests,
        "run": files.sha256_file(path),
        "published": files.sha256_json(published),
    }


def run(config: DictConfig, folder: Path) -> dict[str, Any]:
    """Write the tables and the page.

    Raises:
        InputError: an evaluation is missing, or they follow different protocols.
    """
    path = Path(config.run)
    matrix = ablation.read(path)
    evaluated = evaluations(matrix, path.parent)
    found = tables.Found(
        matrix,
        scores_of(matrix.arms, matrix.baseline, evaluated, config.seed),
        evaluated[0].found.protocol if evaluated else None,
        _published(config, matrix),
    )
    sampled = samples(evaluated, matrix.arms, config.samples, config.allow_media)
    scores, losses = _score_rows(found), _loss_rows(matrix)
    whole = {
        "protocol": found.protocol,
        "scores": [asdict(one) for one in found.scores],
        "published": [asdict(one) for one in found.published],
        "ablation": asdict(matrix),
    }
    files.write_json(folder / "table.json", whole)
    files.write_text(folder / "ablation.csv", csv_lines(SCORES, scores))
    files.write_text(folder / "losses.csv", csv_lines(LOSSES, losses))
    files.write_text(folder / "ablation.md", tables.markdown(found))
    files.write_text(folder / "ablation.tex", tables.latex(found))
    files.write_text(folder / "ablation.html", ablation_page(found, sampled, config.megabytes))
    plain = OmegaConf.to_container(config, resolve=True)
    with open_run(config.tracking, folder, "ablation", plain) as tracked:
        tracked.table("ablation", tables.header(found), tables.rows(found))
        tracked.table("scores", SCORES, scores)
        tracked.table("losses", LOSSES, losses)
        tracked.table("costs", COSTS, _cost_rows(matrix))
        tracked.table("published", PUBLISHED, _published_rows(found.published))
        for number, (prompt, videos) in enumerate(sampled):
            for arm, video in videos:
                tracked.video(f"samples/{number}/{arm}", video, prompt)
        spent = {
            "hours": ablation.hours(matrix.cells),
            "gpu_hours": ablation.gpu_hours(matrix.cells),
        }
        tracked.summary({**spent, "protocol": found.protocol})
    return {"arms": matrix.arms, "page": str(folder / "ablation.html")}


def _published(config: DictConfig, matrix: ablation.Ablation) -> list[Published]:
    """The values of the chosen table that speak of these arms on the chosen benchmark."""
    if config.published is None:
        return []
    known = read_published(None if config.published == "known" else Path(config.published))
    names = tables.variants(matrix)
    return [
        one for one in known if one.benchmark == config.published_benchmark and one.method in names
    ]


def _score_rows(found: tables.Found) -> list[list[Any]]:
    rows = []
    for one in found.scores:
        gap = one.gap
        rest = [None] * 5
        if gap is not None:
            rest = [gap.value, gap.low, gap.high, gap.videos, _words(gap.seeds)]
        rows.append([tables.label(one.arm), one.metric, one.value, one.reliable, *rest])
    return rows


def _loss_rows(matrix: ablation.Ablation) -> list[list[Any]]:
    rows = []
    for loss in matrix.losses:
        whole = ("all", loss.loss, loss.difference)
        slices = [(f"{s.first}-{s.end - 1}", s.loss, s.difference) for s in loss.slices]
        for timesteps, mean, gap in (whole, *slices):
            rest = [None] * 7
            if gap is not None:
                rest = [gap.value, gap.low, gap.high, gap.unpaired_low, gap.unpaired_high,
                        gap.clips, _words(gap.seeds)]  # fmt: skip
            rows.append([tables.label(loss.arm), loss.mode, timesteps, mean.value, mean.low,
                         mean.high, *rest])  # fmt: skip
    return rows


def _cost_rows(matrix: ablation.Ablation) -> list[list[Any]]:
    return [
        [tables.label(cell.arm), cell.seed, *asdict(stage).values()]
        for cell in matrix.cells
        for stage in cell.stages
    ]


def _published_rows(published: Sequence[Published]) -> list[list[Any]]:
    return [
        [one.method, one.metric, one.value, one.protocol, one.source, one.verified]
        for one in published
    ]


def _words(seeds: Sequence[int]) -> str:
    return " ".join(str(seed) for seed in seeds)
