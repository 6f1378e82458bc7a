"""`dynamicrafter eval study-score`: what the answers to a user study say of the methods.

scores.json   everything            scores.csv   a row for each number, for spreadsheets
scores.md     the tables as text    study.html   the tables as a page
"""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from dynamicrafter import files
from dynamicrafter.command import say
from dynamicrafter.errors import InputError
from dynamicrafter.statistics import wilson_interval
from dynamicrafter.tracking import open_run
from eval.study import tables
from eval.study.answers import Returned, answer_files, read_answers, read_key
from eval.study.groups import Group, score


def inputs(config: DictConfig) -> dict[str, str]:
    """Digests of the key and of the files of answers.

    Raises:
        InputError: no study, no answers.
    """
    key = read_key(Path(config.study))
    paths = answer_files(config.answers)
    told = [[path.name, files.sha256_file(path)] for path in paths if path.is_file()]
    return {"study": files.sha256_json(key), "answers": files.sha256_json(told)}


def run(config: DictConfig, folder: Path) -> dict[str, Any]:
    """Score the answers into `folder`.

    `config`: conf/eval_study_score.yaml.

    Raises:
        InputError: no study, no answers that can be used, or some that cannot and
            `allow_incomplete` is off.
    """
    key = read_key(Path(config.study))
    returned = read_answers(key, answer_files(config.answers))
    if returned.refused and not config.allow_incomplete:
        name, why = returned.refused[0]
        raise InputError(
            f"{name} is refused: {why} (refused files: {len(returned.refused)}); take them out, or "
            "pass allow_incomplete=true to score without them"
        )
    if not returned.answers:
        raise InputError(f"answers={config.answers} holds no answer to the study {key['study']}")
    groups = [score(returned.answers, key, "all participants")]
    attentive = [one for one in returned.answers if one.participant not in returned.failed]
    if returned.failed and attentive:
        groups.append(score(attentive, key, "those who passed every attention check"))
    result = {
        "study": key["study"],
        "methods": key["methods"],
        "compare": key["compare"],
        "pages": len(key["sheets"]),
        "returned": len(returned.participants),
        "failed_checks": returned.failed,
        "missing_answers": returned.missing,
        "copies": returned.copies,
        "refused": [{"file": name, "reason": why} for name, why in returned.refused],
        "remarks": remarks(key, returned, groups, config.few_participants),
        "groups": [asdict(group) for group in groups],
    }
    files.write_json(folder / "scores.json", result)
    files.write_text(folder / "scores.csv", tables.as_csv(groups))
    files.write_text(folder / "scores.md", tables.as_markdown(result, groups))
    files.write_text(folder / "study.html", tables.as_page(result, groups))
    for remark in result["remarks"]:
        say(f"note: {remark}")
    plain = OmegaConf.to_container(config, resolve=True)
    with open_run(config.tracking, folder, "study", plain) as tracked:
        tracked.table("study", tables.HEADER, tables.number_rows(groups))
        tracked.table("remarks", ("remark",), [(remark,) for remark in result["remarks"]])
    return {
        "participants": len(returned.participants),
        "answers": len(returned.answers),
        "failed_a_check": len(returned.failed),
        "refused": len(returned.refused),
    }


def remarks(
    key: dict[str, Any], returned: Returned, groups: Sequence[Group], few: int
) -> list[str]:
    """What a reader must know beside the numbers, in sentences."""
    found = []
    count = len(returned.participants)
    if count < few:
        found.append(
            f"Few participants: {count}, fewer than {few}. Shares of so few people move by a lot "
            "with each of them."
        )
    if count < len(key["sheets"]):
        found.append(f"{count} of {len(key['sheets'])} pages came back with answers.")
    checked = sum(one["scrambled"] is not None for one in key["sheets"][0]["questions"])
    if not checked:
        found.append("There were no attention checks.")
    elif not returned.failed:
        found.append(f"All {count} participants passed each of the {checked} attention checks.")
    else:
        without = (
            "Every table is given with them and without."
            if len(groups) > 1
            else "Nobody else answered, so there is no table without them."
        )
        found.append(
            f"{len(returned.failed)} of {count} participants failed one or more of the {checked} "
            f"attention checks. {without}"
        )
    if returned.missing:
        found.append(
            f"Missing answers: {sum(returned.missing.values())}, by {len(returned.missing)} of the "
            f"{count} participants. They count nowhere."
        )
    if returned.refused:
        found.append(f"Refused files: {len(returned.refused)}. They are in no number.")
    first, decided = groups[0].first_side
    if decided and key["compare"] == "pairs":
        interval = wilson_interval(first, decided)
        if not interval.low <= 0.5 <= interval.high:
            found.append(
                f"The first video was chosen in {first} of {decided} answers. Sides were balanced, "
                "so this moves all methods towards each other."
            )
    return found
