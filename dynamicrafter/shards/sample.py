"""One training sample and the rule for its key.

WebDataset cuts a member's name at its first dot, so a key holds none; the plain alphabet also
keeps it a safe file name on every system.
"""

import hashlib
import re
from dataclasses import dataclass
from typing import Any

from dynamicrafter.errors import InputError
from dynamicrafter.files import sha256_bytes

MEMBERS = ("json", "mp4", "txt")
"""Members of a sample in the order in which they lie in the tar."""

MAX_KEY_LENGTH = 80
KEY_PATTERN = re.compile(rf"[a-z0-9_-]{{1,{MAX_KEY_LENGTH}}}")

CATEGORY = "dynamic_source_category"
"""What a sample's JSON says of the kind of thing that moves; a set may be balanced by it."""

NO_CATEGORY = "none"


@dataclass(frozen=True)
class Sample:
    """A clip as it lies in a shard: video, motion caption, everything else that is known."""

    key: str
    video: bytes  # mp4
    text: str  # the motion caption
    info: dict[str, Any]  # JSON; holds at least fps and frames


def category_of(info: dict[str, Any]) -> str:
    """The category that a sample's JSON states, `none` where it states no text."""
    stated = info.get(CATEGORY)
    return stated if isinstance(stated, str) and stated else NO_CATEGORY


def member_digest(data: bytes) -> int:
    """What an index keeps of a member's content: the first 8 bytes of its SHA-256 as an int64."""
    return int.from_bytes(hashlib.sha256(data).digest()[:8], "little", signed=True)


def may_be_passed_on(info: dict[str, Any]) -> bool:
    """Whether a sample's source lets its media leave this machine: for W&B, a model server, a page.

    A sample that does not say so may not; the setting `allow_media` of a command overrides it.
    """
    source = info.get("source")
    return isinstance(source, dict) and source.get("media_may_be_passed_on") is True


def sample_key(clip_id: str, cut: tuple[float, float] | None = None) -> str:
    """The shard key of a clip, or of the cut [start_s, end_s) of it.

    A clip id that is no key itself (other characters, too long) becomes a slug of it plus the
    first 8 hex digits of its SHA-256; a cut adds `-{start_ms}-{end_ms}`.

    Raises:
        InputError: the id comes from a file name that is not UTF-8.
    """
    suffix = "" if cut is None else f"-{round(cut[0] * 1000)}-{round(cut[1] * 1000)}"
    room = MAX_KEY_LENGTH - len(suffix)
    if KEY_PATTERN.fullmatch(clip_id) and len(clip_id) <= room:
        return clip_id + suffix
    try:
        digest = sha256_bytes(clip_id.encode("utf-8"))[:8]
    except UnicodeEncodeError:
        raise InputError(f"the name {clip_id!r} is not UTF-8; rename the file") from None
    slug = re.sub(r"[^a-z0-9_]+", "-", clip_id.lower()).strip("-")[: room - len(digest) - 1]
    return "-".join(part for part in (slug, digest) if part) + suffix
