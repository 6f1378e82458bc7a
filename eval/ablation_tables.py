"""The ablation as the paper's Table 3 and more: one grid of texts, set as Markdown or LaTeX.

The measured time of a run differs from that of the next one. All else in these texts is equal where
settings, data and seeds are.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from dynamicrafter.ablation import Ablation, Difference, Loss, gpu_hours
from dynamicrafter.pages.tables import number
from eval.ablation_scores import METRICS, OF_THE_PAPER, Score
from eval.markup import latex_text, markdown_text
from eval.published import Published
from eval.tables import significant

FULL = "full"  # the mode of a validation loss with all conditions
LABELS = {
    "full": "Ours",
    "wo_ctx": "w/o ctx",
    "wo_vdg": "w/o VDG",
    "wo_lambda": "w/o λ",
    "ours_g": "Ours_G",
    "one_stage": "one-stage",
    "full_t2v": "fine-tune the entire T2V",
    "first_frame": "first-frame cond.",
    "stock_captions": "stock captions",
}
NAMES = {"fvd": "FVD ↓", "kvd": "KVD ↓", "pic": "PIC ↑", "clip_sim": "CLIP-SIM ↑"}
MODES = {
    "full": "text and image",
    "no_text": "no text",
    "no_image": "no image tokens",
    "none": "neither",
}
ABSENT = "—"
DOUBT = " (?)"
SMALL = 0.01  # below it a difference is shown by significant digits


@dataclass(frozen=True)
class Found:
    """All that is shown.

    Attributes:
        ablation: what the matrix found.
        scores: of every arm and metric.
        protocol: of the evaluations, or None where there is none.
        published: values of the literature for these variants.
    """

    ablation: Ablation
    scores: Sequence[Score]
    protocol: dict[str, Any] | None
    published: Sequence[Published]

    def score(self, arm: str, metric: str) -> Score:
        """One score; there is one of every arm and metric."""
        return next(one for one in self.scores if (one.arm, one.metric) == (arm, metric))

    @property
    def metrics(self) -> list[str]:
        """Those of the paper's table, and the others where an arm has them."""
        had = {one.metric for one in self.scores if one.value is not None}
        return [metric for metric in METRICS if metric in had or metric in OF_THE_PAPER]


def label(arm: str) -> str:
    """The name of an arm in the paper, or its own."""
    return LABELS.get(arm, arm)


def variants(ablation: Ablation) -> set[str]:
    """The names under which published values may speak of the arms; those of `Ours` are two."""
    names = {name for arm in ablation.arms for name in (arm, label(arm))}
    return names | ({"DynamiCrafter"} if "full" in ablation.arms else set())


def header(found: Found) -> list[str]:
    """The columns of the main table."""
    cells = ["Variant", "Seeds"]
    for metric in found.metrics:
        cells += [NAMES[metric], f"Δ {NAMES[metric][:-2]}"]
    return [*cells, "Loss ↓", "Δ loss, paired", "Δ loss, unpaired", "GPU-hours"]


def rows(found: Found) -> list[list[str]]:
    """The main table, a row an arm."""
    return [_row(found, arm) for arm in found.ablation.arms]


def loss_header() -> list[str]:
    """The columns of the table of losses."""
    return ["Variant", "Given", "Loss ↓", "Δ loss, paired", "Δ loss, unpaired", "Δ by seed"]


def loss_rows(found: Found) -> list[list[str]]:
    """The losses under every mode."""
    return [
        [
            label(loss.arm),
            MODES[loss.mode],
            span(loss.loss.value, loss.loss.low, loss.loss.high),
            *_loss_gaps(loss.difference),
            by_seed(loss) or ABSENT,
        ]
        for loss in found.ablation.losses
    ]


def remarks(found: Found) -> list[str]:
    """What must be known to read the tables."""
    ablation = found.ablation
    base = label(ablation.baseline)
    spent = gpu_hours(ablation.cells)
    lines = [
        f"Δ is the variant minus {base}, on the same inputs and under the same seeds of training. "
        "Brackets hold 95 % intervals.",
        "Loss is the denoising loss on held-out clips, with text and image, under noise and "
        "timesteps that all variants share. Its intervals draw clips and seeds anew (bootstrap); "
        "the paired one draws the same for both variants, the unpaired one for each by itself.",
    ]
    if _fewest_seeds(ablation) < 2:
        lines.append("An interval under a single seed knows nothing of the luck of a training.")
    if any(one.value is not None and not one.reliable for one in found.scores):
        lines.append(f"{DOUBT.strip()} must not be leant on; the evaluation's own page says why.")
    if spent is None:
        lines.append("Nothing was trained on a GPU, so there are no GPU-hours.")
    else:
        lines.append(
            f"Together {significant(spent)} GPU-hours of training. A stage that several variants "
            "share was trained once and is counted once in this sum, and in full for each variant."
        )
    lines += [
        f"{label(arm)}: losses not compared: {why}." for arm, why in ablation.unpaired.items()
    ]
    lines += [
        f"{label(cell.arm)}, seed {cell.seed}: no result: {cell.reason}."
        for cell in ablation.cells
        if cell.reason
    ]
    return lines


