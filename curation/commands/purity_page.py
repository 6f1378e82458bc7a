"""What was found of a corpus of captions, as a page that explains itself."""

import math
from collections.abc import Sequence
from typing import Any

from markupsafe import Markup

from curation.commands import calibrated
from curation.commands.caption_charts import histogram
from curation.commands.coloured import coloured, legend, style
from dynamicrafter import pages
from dynamicrafter.pages.tables import number

PURITY = {
    "value": (
        "Purity P",
        "1 where every word is of motion or of what moves, 0 where none tells of motion or all "
        "leak: (1 - leakage - camera) times motion density over 0.34, at most 1.",
    ),
    "density": (
        "Motion density",
        "Share of the content words that tell of motion; one in three is enough.",
    ),
    "leakage": (
        "Leakage",
        "Share of the content words that tell of place, looks or medium, which the image tells.",
    ),
    "scene": ("of it: scene", "Words of place, time and weather."),
    "appearance": ("of it: appearance", "Words of colour, clothing, light, age and looks."),
    "media": ("of it: media", "Words of the footage itself: style, quality, watermark."),
    "camera": ("Camera", "Share of the content words that tell of the camera."),
}
AGAINST = {
    "removal": ("Removal R", "Share of what leaks in the stock caption that is gone."),
    "kept": ("Motion kept Q", "Share of the stock caption's motion words that are still there."),
    "score": ("Decoupling F", "Harmonic mean of R and Q: high only where both are."),
    "novel": (
        "Novel motion",
        "Share of the motion words that the stock caption lacks: seen, guessed or made up.",
    ),
}
VARIETY = {
    "none_share": ("“none”, %", "Captions that say nothing.", 100),
    "verbs": ("Different verbs", "Motion words by their base form.", 1),
    "verb_entropy": (
        "Verb entropy, bits",
        "How evenly verbs are used: n bits are as many as 2 to the n used equally often.",
        1,
    ),
    "top_verb_share": (
        "Share of the 20 commonest verbs, %",
        "High where a captioner falls back on a few words.",
        100,
    ),
    "duplicate_share": (
        "Repeated (subject, verbs), %",
        "Captions with the subject and verbs of another one.",
        100,
    ),
}
CONFIDENCE = {
    "error": (
        "Expected calibration error",
        "Mean distance between the stated confidence and the share that moves; 0 is perfect.",
    ),
    "spearman": (
        "Spearman's correlation",
        "Whether clips with more confidence move more, whatever the scale; 1 is perfect.",
    ),
}
EXAMPLES = {
    "impure": ("Least pure wordings", "What the gate should not let through, worst first."),
    "still": (
        "Sure, but still",
        "The caption is sure of motion, and hardly any was measured: made up, or too small to see.",
    ),
    "moving": (
        "Unsure, but moving",
        "Much motion was measured of which the caption is not sure: overlooked, or the camera's.",
    ),
}


def page(found: dict[str, Any]) -> str:
    """`purity.html` of the content of `purity.json`."""
    corpus, sure = found["corpus"], found["confidence"]
    before, after = corpus["before"], corpus["after"]
    values = {
        "of": found["of"],
        "clips": number(found["clips"]),
        "figures": _figures(found),
        "histograms": [
            histogram(side["histogram"], _top(before, after), title, "purity P", "captions, %")
            for side, title in ((before, "Stock captions"), (after, "Motion captions"))
        ],
        "purity": _both(before, after),
        "against": _against(corpus),
        "variety": _variety(before, after),
        "verbs": _counts(before["top_verbs"], after["top_verbs"], "Commonest motion words"),
        "deeds": _counts(before["top_deeds"], after["top_deeds"], "Commonest subjects and verbs"),
        "categories": _categories(corpus),
        "first_frame": found["first_frame"],
        "first_frame_table": _first_frame(found["first_frame"]),
        "sure": sure,
        "sure_chart": sure and calibrated.chart(sure, "Confidence and motion", "moves, %"),
        "sure_table": sure and _confidence(sure),
        "sure_bins": sure
        and calibrated.bins_table(sure, "What the diagram is made of, in percent", "Moves"),
        "cells": sure and _cells(found),
        "circular": set(found["said_by"]) <= {"embedded"},
        "moves_above": f"{found['moves_above']:g}",
        "sure_from": f"{found['sure_from']:g}",
        "legend": legend(),
        "examples": [
            (title, _examples(found["examples"][name], what))
            for name, (title, what) in EXAMPLES.items()
            if found["examples"][name]
        ],
        "said_by": _tally(found["said_by"], "Who worded the captions", "Captioner"),
        "failed": found["failed"]
        and _tally(found["failed"], "Clips without a good caption, in no figure here", "Reason"),
    }
    return pages.render("purity.html", values, "curation.commands", style=style())


def _figures(found: dict[str, Any]) -> list[tuple[str, str]]:
    """The figures of the head, as (what, text)."""
    corpus, sure = found["corpus"], found["confidence"]
    known = [
        ("purity of the stock captions", corpus["before"]["value"]),
        ("purity of the motion captions", corpus["after"]["value"]),
        ("motion kept", corpus["kept"]),
        ("calibration error", sure and sure["error"]),
    ]
    return [(what, "—" if value is None else f"{value:.2f}") for what, value in known]


def _top(*sides: dict[str, Any]) -> float:
    """Percent of the fullest bin, rounded up to a full ten."""
    fullest = max(max(side["histogram"]) / max(sum(side["histogram"]), 1) for side in sides)
    return max(math.ceil(10 * fullest), 1) * 10


