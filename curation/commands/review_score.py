"""`dynamicrafter curate review-score`: what reviewers say of the captions on a page.

score.json         every figure             score.html    the same, explained
edits.csv          key, old, new wording    calibration.csv    confidence → share accepted
"""

import csv
import io
import itertools
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from curation.clip import UNKNOWN
from curation.commands.calibrated import calibration, write_calibration
from curation.commands.review import REVIEW
from curation.commands.review_answers import VERDICTS, Verdict, answer_files, read_answers
from curation.commands.review_score_page import page
from curation.purity.gate import Gate, judge
from dynamicrafter.command import command, say
from dynamicrafter.errors import InputError
from dynamicrafter.files import read_json, sha256_file, sha256_json, write_json, write_text
from dynamicrafter.statistics import cohen_kappa, wilson_interval

BANDS = (0.5, 0.7, 0.9)  # borders between bands of purity
Clip = dict[str, Any]

main = command("review_score", "curation.commands.review_score")


def inputs(config: Any) -> dict[str, str]:
    """Digests of the page's content and of the answers."""
    answers = [sha256_file(path) for path in answer_files(config.answers)]
    return {
        "review": sha256_json(read_review(Path(config.review))),
        "answers": sha256_json(answers),
    }


def run(config: Any, folder: Path) -> dict[str, Any]:
    """Score the answers that conf/review_score.yaml names.

    Raises:
        InputError: no page, no answer of it, or a setting that cannot be used.
    """
    if not isinstance(config.bins, int) or not 1 <= config.bins <= 100:
        raise InputError(f"bins={config.bins} is not a whole number from 1 to 100")
    review = read_review(Path(config.review))
    clips = {clip["key"]: clip for clip in review["clips"]}
    shown = {key: clip["wording"] for key, clip in clips.items()}
    answers, refused = read_answers(answer_files(config.answers), review["page"], shown)
    if not answers:
        why = ", ".join(f"{n} {reason}" for reason, n in refused.most_common()) or "no line"
        raise InputError(
            f"answers={config.answers} holds no answer to the page {review['page']} of "
            f"{config.review} ({why}); pass what that page saved"
        )
    found = score(clips, answers, config.bins)
    found |= {
        "page": review["page"],
        "pick": review["pick"],
        "refused": dict(refused.most_common()),
        "edits": edits(clips, answers),
    }
    write_json(folder / "score.json", found)
    write_text(folder / "edits.csv", _csv(found["edits"]))
    if found["confidence"] is not None:
        write_calibration(folder, found["confidence"])
    write_text(folder / "score.html", page(found))
    accepted = found["accepted"]
    say(
        f"{found['judged']} of {found['clips']} clips judged, accepted "
        f"{100 * accepted['value']:.0f} % ({100 * accepted['low']:.0f} to "
        f"{100 * accepted['high']:.0f}); lines refused: {sum(refused.values())}"
    )
    return {
        "answers": len(answers),
        "judged": found["judged"],
        "accepted": accepted["value"],
        "refused": sum(refused.values()),
        "page": str(folder / "score.html"),
    }


def read_review(folder: Path) -> dict[str, Any]:
    """What is on a page that `review` made.

    Raises:
        InputError: there is none.
    """
    if not (folder / REVIEW).is_file():
        raise InputError(f"review={folder} has no {REVIEW}; pass the run_dir of `curate review`")
    return read_json(folder / REVIEW)


def score(clips: dict[str, Clip], answers: Sequence[Verdict], bins: int) -> dict[str, Any]:
    """The figures of answers to the clips of a page.

    A clip counts once, by the majority of its reviewers; where they are even it is not accepted.
    """
    by_clip: dict[str, list[str]] = defaultdict(list)
    for one in answers:
        by_clip[one.key].append(one.verdict)
    accepted = {
        key: verdicts.count("accept") > len(verdicts) / 2 for key, verdicts in by_clip.items()
    }
    worded = [key for key in accepted if clips[key]["wording"] != UNKNOWN]
    passed = {key: judge(clips[key]["wording"], Gate()).passed for key in worded}
    sure = [key for key in accepted if clips[key]["confidence"] is not None]
    confidences = [clips[key]["confidence"] for key in sure]
    names = sorted({one.reviewer for one in answers})
    return {
        "clips": len(clips),
        "judged": len(accepted),
        "accepted": _share(accepted.values()),
        "reviewers": {name: _by(name, answers) for name in names},
        "groups": {
            title: _groups(clips, accepted, group)
            for title, group in (
                ("category", lambda clip: clip["category"]),
                ("source", lambda clip: clip["source"]),
                ("purity", band_of),
            )
        },
        "gate": _gate(accepted, passed),
        "kappa": [
            _agreement(first, second, answers) for first, second in itertools.combinations(names, 2)
        ],
        "confidence": calibration(confidences, [accepted[key] for key in sure], bins)
        if sure
        else None,
    }