def published_line(one: Published) -> str:
    """A published value with where it stands."""
    checked = "" if one.verified else "; not checked against the paper itself"
    return f"{one.method}: {one.metric} {one.value:g} ({one.source}; {one.protocol}{checked})"


def no_published() -> str:
    """What stands in place of published values."""
    return "None: the table of published values has none for these variants."


def protocol_line(found: Found) -> str:
    """Under which protocol the videos were scored."""
    if found.protocol is None:
        return "No variant has scores."
    return f"Protocol: {found.protocol['name']} ({found.protocol['digest'][:12]})"


def markdown(found: Found) -> str:
    """Both tables, the remarks and the published values."""
    lines = [protocol_line(found), "", *_markdown_grid(header(found), rows(found)), ""]
    lines += [f"- {markdown_text(line)}" for line in remarks(found)]
    if found.ablation.losses:
        lines += ["", "Validation loss by what the model was given:", ""]
        lines += _markdown_grid(loss_header(), loss_rows(found))
    lines += ["", "Published values:", ""]
    published = [published_line(one) for one in found.published] or [no_published()]
    lines += [f"- {markdown_text(line)}" for line in published]
    return "\n".join(lines) + "\n"


def latex(found: Found) -> str:
    """The main table for booktabs; remarks and published values as comments."""
    head = header(found)
    comments = [protocol_line(found), *remarks(found)]
    comments += [f"Published: {published_line(one)}" for one in found.published]
    lines = [f"% {' '.join(line.split())}" for line in comments]
    lines += [
        r"\begin{tabular}{l" + "r" * (len(head) - 1) + "}",
        r"\toprule",
        _latex_row(head),
        r"\midrule",
        *(_latex_row(row) for row in rows(found)),
        r"\bottomrule",
        r"\end{tabular}",
    ]
    return "\n".join(lines) + "\n"


def signed(value: float) -> str:
    """A difference with its sign, small ones with three significant digits."""
    small = 0 < abs(value) < SMALL
    text = number(value, 2 - math.floor(math.log10(abs(value)))) if small else significant(value)
    return ("+" if value > 0 else "") + text


def by_seed(loss: Loss) -> str:
    """The difference under each seed, with two digits; empty for the baseline."""
    return ", ".join(f"{value:+.2g}".replace("-", "−") for value in loss.by_seed)


def span(value: float, low: float | None, high: float | None, shown: Callable = significant) -> str:
    """A value with its interval, where there is one."""
    if low is None or high is None:
        return shown(value)
    return f"{shown(value)} [{shown(low)}, {shown(high)}]"


def doubt(score: Score) -> str:
    """The mark of a number that must not be leant on."""
    return "" if score.reliable else DOUBT


def _row(found: Found, arm: str) -> list[str]:
    ablation = found.ablation
    whole = ablation.whole(arm)
    cells = [label(arm), str(len(whole))]
    for metric in found.metrics:
        score = found.score(arm, metric)
        cells += [_value(score), _gap(score)]
    loss = ablation.loss(arm, FULL)
    spent = gpu_hours(whole)
    return [
        *cells,
        ABSENT if loss is None else significant(loss.loss.value),
        *_loss_gaps(None if loss is None else loss.difference),
        ABSENT if spent is None else significant(spent),
    ]


def _value(score: Score) -> str:
    if score.value is None:
        return ABSENT
    return significant(score.value) + doubt(score)


def _gap(score: Score) -> str:
    gap = score.gap
    return ABSENT if gap is None else span(gap.value, gap.low, gap.high, signed) + doubt(score)


def _loss_gaps(gap: Difference | None) -> list[str]:
    if gap is None:
        return [ABSENT, ABSENT]
    return [
        span(gap.value, gap.low, gap.high, signed),
        f"[{signed(gap.unpaired_low)}, {signed(gap.unpaired_high)}]",
    ]


def _fewest_seeds(ablation: Ablation) -> int:
    counts = [len(ablation.whole(arm)) for arm in ablation.arms]
    return min((count for count in counts if count), default=0)


def _markdown_grid(head: Sequence[str], grid: Sequence[Sequence[str]]) -> list[str]:
    lines = [head, ["---", *["---:"] * (len(head) - 1)]]
    lines += [[markdown_text(cell) for cell in row] for row in grid]
    return ["| " + " | ".join(line) + " |" for line in lines]


def _latex_row(cells: Sequence[str]) -> str:
    return " & ".join(latex_text(cell) for cell in cells) + r" \\"
