"""The files that reviewers save: what strangers wrote, taken line by line or refused with a reason.

A line is refused for one of these reasons, and counted:

    not_json       no JSON, or more than a line may have
    wrong_shape    not the fields of an answer, or of other kinds
    other_page     of another page
    unknown_key    of a clip that is not on the page
    wrong_wording  empty, too long, with control characters, or not the wording that was shown
    repeated       said once more, in the same words
    superseded     the same reviewer judged that clip again later
"""

import json
import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from curation.captions.answer import BadAnswer
from curation.passes.dcp_table import cell
from dynamicrafter.errors import InputError

LARGEST = 20_000_000  # bytes of a file; a page of two thousand clips takes one million
LONGEST_LINE = 20_000  # bytes
FIELDS = {"page", "key", "verdict", "wording", "reviewer", "seconds", "time"}
VERDICTS = ("accept", "reject", "edit")
MOST_NAME, MOST_WORDING = 60, 300  # characters of a reviewer's name, and of an edited wording


@dataclass(frozen=True)
class Verdict:
    """What a reviewer says of a clip.

    Attributes:
        key: of the clip.
        verdict: accept, reject or edit.
        wording: as it shall be; for accept and reject as it was shown.
        reviewer: who.
        seconds: that it took.
        time: when, ISO 8601.
    """

    key: str
    verdict: str
    wording: str
    reviewer: str
    seconds: float
    time: str


def answer_files(setting: Any) -> list[Path]:
    """The files that a setting names: one, a list, or a folder of them.

    Raises:
        InputError: there are none, or one is not there or too large.
    """
    named = [setting] if isinstance(setting, str) else list(setting)
    found = []
    for path in (Path(str(one)) for one in named):
        if not path.exists():
            raise InputError(f"answers={path} does not exist; pass the files that the page saved")
        found += sorted(path.glob("*.jsonl")) if path.is_dir() else [path]
    if not found:
        raise InputError(f"answers={setting} holds no .jsonl file; put what reviewers saved there")
    for path in found:
        if (size := path.stat().st_size) > LARGEST:
            raise InputError(f"answers={path} has {size} bytes, more than {LARGEST} of any review")
    return found


def read_answers(
    paths: Sequence[Path], page: str, shown: dict[str, str]
) -> tuple[list[Verdict], Counter[str]]:
    """The answers of files, one a reviewer and clip, and the refused lines by reason.

    Args:
        paths: the files.
        page: digest of the page that they must be of.
        shown: key → wording of each clip on it.
    """
    refused: Counter[str] = Counter()
    taken: dict[tuple[str, str], Verdict] = {}
    for line in _lines(paths):
        try:
            one = _verdict(line, page, shown)
        except BadAnswer as error:
            refused[error.reason] += 1
            continue
        before = taken.get((one.reviewer, one.key))
        if before is not None:
            same = (before.verdict, before.wording) == (one.verdict, one.wording)
            refused["repeated" if same else "superseded"] += 1
        if before is None or one.time > before.time:
            taken[one.reviewer, one.key] = one
    return [taken[name] for name in sorted(taken)], refused


def _lines(paths: Sequence[Path]) -> Iterator[bytes]:
    for path in paths:
        yield from (line for line in path.read_bytes().split(b"\n") if line.strip())


def _verdict(line: bytes, page: str, shown: dict[str, str]) -> Verdict:
    """A line, every part of it looked at.

    Raises:
        BadAnswer: why it is refused.
    """
    try:
        found = json.loads(line.decode()) if len(line) <= LONGEST_LINE else None
    except (ValueError, RecursionError):
        found = None
    if found is None:
        raise BadAnswer("not_json", "no JSON")
    if not isinstance(found, dict) or set(found) != FIELDS:
        raise BadAnswer("wrong_shape", "not the fields of an answer")
    texts = [found[name] for name in FIELDS - {"seconds"}]
    seconds = found["seconds"]
    if (
        not all(isinstance(text, str) for text in texts)
        or isinstance(seconds, bool)
        or not isinstance(seconds, int | float)
        or not 0 <= seconds < math.inf
        or found["verdict"] not in VERDICTS
        or not _is_line(found["reviewer"], MOST_NAME)
        or not _is_line(found["time"], 40)
    ):
        raise BadAnswer("wrong_shape", "fields of other kinds")
    if found["page"] != page:
        raise BadAnswer("other_page", "of another page")
    if found["key"] not in shown:
        raise BadAnswer("unknown_key", "not on the page")
    is_edit = found["verdict"] == "edit"
    if is_edit and not _is_line(found["wording"], MOST_WORDING):
        raise BadAnswer("wrong_wording", "no wording")
    if not is_edit and found["wording"] != shown[found["key"]]:
        raise BadAnswer("wrong_wording", "not what was shown")
    del found["page"]
    return Verdict(**{**found, "seconds": float(seconds)})


def _is_line(text: str, most: int) -> bool:
    """Whether a text is one line of at most so many characters, and no word for an empty cell."""
    return 0 < len(text) <= most and cell("videoid", text) == text
