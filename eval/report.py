"""`dynamicrafter report`: one self-contained page about a chain of runs, fit to be passed on.

The page is a pure function of the run folders, so it carries no date and can be made again.
"""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from markupsafe import Markup
from omegaconf import DictConfig

from dynamicrafter import files, pages
from dynamicrafter.command import command
from dynamicrafter.pages.tables import number
from dynamicrafter.shards import may_be_passed_on
from eval import results, sources
from eval.tables import Shown, metrics_table, pair_figures, protocol_table

VERBS = ("curate", "train", "animate", "eval")
SHOWN_DECISIONS = 200
COUNTED_CLIPS = 2000  # of larger splits, that many are read, evenly spread

main = command("report", "eval.report")


def inputs(config: DictConfig) -> dict[str, str]:
    """Digests of what the page shows.

    Raises:
        InputError: a run folder is missing; the message names the command that makes it.
    """
    return {verb: sources.digest(sources.run_folder(config[verb], verb, verb)) for verb in VERBS}


def run(config: DictConfig, folder: Path) -> dict[str, Any]:
    """Write `report.html` into `folder` and return what was written.

    `config`: conf/report.yaml.

    Raises:
        InputError: a run folder or one of its files is missing; the message names the command.
    """
    folders = {verb: sources.run_folder(config[verb], verb, verb) for verb in VERBS}
    budget = pages.Budget(int(config.megabytes * 1e6))
    training = _training(folders["train"], config.allow_media, budget)
    pairs = pair_figures(
        folders["eval"],
        results.read(folders["eval"]).pairs,
        config.allow_media,
        config.pairs,
        budget,
    )
    curation = _curation(folders["curate"], config.clips, config.allow_media, budget)
    evaluation = _evaluation(folders["eval"])
    generated = sources.document(folders["animate"] / "items.json", ["settings", "items"])
    values = {
        "title": config.title,
        "curation": curation,
        "training": training,
        "animation": _animation(generated),
        "pairs": pairs,
        "evaluation": evaluation,
        **_dataset(folders["curate"]),
        "places": {verb: str(path) for verb, path in folders.items()},
        "number": number,
    }
    page = pages.render("report.html", values, package="eval")
    files.write_text(folder / "report.html", page)
    return {
        "report": str(folder / "report.html"),
        "bytes": len(page.encode()),
        "clips": len(curation["clips"].shown),
        "pairs": len(pairs.shown),
    }


