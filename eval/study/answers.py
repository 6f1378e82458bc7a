"""The files that participants send back: checked as what strangers wrote, then told by method."""

import json
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, ListConfig

from dynamicrafter.errors import InputError
from eval import sources
from eval.study.design import SAME, SIDES
from eval.study.prepare import KEY

LARGEST = 1_000_000  # bytes of a file; a study of a hundred questions takes 20 thousand
FORMAT = 1


@dataclass(frozen=True)
class Answer:
    """One person's answer on one aspect of one question.

    Attributes:
        participant: who.
        question: its number; the same for all participants.
        aspect: what was asked.
        sides: the methods from left to right.
        choice: the method that was chosen, None for no difference.
    """

    participant: str
    question: int
    aspect: str
    sides: tuple[str, ...]
    choice: str | None


@dataclass(frozen=True)
class Returned:
    """What came back.

    Attributes:
        participants: those whose file was taken.
        answers: theirs, without those to attention checks.
        failed: failed attention checks by participant.
        missing: answers that were not given, by participant; those who gave all are left out.
        copies: files that say what another one says.
        refused: files that were not taken, each with the reason.
    """

    participants: list[str] = field(default_factory=list)
    answers: list[Answer] = field(default_factory=list)
    failed: dict[str, int] = field(default_factory=dict)
    missing: dict[str, int] = field(default_factory=dict)
    copies: list[str] = field(default_factory=list)
    refused: list[tuple[str, str]] = field(default_factory=list)


def answer_files(setting: Any) -> list[Path]:
    """The files that a setting names: a folder of them, one, or a list.

    Raises:
        InputError: there are none.
    """
    if isinstance(setting, DictConfig):
        raise InputError(f"answers={setting}; pass a folder, a file or a list of files")
    named = [Path(str(one)) for one in setting] if _is_list(setting) else [Path(str(setting))]
    found = []
    for path in named:
        if not path.exists():
            raise InputError(
                f"answers={path} does not exist; pass a folder of JSON files, or files"
            )
        found += sorted(path.glob("*.json")) if path.is_dir() else [path]
    if not found:
        raise InputError(f"answers={setting} holds no JSON file; put what participants sent there")
    return found


def read_answers(key: dict[str, Any], paths: Sequence[Path]) -> Returned:
    """Read files of answers; one that cannot be trusted is refused as a whole.

    Args:
        key: the study's `key.json`.
        paths: the files.
    """
    returned = Returned()
    sheets = {sheet["participant"]: sheet["questions"] for sheet in key["sheets"]}
    by_participant: dict[str, list[tuple[Path, dict[str, Any]]]] = defaultdict(list)
    for path in paths:
        try:
            document = _document(path, key, sheets)
            by_participant[document["participant"]].append((path, document))
        except InputError as error:
            returned.refused.append((path.name, str(error)))
    for participant, sent in sorted(by_participant.items()):
        _, document = sent[0]
        if any(other["answers"] != document["answers"] for _, other in sent):
            names = ", ".join(path.name for path, _ in sent)
            why = f"participant {participant} answered differently in {names}; keep one of them"
            returned.refused.extend((path.name, why) for path, _ in sent)
            continue
        returned.copies.extend(path.name for path, _ in sent[1:])
        _take(returned, participant, document["answers"], sheets[participant], key["aspects"])
    return returned


def _take(
    returned: Returned,
    participant: str,
    answers: dict[str, dict[str, str]],
    asked: Sequence[dict[str, Any]],
    aspects: Sequence[str],
) -> None:
    returned.participants.append(participant)
    failed = missing = 0
    for question in asked:
        given = answers.get(question["token"], {})
        missing += len(aspects) - len(given)
        sides = tuple(question["sides"])
        choices = {
            aspect: None if letter == SAME else sides[SIDES.index(letter)]
            for aspect, letter in given.items()
        }
        if question["scrambled"] is not None:
            failed += any(choice in (None, question["scrambled"]) for choice in choices.values())
            continue
        returned.answers.extend(
            Answer(participant, question["number"], aspect, sides, choice)
            for aspect, choice in choices.items()
        )
    if failed:
        returned.failed[participant] = failed
    if missing:
        returned.missing[participant] = missing


def _document(path: Path, key: dict[str, Any], sheets: dict[str, Any]) -> dict[str, Any]:
    """A file of answers, every part of it looked at.

    Raises:
        InputError: why it is refused.
    """
    if not path.is_file():
        raise InputError("not a file")
    if (size := path.stat().st_size) > LARGEST:
        raise InputError(f"{size} bytes, more than the {LARGEST} of any file of answers")
    try:
        document = json.loads(path.read_bytes())
    except (ValueError, RecursionError):
        raise InputError("not JSON") from None
    if not isinstance(document, dict) or set(document) != {
        "format", "study", "participant", "answers",
    }:  # fmt: skip
        raise InputError("not a file of answers")
    if document["format"] != FORMAT:
        raise InputError(f"format {_short(document['format'])}, not {FORMAT}")
    if document["study"] != key["study"]:
        raise InputError(f"of another study, {_short(document['study'])}, not {key['study']}")
    participant = document["participant"]
    if not isinstance(participant, str) or participant not in sheets:
        raise InputError(f"unknown participant {_short(participant)}")
    letters = {one["token"]: (*SIDES[: len(one["sides"])], SAME) for one in sheets[participant]}
    if not isinstance(document["answers"], dict):
        raise InputError("not a file of answers")
    for token, given in document["answers"].items():
        if token not in letters:
            raise InputError(f"unknown question {_short(token)}")
        if not isinstance(given, dict):
            raise InputError(f"question {token} has no answers by aspect")
        for aspect, letter in given.items():
            if aspect not in key["aspects"]:
                raise InputError(f"question {token}: unknown aspect {_short(aspect)}")
            if letter not in letters[token]:
                raise InputError(f"question {token}: {_short(letter)} is no answer to {aspect}")
    return document


def read_key(folder: Path) -> dict[str, Any]:
    """The key of a study.

    Raises:
        InputError: no finished study there.
    """
    names = ["study", "aspects", "methods", "compare", "sheets"]
    return sources.document(sources.run_folder(str(folder), "eval study", "study") / KEY, names)


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 40 else text[:37] + "…"


def _is_list(setting: Any) -> bool:
    return isinstance(setting, list | ListConfig)
