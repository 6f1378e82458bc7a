"""Files in folders: what a folder holds, in a stable order, and what a setting names.

Only one folder's names are in memory at a time, however many files lie below.
"""

import fnmatch
import glob
import hashlib
import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from curation.clip import Clip
from curation.sources.lines import CONTROL, Trouble, shown_path
from dynamicrafter.errors import InputError


@dataclass(frozen=True)
class Found:
    """A file below a folder, or what stands in its place."""

    relative: str  # path below the folder
    trouble: Trouble | None = None


def read_folder(source: dict[str, Any]) -> Iterator[Clip]:
    """Every file below `path` whose name matches `pattern`."""
    root = folder_setting(source, "path")
    name = source["name"]
    for found in walk(root, _patterns(source)):
        shown = shown_path(found.relative)
        if found.trouble is None:
            yield Clip(shown, name, str(root), found.relative)
            continue
        reason, message = found.trouble
        yield Clip(shown, name, str(root), "", reason=reason, message=f"{shown[:200]!r} {message}")


def folder_digest(source: dict[str, Any]) -> str:
    """Digest of the names, sizes and times of change of the files that `read_folder` lists."""
    root = folder_setting(source, "path")
    return listing_digest(root, (found.relative for found in walk(root, _patterns(source))))


def listing_digest(root: Path, paths: Iterable[str]) -> str:
    """Digest of the names, sizes and times of change of files, streamed."""
    digest = hashlib.sha256()
    for path in paths:
        try:
            status = os.stat(os.path.join(root, path))
            facts = f"{status.st_size} {status.st_mtime_ns}"
        except OSError:
            facts = "absent"
        digest.update(os.fsencode(path) + b"\0" + facts.encode() + b"\0")
    return digest.hexdigest()


def setting(source: dict[str, Any], name: str) -> Any:
    """A setting that a source cannot do without."""
    if source.get(name) in (None, "", []):
        raise InputError(f"source.{name} is not set")
    return source[name]


def folder_setting(source: dict[str, Any], name: str) -> Path:
    """A setting that names a folder which is there."""
    root = Path(str(setting(source, name))).expanduser()
    if not root.is_dir():
        raise InputError(f"source.{name} {root} is no folder")
    return root


def file_setting(source: dict[str, Any], name: str) -> list[Path]:
    """The files that a setting names: a path, a pattern with * or **, or a list of either.

    Raises:
        InputError: one of them names no file.
    """
    value = setting(source, name)
    found: dict[str, None] = {}
    for entry in [value] if isinstance(value, str | os.PathLike) else value:
        text = os.path.expanduser(str(entry))
        if os.path.lexists(text):
            names = [text]
        else:
            names = [path for path in glob.iglob(text, recursive=True) if os.path.isfile(path)]
        if not names:
            raise InputError(f"source.{name}: there is no file {text}")
        found.update(dict.fromkeys(names))
    return [Path(path) for path in sorted(found)]


def _patterns(source: dict[str, Any]) -> list[str]:
    patterns = setting(source, "pattern")
    return [patterns] if isinstance(patterns, str) else [str(pattern) for pattern in patterns]


def walk(root: Path, patterns: list[str]) -> Iterator[Found]:
    """Files below `root` that match one of the patterns, in the order of their names.

    A pattern is compared without regard to case, with the name of a file or, where it holds a `/`,
    with as many of the last parts of its path. Links to folders are not followed; one to a file is,
    if that file lies below `root`.

    Raises:
        InputError: `root` cannot be read.
    """
    matchers = [[_matcher(part) for part in pattern.split("/")] for pattern in patterns]
    real_root = os.path.realpath(root)
    try:
        pending = [_listing(root, "")]
    except OSError as error:
        raise InputError(f"{root} cannot be read: {error.strerror}") from None
    while pending:
        entry, relative = next(pending[-1], (None, ""))
        if entry is None:
            pending.pop()
        elif entry.is_dir(follow_symlinks=False):
            try:
                pending.append(_listing(entry.path, relative + "/"))
            except OSError as error:
                trouble = Trouble("bad_path", f"is a folder that cannot be read: {error.strerror}")
                yield Found(relative, trouble)
        elif _matches(relative, matchers) and _is_file(entry):
            yield Found(relative, _name_trouble(relative) or _link_trouble(entry, real_root))


def _listing(folder: str | Path, prefix: str) -> Iterator[tuple[os.DirEntry[str], str]]:
    with os.scandir(folder) as entries:
        by_name = sorted(entries, key=lambda entry: entry.name)
    return ((entry, prefix + entry.name) for entry in by_name)


def _is_file(entry: os.DirEntry[str]) -> bool:
    """Whether it is a file, or a link that is no link to a folder."""
    if entry.is_symlink():
        return not os.path.isdir(entry.path)
    return entry.is_file()


def _matcher(part: str) -> re.Pattern[str]:
    return re.compile(fnmatch.translate(part), re.IGNORECASE)


def _matches(relative: str, matchers: list[list[re.Pattern[str]]]) -> bool:
    parts = relative.split("/")
    return any(
        len(parts) >= len(matcher)
        and all(m.match(p) for m, p in zip(matcher, parts[-len(matcher) :], strict=True))
        for matcher in matchers
    )


def _name_trouble(relative: str) -> Trouble | None:
    try:
        relative.encode()
    except UnicodeEncodeError:
        return Trouble("bad_name", "has a name that is not UTF-8; rename the file")
    if CONTROL.search(relative):
        return Trouble("bad_name", "has a name with control characters; rename the file")
    return None


def file_trouble(path: Path, root: Path) -> Trouble | None:
    """What `walk` has against a file that lies in `root`."""
    return _name_trouble(path.name) or _link_trouble(path, os.path.realpath(root))


def _link_trouble(entry: os.DirEntry[str] | Path, real_root: str) -> Trouble | None:
    if not entry.is_symlink():
        return None
    target = os.path.realpath(entry)
    if os.path.commonpath([target, real_root]) != real_root:
        return Trouble("bad_path", "is a link that leaves the folder; name the folder it leads to")
    if not os.path.isfile(target):
        return Trouble("bad_path", "is a link to nothing")
    return None