def _curation(folder: Path, count: int, allow_media: bool, budget: pages.Budget) -> dict[str, Any]:
    facts = sources.document(folder / "funnel.json", ["steps", "reasons", "kept"])
    bars = [pages.Bar("clips at the start", facts["steps"][0]["in"])] if facts["steps"] else []
    for step in facts["steps"]:
        lost = f"{number(step['dropped'])} dropped" if step["dropped"] else ""
        name = f"without {step['name'].replace('_', ' ')}"
        bars.append(pages.Bar(name, step["out"], lost))
    reasons = pages.table(
        [pages.Column("Reason"), pages.Column("Clips", number=True)],
        [pages.Row(item) for item in sorted(facts["reasons"].items(), key=lambda item: -item[1])],
        "Why clips were dropped",
    )
    decisions = sources.decisions(folder)
    rows = [
        pages.Row([row["key"], row["split"] if row["kept"] else None, row["reason"] or None])
        for row in decisions[:SHOWN_DECISIONS]
    ]
    columns = [pages.Column("Clip"), pages.Column("Kept for"), pages.Column("Dropped because")]
    train = -(-2 * count // 3)
    examples = sources.clips(folder, "train", train) + sources.clips(folder, "test", count - train)
    return {
        "start": bars[0].count if bars else 0,
        "kept": facts["kept"],
        "split_by": facts.get("split_by"),  # clip or shot; older runs do not tell
        "funnel": pages.funnel(bars, "Clips left after each step"),
        "reasons": reasons if facts["reasons"] else None,
        "decisions": pages.table(columns, rows, f"{len(rows)} of {len(decisions)} decisions"),
        "clips": _example_clips(examples, allow_media, budget),
    }


def _example_clips(clips: Sequence[sources.Clip], allow_media: bool, budget: pages.Budget) -> Shown:
    free = [clip for clip in clips if may_be_passed_on(clip.info) or allow_media]
    shown = [
        {
            "clip": clip,
            "video": pages.together([pages.video(clip.video, f"Clip: {clip.new_caption}")]),
            "confidence": clip.info.get("dynamic_confidence", "none"),
            "category": clip.info.get("dynamic_source_category", "none"),
        }
        for clip in free
        if budget.take(clip.video)
    ]
    return Shown(shown, len(free) - len(shown), len(clips) - len(free))


def _training(folder: Path, allow_media: bool, budget: pages.Budget) -> dict[str, Any]:
    summary = sources.document(folder / "summary.json", ["stages", "notes"])
    history = sources.stages(folder)
    columns = [pages.Column("Stage")] + [
        pages.Column(title, number=True, digits=digits)
        for title, digits in (
            ("Steps", 0),
            ("First loss", 4),
            ("Last loss", 4),
            ("Trainable, M", 2),
            ("Frozen, M", 2),
            ("Seconds", 0),
        )
    ]
    rows = [
        pages.Row(
            [
                *(stage[name] for name in ("name", "steps", "first_loss", "last_loss")),
                *(stage[f"{kind}_parameters"] / 1e6 for kind in ("trainable", "frozen")),
                stage["seconds"],
            ]
        )
        for stage in summary["stages"]
    ]
    picture = folder / "reconstruction.png"
    reconstruction = None
    free = allow_media or (summary.get("autoencoder") or {}).get("media_may_be_passed_on")
    if picture.is_file() and free and budget.take(data := picture.read_bytes()):
        words = "Rows of frames: the original above its reconstruction"
        reconstruction = pages.image(data, words, words)
    final = summary["stages"][-1] if summary["stages"] else None
    return {
        "stages": summary["stages"],
        "steps": sum(stage["steps"] for stage in summary["stages"]),
        "parameters": final["trainable_parameters"] + final["frozen_parameters"] if final else 0,
        "samples": sum(rows[-1].get("samples_seen", 0) for _, rows in history if rows),
        "table": pages.table(columns, rows, "Stages of the recipe; parameters in millions"),
        "charts": [_loss_chart(name, rows) for name, rows in history],
        "autoencoder": summary.get("autoencoder"),  # judged only with held-out clips
        "reconstruction": reconstruction,
        "notes": summary["notes"],
    }


def _loss_chart(name: str, rows: Sequence[dict[str, Any]]) -> Markup:
    steps, losses = [row["step"] for row in rows], [row["loss"] for row in rows]
    window = max(len(rows) // 20, 1) * 2 + 1
    series = [
        pages.Series("each step", steps, losses, faint=True),
        pages.Series(f"mean of {window}", steps, _running_mean(losses, window)),
    ]
    title = name.partition("-")[2].replace("-", " ") or name
    return pages.line_chart(series, f"Stage {title}", "step", "loss", log=True)


def _running_mean(values: Sequence[float], window: int) -> list[float]:
    """The mean over `window` values around each one, fewer at the ends."""
    half = window // 2
    spans = (values[max(i - half, 0) : i + half + 1] for i in range(len(values)))
    return [sum(span) / len(span) for span in spans]


def _animation(document: dict[str, Any]) -> dict[str, Any]:
    settings = [
        pages.Row([name, str(value)])
        for name, value in sorted(document["settings"].items())
        if isinstance(value, str | int | float | bool)
    ]
    columns = [pages.Column("Setting"), pages.Column("Value")]
    return {
        "count": len(document["items"]),
        "settings": pages.table(columns, settings, "How the videos were sampled"),
    }


def _evaluation(folder: Path) -> dict[str, Any]:
    found = results.read(folder)
    return {
        "protocol": found.protocol,
        "rows": found.rows,
        "fvd": next((row for row in found.rows if row.metric == "fvd"), None),
        "table": metrics_table(found.rows, f"Protocol {found.protocol['name']}"),
        "remarks": results.remarks(found),
        "settings": protocol_table(found.protocol),
        "absent": [row for row in found.rows if row.value is None],
    }


def _dataset(folder: Path) -> dict[str, Any]:
    """What is counted over the data set: where its clips come from, how sure their motion is."""
    infos = sources.infos(folder, COUNTED_CLIPS)
    found = Counter(
        (info["source"]["name"], info["source"].get("attribution", "none")) for info in infos
    )
    columns = [
        pages.Column("Source"),
        pages.Column("Attribution"),
        pages.Column("Clips", number=True),
    ]
    rows = [pages.Row([*names, count]) for names, count in sorted(found.items())]
    confidences = [info["dynamic_confidence"] for info in infos]
    numbers = [float(value) for value in confidences if isinstance(value, int | float)]
    return {
        "attribution": pages.table(columns, rows, f"Where {number(len(infos))} clips come from"),
        "confidence": pages.histogram(
            numbers, 0, 100, 10, "Confidence that a motion is there", "confidence, 0 to 100"
        ),
    }
