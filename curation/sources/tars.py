"""Clips in WebDataset tars, as video2dataset writes them: key.mp4, key.txt, key.json side by side.

Nothing is unpacked: a clip is the place of its video in the tar. The headers are walked here and
not by `tarfile`, which reads an extended header of any stated size into memory.
"""

import os
import re
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from curation.clip import UNKNOWN, Clip
from curation.sources.cells import MAX_TEXT, BadRow, as_text, check_path, clean, confidence
from curation.sources.folder import Found, file_setting, file_trouble, listing_digest, setting, walk
from curation.sources.jsonrows import parse_object
from curation.sources.lines import Trouble, shown_path
from curation.sources.times import stated
from dynamicrafter.errors import InputError

BLOCK = tarfile.BLOCKSIZE
VIDEOS = ("mp4", "mkv", "webm", "avi", "mov")
TARS = ["*.tar", "*.tar.gz", "*.tgz", "*.tar.bz2", "*.tar.xz", "*.tar.zst"]
PACKED = {b"\x1f\x8b": "gzip", b"BZh": "bzip2", b"\xfd7zXZ": "xz", b"\x28\xb5\x2f\xfd": "zstd"}
MAX_HEADER = 64 << 10  # bytes of a long name or an extended header
MAX_TEXT_MEMBER = 1 << 20  # bytes of key.txt and key.json
MAX_FIELDS = 50  # of key.json that are kept
MAX_EXTENSIONS = 1000  # blocks with the map of a sparse member

_FILES = (tarfile.REGTYPE, tarfile.AREGTYPE, tarfile.CONTTYPE)
_NO_DATA = (tarfile.LNKTYPE, tarfile.SYMTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE)


@dataclass(frozen=True)
class Member:
    """A file in a tar; without a name: something that is wrong with the tar from there on."""

    name: str
    offset: int  # of its content, bytes
    size: int  # bytes
    trouble: Trouble | None = None


@dataclass
class _Sample:
    """The members of one key."""

    key: str
    members: dict[str, Member] = field(default_factory=dict)  # "video", "txt", "json"
    trouble: Trouble | None = None


def read_tars(source: dict[str, Any]) -> Iterator[Clip]:
    """The samples of the tars that `path` names, in the order in which they lie there."""
    for root, found in _tars(source):
        clip = {"source": source["name"], "root": str(root), "path": found.relative}
        shown = shown_path(found.relative)
        trouble = found.trouble
        if trouble is None:
            try:
                with _opened(root / found.relative) as descriptor:
                    yield from _clips(source, descriptor, clip, shown)
                continue
            except OSError as error:
                trouble = Trouble("bad_tar", f"cannot be read: {error.strerror}")
        clip["path"] = ""
        yield Clip(shown, **clip, reason=trouble.reason, message=f"{shown} {trouble.message}")


def tars_digest(source: dict[str, Any]) -> str:
    """Digest of the names, sizes and times of change of the tars."""
    paths = (os.path.join(root, found.relative) for root, found in _tars(source))
    return listing_digest(Path(), paths)


def _tars(source: dict[str, Any]) -> Iterator[tuple[Path, Found]]:
    path = setting(source, "path")
    if isinstance(path, str) and (root := Path(path).expanduser()).is_dir():
        for found in walk(root, TARS):
            yield root, found
        return
    for file in file_setting(source, "path"):
        if file.is_dir():
            raise InputError(f"source.path {file} is a folder; name one folder, or tars")
        yield file.parent, Found(file.name, file_trouble(file, file.parent))


