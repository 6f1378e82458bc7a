"""`ablation.html`: tables, curves over the timesteps, and the same inputs through every arm."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from markupsafe import Markup

from dynamicrafter import files, pages
from dynamicrafter.ablation import Ablation, Cell, Loss, gpu_hours, hours
from eval import ablation_tables as tables
from eval import results
from eval.ablation_scores import Evaluated, Score
from eval.tables import significant, value_cell


def ablation_page(
    found: tables.Found, sampled: Sequence[tuple[str, list[tuple[str, Path]]]], megabytes: int
) -> str:
    """The page of an ablation.

    Args:
        found: what is shown.
        sampled: for each input its prompt, and the video of every arm.
        megabytes: bytes of media that the page may take in.
    """
    ablation = found.ablation
    values = {
        "protocol": tables.protocol_line(found),
        "table": _variants(found),
        "differences": _differences(found),
        "remarks": tables.remarks(found),
        "losses": _losses(found),
        "charts": _charts(ablation),
        "costs": _costs(ablation),
        "together": hours(ablation.cells) * 60,
        "videos": _videos(sampled, pages.Budget(megabytes * 1_000_000)),
        "published": _published(found),
        "no_published": tables.no_published(),
        "cells": ablation.cells,
        "label": tables.label,
    }
    return pages.render("ablation.html", values, package="eval")


def samples(
    evaluated: Sequence[Evaluated], arms: Sequence[str], count: int, allow_media: bool
) -> list[tuple[str, list[tuple[str, Path]]]]:
    """The first inputs that every arm with a result kept a video of, under its first seed.

    Returns:
        For each its prompt, and (arm, video) in the order of `arms`.
    """
    first = {one.arm: one for one in reversed(evaluated)}
    kept = {
        arm: {pair.key: pair for pair in first[arm].found.pairs} for arm in arms if arm in first
    }
    if not kept:
        return []
    shown = []
    for key, pair in next(iter(kept.values())).items():
        if all(key in pairs for pairs in kept.values()) and _is_free(pair, allow_media):
            videos = [
                (arm, files.inside(first[arm].folder, pairs[key].generated))
                for arm, pairs in kept.items()
            ]
            shown.append((pair.prompt, videos))
    return shown[:count]


def _is_free(pair: results.Pair, allow_media: bool) -> bool:
    return pair.may_be_passed_on or allow_media


def _variants(found: tables.Found) -> Markup:
    """The values of every arm; an arm without any result is greyed and says why."""
    columns = [pages.Column("Variant"), pages.Column("Seeds", number=True)]
    columns += [pages.Column(tables.NAMES[metric], number=True) for metric in found.metrics]
    columns += [pages.Column("Loss ↓", number=True), pages.Column("GPU-hours", number=True)]
    ablation, rows = found.ablation, []
    for arm in ablation.arms:
        whole, loss = ablation.whole(arm), ablation.loss(arm, tables.FULL)
        reasons = [cell.reason for cell in ablation.cells if cell.arm == arm]
        scores = [_score_cell(found.score(arm, metric)) for metric in found.metrics]
        rest = [value_cell(loss.loss.value if loss else None), value_cell(gpu_hours(whole))]
        cells = [tables.label(arm), len(whole), *scores, *rest]
        rows.append(pages.Row(cells, reason=reasons[0] if all(reasons) else None))
    return pages.table(columns, rows, "Means over the seeds")


def _score_cell(score: Score) -> pages.Cell | None:
    if score.value is None:
        return None
    return pages.Cell(score.value, significant(score.value) + tables.doubt(score))


def _differences(found: tables.Found) -> Markup | None:
    """The differences of scores, a row each."""
    columns = [
        pages.Column("Variant"), pages.Column("Score"), pages.Column("Difference", number=True),
        pages.Column("95 % interval", number=True), pages.Column("Videos", number=True),
        pages.Column("Seeds", number=True),
    ]  # fmt: skip
    rows = [
        pages.Row(
            [tables.label(score.arm), tables.NAMES[score.metric],
             pages.Cell(score.gap.value, tables.signed(score.gap.value) + tables.doubt(score)),
             _interval(score.gap.low, score.gap.high), score.gap.videos, len(score.gap.seeds)]
        )
        for score in found.scores
        if score.gap is not None
    ]  # fmt: skip
    return pages.table(columns, rows, "Differences of scores") if rows else None


def _losses(found: tables.Found) -> Markup | None:
    """The losses and their differences, with both intervals, a row for an arm and a mode."""
    columns = [
        pages.Column("Variant"), pages.Column("Given"), pages.Column("Loss ↓", number=True),
        pages.Column("Difference", number=True), pages.Column("Paired", number=True),
        pages.Column("Unpaired", number=True), pages.Column("By seed", number=True),
    ]  # fmt: skip
    rows = []
    for loss in found.ablation.losses:
        cells: list[pages.Cell | str | None] = [None] * 4
        if (gap := loss.difference) is not None:
            by_seed = tables.by_seed(loss)
            cells = [_signed(gap.value), _interval(gap.low, gap.high),
                     _interval(gap.unpaired_low, gap.unpaired_high), by_seed]  # fmt: skip
        name, given = tables.label(loss.arm), tables.MODES[loss.mode]
        rows.append(pages.Row([name, given, value_cell(loss.loss.value), *cells]))
    return pages.table(columns, rows, "Losses") if rows else None


def _signed(value: float) -> pages.Cell:
    return pages.Cell(value, tables.signed(value))


def _interval(low: float | None, high: float | None) -> pages.Cell | None:
    if low is None or high is None:
        return None
    return pages.Cell(low, f"{tables.signed(low)} to {tables.signed(high)}")


def _charts(ablation: Ablation) -> list[Markup]:
    """For every arm its loss beside the baseline's, and their difference, over the timesteps."""
    base = ablation.loss(ablation.baseline, tables.FULL)
    charts = []
    for arm in ablation.arms:
        loss = ablation.loss(arm, tables.FULL)
        if loss is None or loss.difference is None or base is None:
            continue
        name, other = tables.label(arm), tables.label(ablation.baseline)
        both = [_loss_line(base, other), _loss_line(loss, name)]
        charts.append(pages.line_chart(both, f"{name}: loss", "timestep", "loss"))
        title = f"{name} minus {other}, in thousandths"
        charts.append(pages.line_chart(_gap_lines(loss), title, "timestep", "difference"))
    return charts


