"""Motion control: does the prompt decide what moves? Images of the user's, an action for each.

The paper scored 40 cases of its own and did not publish them; `motion_control.csv` describes forty
of ours: ten actions, four images each. There are no real videos: the selection's `video` and
`start_frame` are empty and its `group` is the action, by which CLIP-SIM is told apart.
"""

from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any

from dynamicrafter.errors import InputError
from dynamicrafter.images import SUFFIXES
from eval.benchmarks.catalogue import (
    NONE,
    Catalogue,
    Count,
    Entry,
    Words,
    as_prompt,
    existing_folder,
    expected,
    read_table,
    video_key,
)

OWN = "motion_control.csv"
COLUMNS = ("case", "action", "image", "prompt")


def read(settings: Mapping[str, Any]) -> Catalogue:
    """The cases whose images are there.

    `settings`: conf/benchmark/motion_control.yaml.

    Raises:
        InputError: no such folder, a table that cannot be used.
    """
    root = existing_folder(settings["root"], "benchmark.root")
    own = Path(str(resources.files("eval.benchmarks") / OWN))
    path = Path(settings["cases"]) if settings["cases"] else own
    rows = read_table(path, COLUMNS)
    keys = [video_key(row["case"]) for row in rows]
    if doubled := [key for key in keys if keys.count(key) > 1]:
        raise InputError(f"{path}: the case {doubled[0]} stands there twice")
    entries, missing = [], []
    for key, row in zip(keys, rows, strict=True):
        if not row["prompt"].strip():
            raise InputError(f"{path}: the case {row['case']} has no prompt")
        image = _image(root, row["image"])
        if image is None:
            note = row.get("note", "")
            missing.append(f"{row['image']}: {note}" if note else row["image"])
            continue
        words = (Words(NONE, as_prompt(row["prompt"])),)
        entries.append(Entry(key, image, words, row["action"].strip() or NONE))
    counts = [
        Count("cases", len(rows), None if settings["cases"] else expected(settings, "cases")),
        Count("images", len(entries), len(rows)),
    ]
    return Catalogue(root, entries, counts, {"missing": missing}, has_videos=False)


def _image(root: Path, name: str) -> str | None:
    """The file of this name, or of another image format's suffix."""
    stem = Path(name).stem
    if Path(name).name != name or not stem:
        raise InputError(f"the image {name!r} is no plain file name")
    candidates = [name, *(stem + suffix for suffix in sorted(SUFFIXES))]
    return next((one for one in candidates if (root / one).is_file()), None)
