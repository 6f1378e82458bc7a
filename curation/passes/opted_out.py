"""Clips that are taken out because somebody asked for it: by clip id, key or source video."""

from pathlib import Path

from curation.clip import Clip
from curation.passes.filters import OPTED_OUT
from dynamicrafter.errors import InputError

OPT_OUT = "opt_out.txt"
"""In a run folder: the ids that its runs take out besides those of the setting."""


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


def without_opted_out(clip: Clip, ids: frozenset[str]) -> Clip:
    """The clip, or all that may be kept of one that is opted out: its name."""
    if not ids or not is_opted_out(ids, clip.clip_id, clip.video_id, clip.extra.get("contentUrl")):
        return clip
    return Clip(
        clip.clip_id, clip.source, "", "", video_id=clip.video_id, reason=OPTED_OUT, message=""
    )


def is_opted_out(ids: frozenset[str], *names: str | None) -> bool:
    """Whether a clip is meant that goes by these names."""
    return any(name in ids for name in names if name is not None)
