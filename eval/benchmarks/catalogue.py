"""What a reader finds of a benchmark on disk, before any video is opened."""

import csv
import os
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import astuple, dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from dynamicrafter.errors import InputError
from dynamicrafter.files import sha256_json
from dynamicrafter.shards.sample import MAX_KEY_LENGTH, sample_key

NONE = "none"


class Words(NamedTuple):
    """A caption in the benchmark's own words (`none` without one), and the prompt made of it."""

    caption: str
    prompt: str


@dataclass(frozen=True)
class Entry:
    """A video of a benchmark that may be chosen, or an image of one without videos.

    Attributes:
        key: unique in the benchmark.
        file: path relative to the root.
        words: the captions that one is drawn from.
        group: class, category or action; `none` without one.
    """

    key: str
    file: str
    words: tuple[Words, ...]
    group: str = NONE


@dataclass(frozen=True)
class Count:
    """A number that is known beforehand (or not: None), and what was found.

    A number that does not bear on the selection is no reason to refuse: it is not `required`.
    """

    what: str
    found: int
    expected: int | None = None
    required: bool = True

    @property
    def is_right(self) -> bool:
        """Whether it is as expected, as far as anything is."""
        return self.expected is None or self.found == self.expected


@dataclass(frozen=True)
class Catalogue:
    """A benchmark on disk.

    Attributes:
        root: what paths are relative to.
        entries: those that are there, in the benchmark's own order.
        counts: numbers that were checked.
        findings: names by what is the matter with them; the readers say which there are.
        shares: size of each group in the benchmark's training set; empty without one.
        has_videos: whether the entries are videos; else they are the condition images themselves.
    """

    root: Path
    entries: list[Entry]
    counts: list[Count]
    findings: dict[str, list[str]] = field(default_factory=dict)
    shares: dict[str, int] = field(default_factory=dict)
    has_videos: bool = True

    @property
    def digest(self) -> str:
        """Of all that was read, and of name, size and time of each file."""
        entries = [[*astuple(one), stamp(self.root / one.file)] for one in self.entries]
        counts = [astuple(one) for one in self.counts]
        return sha256_json([entries, counts, self.findings, self.shares])


def stamp(path: Path) -> list[int]:
    """Size and time of change of a file, as a cheap sign of its content."""
    facts = path.stat()
    return [facts.st_size, facts.st_mtime_ns]


def existing_folder(path: str, setting: str) -> Path:
    """The folder that a setting names, links resolved.

    Raises:
        InputError: there is none.
    """
    if not Path(path).is_dir():
        raise InputError(f"{setting}={path}: there is no such folder")
    return Path(path).resolve()


def video_key(name: str) -> str:
    """The key of a video of this name: a file name, and no formula in a spreadsheet."""
    key = sample_key(name)
    return key if key[0] != "-" else ("v" + key)[:MAX_KEY_LENGTH]


def unique_keys(names: Mapping[str, str]) -> dict[str, str]:
    """A key for each file: of its name, or of its whole path where names would share a key.

    Args:
        names: the name to make the key of, by file.
    """
    files = defaultdict(list)
    for file, name in names.items():
        files[video_key(name)].append(file)
    return {
        file: key if len(sharing) == 1 else video_key(file)
        for key, sharing in files.items()
        for file in sharing
    }


def clean(text: str) -> str:
    """Text without what no table can hold: NUL and halves of characters."""
    return text.replace("\0", "").encode("utf-8", "replace").decode("utf-8")


def as_prompt(text: str) -> str:
    """A caption as a prompt: on one line, without space around it."""
    return " ".join(text.split())


def read_table(path: Path, columns: Sequence[str]) -> list[dict[str, str]]:
    """The rows of somebody's CSV with these columns; commas or semicolons lie between them.

    In rows that are too long, separators stood in the last column without quotes; it gets them.

    Raises:
        InputError: no such file, no CSV, a column is missing, a row is too short.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            header = file.readline()
            separator = ";" if header.count(";") > header.count(",") else ","
            file.seek(0)
            rows = list(csv.reader(file, delimiter=separator))
    except FileNotFoundError:
        raise InputError(f"there is no table {path}") from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path} is no CSV in UTF-8: {error}") from None
    names = [name.strip() for name in rows[0]] if rows else []
    if missing := [name for name in columns if name not in names]:
        raise InputError(f"{path} has no column {', '.join(missing)}; it has {', '.join(names)}")
    table = []
    for number, row in enumerate(rows[1:], start=2):
        if not row:
            continue
        if len(row) < len(names):
            raise InputError(f"{path}, row {number}: {len(row)} of {len(names)} columns")
        last = len(names) - 1
        cells = [*row[:last], separator.join(row[last:])]
        table.append({name: clean(cell) for name, cell in zip(names, cells, strict=True)})
    return table


def in_natural_order(names: Iterable[str]) -> list[str]:
    """Names with the numbers in them compared as numbers: video2 before video10."""
    return sorted(names, key=lambda name: [(int(n or 0), t) for n, t in _PARTS.findall(name)])


_PARTS = re.compile(r"(\d*)(\D*)")


def files_below(folder: Path) -> list[str]:
    """Paths of all files below a folder, relative to it, with slashes; hidden ones are left out."""
    found = []
    for place, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        below = Path(place).relative_to(folder)
        found += [(below / name).as_posix() for name in sorted(names) if not name.startswith(".")]
    return found


def expected(settings: Mapping[str, Any], name: str) -> int | None:
    """The number that `benchmark.expected` gives under this name."""
    return (settings["expected"] or {}).get(name)