@contextmanager
def _opened(path: Path) -> Iterator[int]:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _clips(
    source: dict[str, Any], descriptor: int, clip: dict[str, str], shown: str
) -> Iterator[Clip]:
    stem = re.sub(r"\.tar$", "", shown)
    sample = None
    for member in _members(descriptor):
        key, suffix = _split(member.name)
        if not key:
            if member.trouble:
                if sample:
                    yield _clip(source, descriptor, clip, stem, sample)
                    sample = None
                reason, message = member.trouble
                message = f"{shown}, byte {member.offset}: {message}"
                yield Clip(f"{shown}@{member.offset}", **clip, reason=reason, message=message)
            continue
        if sample is None or key != sample.key:
            if sample:
                yield _clip(source, descriptor, clip, stem, sample)
            sample = _Sample(key)
        if member.trouble:
            sample.trouble = sample.trouble or member.trouble
        elif suffix in sample.members:
            sample.trouble = Trouble("repeated_member", f"its {suffix} is there more than once")
        sample.members.setdefault(suffix, member)
    if sample:
        yield _clip(source, descriptor, clip, stem, sample)


def _split(name: str) -> tuple[str, str]:
    """Key and role of a member; no key where it is no part of a sample."""
    folder, _, base = name.rpartition("/")
    key, dot, suffix = base.partition(".")
    suffix = suffix.rpartition(".")[2].lower()
    role = "video" if suffix in VIDEOS else suffix
    if not key or not dot or role not in ("video", "txt", "json"):
        return "", ""
    return f"{folder}/{key}" if folder else key, role


def _clip(
    source: dict[str, Any], descriptor: int, clip: dict[str, str], stem: str, sample: _Sample
) -> Clip:
    clip_id = f"{stem}/{sample.key}"
    try:
        if sample.trouble:
            raise BadRow(*sample.trouble)
        if (video := sample.members.get("video")) is None:
            raise BadRow("no_video", "there is text, but no video beside it")
        if video.size == 0:
            raise BadRow("empty_member", "the video holds nothing")
        facts = parse_object(_text(sample, "json", descriptor) or "{}")
        if isinstance(facts, Trouble):
            raise BadRow(facts.reason, f"json: {facts.message}")
        named = {role: source.get(role) for role in ("caption", "video_id", "duration")}
        stock = _text(sample, "txt", descriptor)
        if not stock and named["caption"]:
            stock = as_text(facts.get(named["caption"]))
        caption, extra = clean(stock) or UNKNOWN, _extra(facts, named["caption"])
        if len(caption) > MAX_TEXT:
            caption, extra["caption_cut"] = caption[:MAX_TEXT].rstrip(), "true"
        return Clip(
            clip_id, **clip, member=(video.offset, video.size), caption=caption, extra=extra,
            video_id=extra.get(named["video_id"], ""),
            stated_s=stated(extra.get(named["duration"], "")),
        )  # fmt: skip
    except BadRow as bad:
        return Clip(clip_id, **clip, reason=bad.reason, message=f"{clip_id}: {bad}")


def _text(sample: _Sample, role: str, descriptor: int) -> str:
    member = sample.members.get(role)
    if member is None:
        return ""
    if member.size > MAX_TEXT_MEMBER:
        raise BadRow("text_too_long", f"its {role} has {member.size} bytes")
    try:
        return os.pread(descriptor, member.size, member.offset).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise BadRow("bad_text", f"byte {error.start} of its {role} is not UTF-8") from None


def _extra(facts: dict[str, Any], caption: str | None) -> dict[str, str]:
    """The fields of key.json that are one value each."""
    extra: dict[str, str] = {}
    for name, value in facts.items():
        if name == caption or isinstance(value, list | dict) or len(extra) == MAX_FIELDS:
            continue
        text = clean(as_text(value))[:MAX_TEXT].rstrip()
        if name == "dynamic_confidence":
            text = confidence(text)
        if text and len(name) <= 100 and name.isprintable():
            extra[name] = text
    return extra


# -- the walk ------------------------------------------------------------------------------------


