"""`dynamicrafter eval compare`: several methods in one table, with paired differences.

Values are set side by side only where name and digest of the protocol agree, unless
`across_protocols=true` asks for it, and then the table says so. Differences are paired where the
methods were given the same inputs: each one against the first.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy
from omegaconf import DictConfig, OmegaConf

from dynamicrafter import files, pages
from dynamicrafter.command import command
from dynamicrafter.errors import InputError
from dynamicrafter.tracking import open_run
from eval import results
from eval.markup import latex_text, markdown_text
from eval.metrics.intervals import fvd_difference, paired_difference
from eval.published import Published, read_published
from eval.spreadsheet import csv_lines
from eval.tables import interval_cell, significant, value_cell
from eval.values import read_values

UNPAIRED = "the methods were given other inputs"

main = command("eval_compare", "eval.compare")

METRICS = ("fvd", "fvd_corrected", "kvd", "pic", "clip_sim", "inception_score", "lpips", "flicker",
           "frame_consistency", "motion_generated")  # fmt: skip
LOWER_IS_BETTER = ("fvd", "fvd_corrected", "kvd")
HIGHER_IS_BETTER = ("pic", "clip_sim", "inception_score")
DOUBT = " (?)"


@dataclass(frozen=True)
class Difference:
    """Of a method from the first one, on the same inputs."""

    method: str
    metric: str
    value: float
    low: float
    high: float
    p_value: float | None  # None where there is no test
    count: int


@dataclass(frozen=True)
class Evaluated:
    """A finished evaluation."""

    folder: Path
    found: results.Results

    @property
    def name(self) -> str:
        """Of the method."""
        return self.found.method


def inputs(config: DictConfig) -> dict[str, str]:
    """Digests of the results."""
    found = {str(run): files.sha256_file(Path(run) / "results.json") for run in _runs(config)}
    published = _published(config)
    return found | {"published": files.sha256_json([asdict(one) for one in published])}


def run(config: DictConfig, folder: Path) -> dict[str, Any]:
    """Write the comparison as JSON, CSV, Markdown, LaTeX and HTML.

    Raises:
        InputError: results of other protocols, twice the same name, files that are missing.
    """
    methods = [Evaluated(Path(one), results.read(Path(one))) for one in _runs(config)]
    _refuse_unlike(methods, config.across_protocols)
    gaps = [gap for one in methods[1:] for gap in _differences(methods[0], one, config.seed)]
    published = _published(config)
    whole = {
        "protocols": {one.name: one.found.protocol for one in methods},
        "methods": [
            {
                "name": one.name,
                "folder": str(one.folder),
                "rows": [asdict(r) for r in one.found.rows],
            }
            for one in methods
        ],
        "differences": [asdict(gap) for gap in gaps],
        "published": [asdict(one) for one in published],
    }
    table = _table(methods)
    files.write_text(folder / "comparison.csv", csv_lines(("method", "protocol", *METRICS), table))
    files.write_text(folder / "comparison.md", _markdown(methods, table, gaps))
    files.write_text(folder / "comparison.tex", _latex(methods, table))
    files.write_text(folder / "comparison.html", _page(methods, gaps, published))
    files.write_json(folder / "comparison.json", whole)
    plain = OmegaConf.to_container(config, resolve=True)
    with open_run(config.tracking, folder, "compare", plain) as tracked:
        tracked.table("methods", ("method", "protocol", *METRICS), table)
        columns = ("method", "metric", "difference", "low", "high", "p", "videos")
        tracked.table("differences", columns, [list(asdict(gap).values()) for gap in gaps])
    return {"methods": [one.name for one in methods], "page": str(folder / "comparison.html")}


def _runs(config: DictConfig) -> list[str]:
    if len(config.runs) < 1:
        raise InputError("runs names no evaluation; pass runs=[runs/eval-a,runs/eval-b]")
    for one in config.runs:
        if not (Path(one) / "results.json").is_file():
            raise InputError(f"{one} is no finished run of dynamicrafter eval")
    return list(config.runs)


def _published(config: DictConfig) -> list[Published]:
    if config.published is None:
        return []
    path = None if config.published == "known" else Path(config.published)
    return [one for one in read_published(path) if one.benchmark == config.published_benchmark]


def _refuse_unlike(methods: Sequence[Evaluated], across_protocols: bool) -> None:
    names = [one.name for one in methods]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice and not across_protocols:
        raise InputError(f"two runs are named {twice[0]}; name them apart with method=NAME")
    first = methods[0].found.protocol
    for one in methods[1:]:
        other = one.found.protocol
        if other["digest"] != first["digest"] and not across_protocols:
            changed = [key for key in first if key != "digest" and first[key] != other.get(key)]
            raise InputError(
                f"{methods[0].name} was evaluated under {first['name']} and {one.name} under "
                f"{other['name']} (they differ in {', '.join(changed)}); such numbers cannot be "
                "compared: evaluate again, or pass across_protocols=true, which the table will say"
            )


def _differences(first: Evaluated, other: Evaluated, seed: int) -> list[Difference]:
    """Paired differences, other minus first; none where the inputs are not the same."""
    if first.found.inputs != other.found.inputs:
        return []
    a = read_values(first.folder)
    b = read_values(other.folder).loc[a.index]
    gaps = []
    same = first.found.protocol["digest"] == other.found.protocol["digest"]
    if same and (gap := _fvd_difference(first, other)):
        gaps.append(gap)
    for metric in METRICS:
        if metric in a and metric in b:
            found = paired_difference(b[metric].to_numpy(), a[metric].to_numpy(), seed)
            gaps.append(Difference(other.name, metric, found.value, found.low, found.high,
                                   found.p_value, found.count))  # fmt: skip
    return gaps


def _fvd_difference(first: Evaluated, other: Evaluated) -> Difference | None:
    ours = safetensors.numpy.load_file(first.folder / results.FEATURES)
    theirs = safetensors.numpy.load_file(other.folder / results.FEATURES)
    if not ours or not theirs or len(ours["real"]) != len(ours["generated"]):
        return None
    unbiased = first.found.protocol["covariance"] == "unbiased"
    real, a, b = (np.asarray(x, np.float64) for x in (ours["real"], ours["generated"],
                                                      theirs["generated"]))  # fmt: skip
    try:
        gap = fvd_difference(real, b, a, unbiased)
    except InputError:  # too few videos for an interval
        return None
    return Difference(other.name, "fvd", gap.value, gap.low, gap.high, None, len(real))


def _table(methods: Sequence[Evaluated]) -> list[list[Any]]:
    table = []
    for one in methods:
        values = {row.metric: row.value for row in one.found.rows}
        table.append([one.name, one.found.protocol["name"], *(values.get(m) for m in METRICS)])
    return table


def _markdown(
    methods: Sequence[Evaluated], table: Sequence[Sequence[Any]], gaps: Sequence[Difference]
) -> str:
    shown = [i for i in range(len(METRICS)) if any(row[2 + i] is not None for row in table)]
    names = [METRICS[i].replace("_", " ") for i in shown]
    lines = [f"Protocols: {_protocols(methods)}", "", "| method | " + " | ".join(names) + " |",
             "|---|" + "---:|" * len(names)]  # fmt: skip
    for one in methods:
        found = [_row(one, METRICS[i]) for i in shown]
        cells = [_marked(row, "—", significant, DOUBT) for row in found]
        lines.append(f"| {markdown_text(one.name)} | " + " | ".join(cells) + " |")
    lines += ["", f"{DOUBT.strip()} must not be leant on; the evaluation's own page says why."]
    lines += ["", f"Differences from {markdown_text(methods[0].name)} on the same inputs:", ""]
    lines += [f"- {markdown_text(gap.method)}: {_words(gap)}" for gap in gaps] or [
        f"- none: {UNPAIRED}"
    ]
    return "\n".join(lines) + "\n"


def _latex(methods: Sequence[Evaluated], table: Sequence[Sequence[Any]]) -> str:
    shown = [i for i in range(len(METRICS)) if any(row[2 + i] is not None for row in table)]
    best = {i: _best(methods, METRICS[i]) for i in shown}
    lines = [
        f"% {_protocols(methods)}",
        r"\begin{tabular}{l" + "r" * len(shown) + "}",
        r"\toprule",
        "Method & " + " & ".join(latex_text(METRICS[i].replace("_", " ")) for i in shown) + r" \\",
        r"\midrule",
    ]
    for one in methods:
        cells = []
        for i in shown:
            text = _marked(_row(one, METRICS[i]), "--", "{:.4g}".format, r"\textsuperscript{?}")
            cells.append(rf"\textbf{{{text}}}" if one.name == best[i] else text)
        lines.append(latex_text(one.name) + " & " + " & ".join(cells) + r" \\")
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}"]) + "\n"


def _best(methods: Sequence[Evaluated], metric: str) -> str | None:
    """The method with the best value, where every value is reliable and there is a better."""
    rows = {one.name: _row(one, metric) for one in methods}
    values = {name: row.value for name, row in rows.items() if row and row.value is not None}
    doubtful = any(row is not None and not row.reliable for row in rows.values())
    if metric not in HIGHER_IS_BETTER + LOWER_IS_BETTER or doubtful or len(values) < 2:
        return None
    choose = min if metric in LOWER_IS_BETTER else max
    return choose(values, key=lambda name: values[name])


def _marked(row: results.Row | None, absent: str, shown: Callable[[float], str], doubt: str) -> str:
    if row is None or row.value is None:
        return absent
    return shown(row.value) + ("" if row.reliable else doubt)


def _page(
    methods: Sequence[Evaluated], gaps: Sequence[Difference], published: Sequence[Published]
) -> str:
    shown = [m for m in METRICS if any(_row(one, m) and _row(one, m).value is not None
                                       for one in methods)]  # fmt: skip
    columns = [pages.Column("Method"), pages.Column("Protocol")]
    columns += [pages.Column(metric.replace("_", " "), number=True) for metric in shown]
    rows = [
        pages.Row(
            [one.name, one.found.protocol["name"], *(_cell(_row(one, metric)) for metric in shown)]
        )
        for one in methods
    ]
    digests = {one.found.protocol["digest"] for one in methods}
    gap_columns = [
        pages.Column("Method"), pages.Column("Metric"), pages.Column("Difference", number=True),
        pages.Column("95 % interval", number=True), pages.Column("p", number=True, digits=4),
        pages.Column("Videos", number=True),
    ]  # fmt: skip
    gap_rows = [
        pages.Row([gap.method, gap.metric.replace("_", " "), value_cell(gap.value),
                   interval_cell((gap.low, gap.high)), gap.p_value, gap.count])
        for gap in gaps
    ]  # fmt: skip
    values = {
        "methods": methods,
        "first": methods[0].name,
        "protocols": _protocols(methods),
        "one_protocol": len(digests) == 1,
        "table": pages.table(columns, rows, "Methods"),
        "differences": pages.table(gap_columns, gap_rows, "Paired differences") if gaps else None,
        "why_none": UNPAIRED,
        "published": _published_table(published),
    }
    return pages.render("comparison.html", values, package="eval")


def _published_table(published: Sequence[Published]) -> Any:
    if not published:
        return None
    columns = [
        pages.Column("Method"), pages.Column("Metric"), pages.Column("Value", number=True),
        pages.Column("Reported in"), pages.Column("Protocol"),
    ]  # fmt: skip
    rows = [
        pages.Row([one.method, one.metric, value_cell(one.value), one.source, one.protocol],
                  reason=None if one.verified else "not checked against the paper itself")
        for one in published
    ]  # fmt: skip
    return pages.table(columns, rows, "Published values")


def _row(one: Evaluated, metric: str) -> results.Row | None:
    return next((row for row in one.found.rows if row.metric == metric), None)


def _cell(row: results.Row | None) -> pages.Cell | None:
    if row is None or row.value is None:
        return None
    return pages.Cell(row.value, _marked(row, "", significant, DOUBT))


def _protocols(methods: Sequence[Evaluated]) -> str:
    known = {one.found.protocol["digest"][:12]: one.found.protocol["name"] for one in methods}
    named = ", ".join(f"{name} ({digest})" for digest, name in known.items())
    return named if len(known) == 1 else f"{named}: NOT the same, the values are not comparable"


def _words(gap: Difference) -> str:
    test = "" if gap.p_value is None else f", p = {gap.p_value:.3g}"
    return (
        f"{gap.metric} {gap.value:+.4g} (95 % {gap.low:.4g} to {gap.high:.4g}{test}, "
        f"{gap.count} videos)"
    )