def band_of(clip: Clip) -> str:
    """The band of a clip's purity, in words."""
    purity = clip["purity"]
    if purity is None:
        return UNKNOWN
    edges = (0.0, *BANDS, 1.0)
    place = sum(purity >= border for border in BANDS)
    return f"{edges[place]:g} to {edges[place + 1]:g}"


def edits(clips: dict[str, Clip], answers: Sequence[Verdict]) -> list[dict[str, Any]]:
    """All edits by clip and time, so that the last of a clip is the one that stands."""
    found = [one for one in answers if one.verdict == "edit"]
    found.sort(key=lambda one: (one.key, one.time, one.reviewer))
    return [{**asdict(one), "old": clips[one.key]["wording"]} for one in found]


def _gate(accepted: dict[str, bool], passed: dict[str, bool]) -> dict[str, Any]:
    """The gate, taken as a foretelling of what reviewers accept; `none` is not its business."""
    cells = Counter((passed[key], accepted[key]) for key in passed)
    let_through = cells[True, True] + cells[True, False]
    liked = cells[True, True] + cells[False, True]
    return {
        "passed_accepted": cells[True, True],
        "passed_refused": cells[True, False],
        "failed_accepted": cells[False, True],
        "failed_refused": cells[False, False],
        "precision": _interval(cells[True, True], let_through),
        "recall": _interval(cells[True, True], liked),
    }


def _agreement(first: str, second: str, answers: Sequence[Verdict]) -> dict[str, Any]:
    """Cohen's kappa of two reviewers over the three verdicts; absent where it is not defined."""
    said = {
        name: {one.key: one.verdict for one in answers if one.reviewer == name}
        for name in (first, second)
    }
    shared = sorted(said[first].keys() & said[second].keys())
    pair = [[said[name][key] for key in shared] for name in (first, second)]
    kappa = cohen_kappa(*pair) if shared else None
    return {
        "first": first,
        "second": second,
        "clips": len(shared),
        "equal": sum(one == other for one, other in zip(*pair, strict=True)),
        "kappa": None if kappa is None else [kappa.value, kappa.low, kappa.high],
    }


def _by(name: str, answers: Sequence[Verdict]) -> dict[str, Any]:
    own = [one for one in answers if one.reviewer == name]
    counts = Counter(one.verdict for one in own)
    seconds = sorted(one.seconds for one in own)
    return {
        **{verdict: counts[verdict] for verdict in VERDICTS},
        "median_seconds": seconds[len(seconds) // 2],
    }


def _groups(
    clips: dict[str, Clip], accepted: dict[str, bool], group: Callable[[Clip], str]
) -> dict[str, dict[str, Any]]:
    by_group: dict[str, list[bool]] = defaultdict(list)
    for key, good in accepted.items():
        by_group[group(clips[key])].append(good)
    return {name: _share(by_group[name]) for name in sorted(by_group)}


def _share(good: Any) -> dict[str, Any]:
    values = list(good)
    return {"n": len(values), **(_interval(sum(values), len(values)) or {})}


def _interval(part: int, whole: int) -> dict[str, float] | None:
    if not whole:
        return None
    found = wilson_interval(part, whole)
    return {"value": found.value, "low": found.low, "high": found.high}


def _csv(found: Sequence[dict[str, Any]]) -> str:
    """Overrides: the last edit of each clip."""
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(["key", "old", "new"])
    last = {one["key"]: [one["key"], one["old"], one["wording"]] for one in found}
    table.writerows(last.values())
    return text.getvalue()