def _both(before: dict[str, Any], after: dict[str, Any]) -> Markup:
    values = [side | side["leaking"] for side in (before, after)]
    rows = [
        pages.Row([_explained(title, what), *(side[name] for side in values)])
        for name, (title, what) in PURITY.items()
    ]
    return pages.table(_sides("Figure", 2), rows, "Means over the captions, 0 to 1")


def _against(corpus: dict[str, Any]) -> Markup:
    columns = [pages.Column("Figure"), pages.Column("Mean", number=True, digits=2)]
    rows = [
        pages.Row([_explained(title, what), corpus[name]])
        for name, (title, what) in AGAINST.items()
    ]
    return pages.table(columns, rows, "The motion caption against the stock caption, 0 to 1")


def _variety(before: dict[str, Any], after: dict[str, Any]) -> Markup:
    rows = []
    for name, (title, what, factor) in VARIETY.items():
        values = [side[name] for side in (before, after)]
        digits = 0 if name == "verbs" else 1
        cells = [
            None if value is None else pages.Cell(value, number(factor * value, digits))
            for value in values
        ]
        rows.append(pages.Row([_explained(title, what), *cells]))
    return pages.table(_sides("Figure", 1), rows, "Variety of the corpus")


def _counts(before: Sequence[Any], after: Sequence[Any], caption: str) -> Markup:
    columns = [pages.Column("Rank", number=True), pages.Column("Stock captions")]
    columns += [pages.Column("Count", number=True), pages.Column("Motion captions")]
    columns.append(pages.Column("Count", number=True))
    rows = []
    for rank in range(max(len(before), len(after))):
        cells: list[Any] = [rank + 1]
        for side in (before, after):
            cells += list(side[rank]) if rank < len(side) else [None, None]
        rows.append(pages.Row(cells))
    return pages.table(columns, rows, caption)


def _categories(corpus: dict[str, Any]) -> Markup:
    columns = [pages.Column("Category"), pages.Column("Clips", number=True)]
    columns.append(pages.Column("Share, %", number=True, digits=1))
    total = sum(corpus["categories"].values()) or 1
    rows = [pages.Row([name, n, 100 * n / total]) for name, n in corpus["categories"].items()]
    bits = corpus["category_entropy"]
    said = "no category is stated" if bits is None else f"entropy {bits:.2f} bits, without “none”"
    return pages.table(columns, rows, f"Categories of what moves: {said}")


def _first_frame(found: dict[str, Any]) -> Markup | None:
    if "absent" in found:
        return None
    means = {
        "leakage": (
            "Leakage",
            "How much better the caption fits the first frame than it does without its motion "
            "words; near 0 where a still does not show the motion.",
        ),
        "growth": (
            "Growth",
            "How much better it fits the whole clip than the first frame; below 0 it fits the "
            "first frame best.",
        ),
    }
    rows = [
        pages.Row([_explained(*said), found["before"][name], found["after"][name]])
        for name, said in means.items()
    ]
    counts = [float(found[side]["captions"]) for side in ("before", "after")]
    cells = [pages.Cell(count, number(count)) for count in counts]
    rows.append(
        pages.Row([_explained("Captions", "Those with words of motion and others."), *cells])
    )
    caption = f"Differences of cosines, over {found['clips']} clips, by {found['model']}"
    return pages.table(_sides("Figure", 4), rows, caption)


def _confidence(sure: dict[str, Any]) -> Markup:
    columns = [pages.Column("Figure"), pages.Column("Value", number=True, digits=3)]
    columns.append(pages.Column("95 % interval", number=True))
    order = sure["spearman"]
    rows = [pages.Row([_explained(*CONFIDENCE["error"]), sure["error"], None])]
    cells = [None, None]
    if order is not None:
        cells = [order[0], f"{number(order[1], 3)} to {number(order[2], 3)}"]
    rows.append(pages.Row([_explained(*CONFIDENCE["spearman"]), *cells]))
    return pages.table(columns, rows, f"Confidence against motion, {sure['clips']} clips")


def _cells(found: dict[str, Any]) -> Markup:
    sure = found["confidence"]
    columns = [pages.Column("The caption is"), pages.Column("It moves", number=True)]
    columns.append(pages.Column("It hardly moves", number=True))
    rows = [
        pages.Row([name, sure[f"{name}_and_moving"], sure[f"{name}_and_still"]])
        for name in ("sure", "unsure")
    ]
    return pages.table(columns, rows, "Clips by what is said and what was measured")


def _examples(clips: Sequence[dict[str, Any]], caption: str) -> Markup:
    columns = [pages.Column("Clip"), pages.Column("Stock caption"), pages.Column("Motion caption")]
    columns += [
        pages.Column("Confidence", number=True),
        pages.Column("Object motion", number=True, digits=4),
    ]
    rows = [
        pages.Row(
            [
                one["key"],
                *(coloured(one[name][:500]) for name in ("original", "wording")),
                one["confidence"],
                one["object_motion"],
            ]
        )
        for one in clips
    ]
    return pages.table(columns, rows, caption)


def _tally(counts: dict[str, int], caption: str, title: str) -> Markup:
    columns = [pages.Column(title), pages.Column("Clips", number=True)]
    rows = [pages.Row([name.replace("_", " "), n]) for name, n in counts.items()]
    return pages.table(columns, rows, caption)


def _sides(first: str, digits: int) -> list[pages.Column]:
    titles = ("Stock captions", "Motion captions")
    columns = [pages.Column(name, number=True, digits=digits) for name in titles]
    return [pages.Column(first), *columns]


def _explained(title: str, what: str) -> Markup:
    """A figure's name and the sentence that says what it means."""
    return Markup('{} <span class="meaning">{}</span>').format(title, what)