def _loss_line(loss: Loss, name: str) -> pages.Series:
    return pages.Series(name, _middles(loss), [one.loss.value for one in loss.slices])


def _gap_lines(loss: Loss) -> list[pages.Series]:
    gaps = [one.difference for one in loss.slices if one.difference is not None]
    x = _middles(loss)
    return [
        pages.Series("low", x, [1000 * gap.low for gap in gaps], faint=True),
        pages.Series("high", x, [1000 * gap.high for gap in gaps], faint=True),
        pages.Series("difference", x, [1000 * gap.value for gap in gaps]),
    ]


def _middles(loss: Loss) -> list[float]:
    return [(one.first + one.end - 1) / 2 for one in loss.slices]


def _costs(ablation: Ablation) -> Markup:
    """What every cell stands on, and how many cells share it."""
    columns = [
        pages.Column("Variant"), pages.Column("Seed", number=True), pages.Column("Stage"),
        pages.Column("Steps", number=True), pages.Column("Minutes", number=True),
        pages.Column("GPU-hours", number=True), pages.Column("Shared by", number=True),
    ]  # fmt: skip
    sharing: dict[str, int] = {}
    for cell in ablation.cells:
        for stage in cell.stages:
            sharing[stage.key] = sharing.get(stage.key, 0) + 1
    rows = [
        pages.Row(
            [tables.label(cell.arm), cell.seed, stage.name, stage.steps,
             value_cell(stage.seconds / 60), value_cell(_gpu_hours(cell, stage.key)),
             sharing[stage.key]]
        )
        for cell in ablation.cells
        for stage in cell.stages
    ]  # fmt: skip
    return pages.table(columns, rows, "Stages")


def _gpu_hours(cell: Cell, key: str) -> float | None:
    alone = [stage for stage in cell.stages if stage.key == key]
    return gpu_hours([Cell(cell.arm, cell.seed, cell.train, cell.evaluation, alone)])


def _videos(
    sampled: Sequence[tuple[str, list[tuple[str, Path]]]], budget: pages.Budget
) -> list[dict[str, Any]]:
    shown = []
    for prompt, videos in sampled:
        media = [(tables.label(arm), path.read_bytes()) for arm, path in videos]
        if budget.take(*(data for _, data in media)):
            figures = [pages.video(data, f"{name}: {prompt}", name) for name, data in media]
            shown.append({"prompt": prompt, "videos": pages.together(figures)})
    return shown


def _published(found: tables.Found) -> Markup | None:
    if not found.published:
        return None
    columns = [
        pages.Column("Variant"), pages.Column("Metric"), pages.Column("Value", number=True),
        pages.Column("Reported in"), pages.Column("Protocol"),
    ]  # fmt: skip
    rows = [
        pages.Row([one.method, one.metric, value_cell(one.value), one.source, one.protocol],
                  reason=None if one.verified else "not checked against the paper itself")
        for one in found.published
    ]  # fmt: skip
    return pages.table(columns, rows, "Published values")
