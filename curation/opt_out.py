"""Clips that are taken out because somebody asked for it: by clip id, key or source video."""

from pathlib import Path

from dynamicrafter.errors import InputError


def read_ids(path: str | Path | None) -> frozenset[str]:
    """The ids of an opt-out list: UTF-8, one a line, `#` begins a comment.

    Raises:
        InputError: there is no such file, or it is no such text.
    """
    if path is None:
        return frozenset()
    try:
        lines = Path(path).read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"opt_out={path} cannot be read: {error}") from None
    return frozenset(line.strip() for line in lines if line.strip() and line.strip()[0] != "#")


def is_opted_out(ids: frozenset[str], *names: str | None) -> bool:
    """Whether a clip is meant that goes by these names."""
    return any(name in ids for name in names if name is not None)
