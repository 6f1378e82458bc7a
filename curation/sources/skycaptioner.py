"""Structural captions of SkyCaptioner as motion captions, without a model.

The structure is a column `structural_caption` (an object, or its text) or the row itself:

    subjects[]{appearance, action, expression, position, TYPES{type, sub_type}, is_main_subject},
    camera_motion, environment, lighting, …

Only what the main subjects do becomes the wording; how they look, where they are and what the
camera does is what a motion caption leaves to the image. No confidence is stated: there is none.
"""

from collections.abc import Iterator
from typing import Any

from curation.clip import UNKNOWN, Clip
from curation.sources.cells import MAX_TEXT, BadRow, as_text, clean, literal
from curation.sources.columns import read_tables

COLUMN = "structural_caption"
FIELDS = ("subjects", "camera_motion")
MAX_SUBJECTS = 50


def read_skycaptioner(source: dict[str, Any]) -> Iterator[Clip]:
    """The clips of tables with structural captions; the rest of their columns by the column map."""
    return read_tables(source, also=(COLUMN, *FIELDS), more=motion_caption)


def motion_caption(cells: dict[str, str]) -> dict[str, str]:
    """`dynamic_wording`, `dynamic_source_category` and `camera_motion` of a structural caption.

    Raises:
        BadRow: it is no such structure.
    """
    structure: Any = cells
    if cells.get(COLUMN):
        structure = literal(cells[COLUMN])
        if not isinstance(structure, dict):
            raise BadRow("bad_row", f"{COLUMN} is no object")
    subjects = structure.get("subjects") or []
    if isinstance(subjects, str):
        subjects = literal(subjects)
    if not isinstance(subjects, list):
        raise BadRow("bad_row", "subjects is no list")
    main = [subject for subject in subjects[:MAX_SUBJECTS] if _is_main(subject)]
    moving = [subject for subject in main if _text(subject.get("action"))]
    actions = dict.fromkeys(_text(subject["action"]).rstrip(".; ") for subject in moving)
    found = {
        "dynamic_wording": "; ".join(filter(None, actions))[:MAX_TEXT] or UNKNOWN,
        "dynamic_source_category": _category((moving or main or [{}])[0]),
    }
    if camera := _text(structure.get("camera_motion")):
        found["camera_motion"] = camera
    return found


def _is_main(subject: Any) -> bool:
    if not isinstance(subject, dict):
        raise BadRow("bad_row", "a subject is no object")
    return as_text(subject.get("is_main_subject")).lower() in ("true", "1", "yes")


def _category(subject: dict[str, Any]) -> str:
    types = subject.get("TYPES")
    kind = types.get("type") if isinstance(types, dict) else types
    return _text(kind).lower() or UNKNOWN


def _text(value: Any) -> str:
    """One line; empty where nothing is said."""
    text = clean(as_text(value))[:MAX_TEXT]
    return "" if text.lower() in ("none", "null", "n/a", "nan") else text
