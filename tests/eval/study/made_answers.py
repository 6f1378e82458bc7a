"""A study's key without its videos, and the files that participants could send back."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from dynamicrafter.files import write_json
from eval.study.design import ASPECTS, SAME, SIDES, checks, questions, sheets
from eval.study.prepare import key_of

STUDY = "0123456789abcdef"
Choose = Callable[[dict[str, Any], str], str | None]


def make_key(
    folder: Path,
    methods: list[str],
    participants: int = 4,
    keys: int = 6,
    compare: str = "pairs",
    check: int = 2,
) -> dict[str, Any]:
    """Write the key of a study into `folder` and return it."""
    asked = questions([f"clip-{n}" for n in range(keys)], methods, compare, None, 0)
    made = sheets(asked, checks(asked, check, 0), participants, 0, "content")
    key = {"study": STUDY, "left_out": {}, **key_of(made, methods, compare)}
    write_json(folder / "key.json", key)
    return key


def filled(sheet: dict[str, Any], choose: Choose) -> dict[str, Any]:
    """The file of a participant who looks at each question and aspect with `choose`.

    It gives a method's name, or None for no difference. Checks are passed.
    """
    answers = {}
    for question in sheet["questions"]:
        sides, spoilt = question["sides"], question["scrambled"]
        if spoilt is not None:
            letter = SIDES[next(n for n, name in enumerate(sides) if name != spoilt)]
            answers[question["token"]] = dict.fromkeys(ASPECTS, letter)
            continue
        own = {aspect: choose(question, aspect) for aspect in ASPECTS}
        answers[question["token"]] = {
            aspect: SAME if name is None else SIDES[sides.index(name)]
            for aspect, name in own.items()
        }
    return {
        "format": 1,
        "study": STUDY,
        "participant": sheet["participant"],
        "answers": answers,
    }


def fail_checks(sheet: dict[str, Any], document: dict[str, Any]) -> dict[str, Any]:
    """The same file, with the scrambled video chosen in every check."""
    for question in sheet["questions"]:
        if question["scrambled"] is not None:
            letter = SIDES[question["sides"].index(question["scrambled"])]
            document["answers"][question["token"]]["motion_quality"] = letter
    return document


def send(folder: Path, documents: list[dict[str, Any]]) -> list[Path]:
    """Write files of answers."""
    paths = [folder / f"{number}.json" for number in range(len(documents))]
    for path, document in zip(paths, documents, strict=True):
        write_json(path, document)
    return paths
