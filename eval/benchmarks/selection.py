"""The selection as tables: `selection.csv` for the evaluation, `items.csv` to animate.

A cell that a spreadsheet would run begins with an apostrophe in `selection.csv` (the rule of
`eval/spreadsheet.py`), which `read_selection` takes away. `items.csv` is read by `animate` as it
stands: there a space does the same, and text encoders drop it.
"""

import csv
import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import astuple, dataclass, fields
from pathlib import Path
from typing import Any

from dynamicrafter.errors import InputError
from dynamicrafter.files import write_text
from dynamicrafter.shards.sample import KEY_PATTERN
from eval.spreadsheet import csv_lines, plain, safe

ITEM_COLUMNS = ("image", "prompt", "key")


@dataclass(frozen=True)
class Chosen:
    """A sample of a benchmark: a window of a video and what the model is told.

    A benchmark of images alone has no videos: there `video` is empty and `start_frame` and `fps`
    are None.

    Attributes:
        key: names the sample, its condition image and its generated video.
        video: path relative to the benchmark's root.
        start_frame: of the window, from 0.
        stride: frames of the video from one frame of the window to the next.
        frames: of the window.
        fps: frames per second of the video.
        caption: the benchmark's own words; `none` without any.
        prompt: what the model is given.
        group: class, category or action; `none` without one.
        sha256: of the video file, or of the image where there is no video.
    """

    key: str
    video: str
    start_frame: int | None
    stride: int
    frames: int
    fps: float | None
    caption: str
    prompt: str
    group: str
    sha256: str


COLUMNS = tuple(field.name for field in fields(Chosen))


def image_path(folder: Path, key: str) -> Path:
    """Where the condition image of a sample lies in a run folder."""
    return folder / "images" / f"{key}.png"


def write_selection(path: Path, rows: Sequence[Chosen]) -> None:
    """Write `selection.csv`, atomically."""
    write_text(path, csv_lines(COLUMNS, map(astuple, rows)))


def read_selection(path: Path) -> list[Chosen]:
    """Read a `selection.csv`.

    Raises:
        InputError: no such file, no CSV, a column or value that is missing or cannot be, a key that
            stands twice.
    """
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            lines = list(csv.DictReader(file))
    except FileNotFoundError:
        raise InputError(f"there is no selection {path}") from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path} is no CSV in UTF-8: {error}") from None
    if not lines:
        raise InputError(f"{path} selects nothing")
    if missing := [name for name in COLUMNS if name not in lines[0]]:
        raise InputError(
            f"{path} has no column {', '.join(missing)}; they are {', '.join(COLUMNS)}"
        )
    rows = [_row(f"{path}, sample {number}", line) for number, line in enumerate(lines, start=1)]
    key, times = Counter(row.key for row in rows).most_common(1)[0]
    if times > 1:
        raise InputError(f"{path}: the key {key} stands {times} times; each sample needs its own")
    return rows


def write_items(path: Path, rows: Sequence[Chosen]) -> None:
    """Write `items.csv`, which `animate image=…/items.csv` takes, atomically."""
    lines = [(f"images/{row.key}.png", _spaced(row.prompt), row.key) for row in rows]
    write_text(path, csv_lines(ITEM_COLUMNS, lines))


def _spaced(prompt: str) -> str:
    """The prompt, with a space before what `safe` would mark."""
    return " " + prompt if safe(prompt) != prompt else prompt


def _row(place: str, line: dict[str, str | None]) -> Chosen:
    if short := [name for name in COLUMNS if line[name] is None]:
        raise InputError(f"{place}: the line ends before {short[0]}")
    cells = {name: plain(line[name] or "") for name in COLUMNS}
    if not KEY_PATTERN.fullmatch(cells["key"]):
        raise InputError(f"{place}: key={cells['key']!r} is none; it takes {KEY_PATTERN.pattern}")
    if Path(cells["video"]).is_absolute() or ".." in Path(cells["video"]).parts:
        raise InputError(f"{place}: video={cells['video']!r} is no path inside the benchmark")
    if not cells["prompt"].strip():
        raise InputError(f"{place}: the prompt of {cells['key']} is empty")
    if not re.fullmatch(r"[0-9a-f]{64}", cells["sha256"]):
        raise InputError(f"{place}: sha256={cells['sha256']!r} is no hex SHA-256")
    has_video = bool(cells["video"])
    values: dict[str, Any] = {
        **cells,
        "start_frame": _number(place, "start_frame", cells, int, 0) if has_video else None,
        "stride": _number(place, "stride", cells, int, 1),
        "frames": _number(place, "frames", cells, int, 1),
        "fps": _number(place, "fps", cells, float, 0.01) if has_video else None,
    }
    return Chosen(**values)


def _number(
    place: str, name: str, cells: dict[str, str], kind: Callable[[str], Any], least: float
) -> Any:
    try:
        value = kind(cells[name])
    except ValueError:
        raise InputError(f"{place}: {name}={cells[name]!r} is no number") from None
    if not least <= value < 1e9:
        raise InputError(f"{place}: {name}={cells[name]} is out of range; at least {least} is")
    return value