def _members(descriptor: int) -> Iterator[Member]:
    """The files of a tar, and whatever in it is none."""
    length = os.fstat(descriptor).st_size
    position = 0
    if length == 0:
        yield _wrong(0, "bad_tar", "it is empty")
    name, size, trouble = None, None, None  # what extended headers say of the next member
    while position < length:
        block = os.pread(descriptor, BLOCK, position)
        at, position = position, position + BLOCK
        packed = next((kind for magic, kind in PACKED.items() if block.startswith(magic)), None)
        if packed and at == 0:
            yield _wrong(at, "compressed_tar", f"it is packed with {packed}; unpack it")
            return
        if len(block) < BLOCK:
            yield _wrong(at, "truncated", "the tar ends in the middle of a header")
            return
        if not block.strip(b"\0"):
            return
        try:
            info = tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
        except (tarfile.HeaderError, ValueError):
            yield _wrong(at, "bad_tar", "no header of a tar; what follows cannot be read")
            return
        extended = info.type in (tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK)
        extended |= info.type in (tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE)
        content = info.size if extended or size is None else size
        if info.type in _NO_DATA or info.isdir():
            content = 0
        if content < 0 or position + content > length:
            bad = _wrong(at, "truncated", f"it states {content} bytes, the tar ends before")
            yield Member(_name(info.name if name is None else name)[0], at, 0, bad.trouble)
            return
        data, position = position, position + -(-content // BLOCK) * BLOCK
        if extended:
            if info.type in (tarfile.GNUTYPE_LONGLINK, tarfile.XGLTYPE):
                continue  # where a link leads, and what holds for all members, is of no use here
            if content > MAX_HEADER:
                trouble = Trouble("bad_header", f"its extended header has {content} bytes")
                continue
            raw = os.pread(descriptor, content, data)
            if info.type == tarfile.GNUTYPE_LONGNAME:
                name = raw.split(b"\0", 1)[0].decode("utf-8", "surrogateescape")
                continue
            try:
                fields = _pax(raw)
                name = fields.get("path", name)
                size = int(fields["size"]) if "size" in fields else size
            except ValueError:
                trouble = Trouble("bad_header", "its extended header is broken")
                continue
            if any(key.startswith("GNU.sparse.") for key in fields):
                trouble = Trouble("sparse_member", "it is stored with holes; write the tar anew")
            continue
        if info.type == tarfile.GNUTYPE_SPARSE:
            trouble = Trouble("sparse_member", "it is stored with holes; write the tar anew")
            extensions = 0
            more = block[482]
            while more and extensions < MAX_EXTENSIONS:  # the rest of its map precedes the data
                more = (os.pread(descriptor, BLOCK, data + extensions * BLOCK) + bytes(505))[504]
                extensions += 1
            position += extensions * BLOCK
        elif info.type in _NO_DATA:
            kind = "a link" if info.islnk() or info.issym() else "a device"
            trouble = trouble or Trouble("no_file", f"it is {kind}")
        if not info.isdir():
            yield _member(info.name if name is None else name, data, content, trouble)
        name, size, trouble = None, None, None


def _wrong(offset: int, reason: str, message: str) -> Member:
    return Member("", offset, 0, Trouble(reason, message))


def _member(name: str, offset: int, size: int, trouble: Trouble | None) -> Member:
    name, bad = _name(name)
    return Member("" if bad else name, offset, size, bad or trouble)


def _name(name: str) -> tuple[str, Trouble | None]:
    """The name of a member, and why it cannot be trusted to be an id."""
    while name.startswith("./"):
        name = name[2:]
    try:
        name.encode()
        check_path(name)
    except UnicodeEncodeError:
        shown = os.fsencode(name[:200]).decode("utf-8", "backslashreplace")
        return "", Trouble("bad_name", f"the name {shown!r} is not UTF-8")
    except BadRow as bad:
        return "", Trouble(bad.reason, str(bad))
    return name, None


_RECORD = re.compile(rb"(\d{1,6}) ([^=\n]{1,200})=")


def _pax(raw: bytes) -> dict[str, str]:
    """The records `length key=value` of an extended header.

    Raises:
        ValueError: they are broken.
    """
    fields, position = {}, 0
    while position < len(raw):
        match = _RECORD.match(raw, position)
        end = position + int(match[1]) if match else 0
        if match is None or not match.end() < end <= len(raw) or raw[end - 1] != 10:
            raise ValueError("broken record")
        value = raw[match.end() : end - 1].decode("utf-8", "surrogateescape")
        fields[match[2].decode("utf-8", "replace")] = value
        position = end
    return fields
