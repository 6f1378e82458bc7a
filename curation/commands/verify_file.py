"""Whether one file is the whole video that it says it is.

The bytes are looked at before a decoder is: what a download that was cut short, or an error page
that was saved as a video, leaves behind is told in words. Then all packets are walked, without
decoding them; a deep look decodes every frame, and finds of the damage what a decoder notices.
"""

import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from curation.clip import Clip
from curation.passes.inspect import local_file
from curation.tables import Row
from dynamicrafter.errors import MediaError
from dynamicrafter.media.probe import container_of, open_video, probe

if TYPE_CHECKING:
    import av

VERSION = 1
"""Raised when the same file may be judged otherwise."""

MISSING, NOT_VIDEO, UNREADABLE, TRUNCATED = "missing", "not_video", "unreadable", "truncated"

SLACK_S = 0.5
"""Seconds that packets may end before the stated duration: containers round, and some do not say
how long their last frame lasts."""

_HEAD_BYTES = 4096
_STATES_ITS_LENGTH = ("mp4", "matroska", "avi")
"""Containers that write down how long they are; the duration of others is guessed from the end."""

_BOXES = frozenset(
    b"ftyp styp moov moof mdat free skip wide pnot uuid meta udta sidx ssix mfra emsg prft".split()
)
_BEGINNINGS = (
    (b"#EXTM3U", "a playlist (m3u8)"),
    (b"version https://git-lfs", "a pointer of Git LFS in place of the file"),
    (b"\x1f\x8b", "a gzip archive"),
    (b"PK\x03\x04", "a zip archive"),
    (b"Rar!", "a RAR archive"),
    (b"\x89PNG", "a PNG image"),
    (b"\xff\xd8\xff", "a JPEG image"),
    (b"GIF8", "a GIF image"),
    (b"%PDF", "a PDF document"),
    (b"FLV\x01", "a Flash video (flv), which is not read"),
    (b"\x30\x26\xb2\x75", "a Windows Media file (wmv), which is not read"),
    (b"OggS", "an Ogg file, which is not read"),
    (b"ID3", "an MP3 file"),
)


def check_file(clip: Clip, deep: bool) -> Row:
    """Facts of a clip's file: {verdict, message, bytes, duration_s}; no verdict if it is well.

    Args:
        clip: of a source, without a reason.
        deep: decode every frame.
    """
    facts: Row = {"verdict": None, "message": None, "bytes": None, "duration_s": None}
    try:
        with local_file(clip) as path:
            try:
                _check(path, clip.path, facts, deep)
            except MediaError as error:
                said = str(error).replace(str(path), clip.path)
                raise MediaError(error.reason, said) from None
    except MediaError as error:
        facts |= {"verdict": error.reason, "message": str(error)}
    return facts


def _check(path: Path, name: str, facts: Row, deep: bool) -> None:
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):  # a pipe would never end
            raise MediaError(MISSING, f"{name} is no file")
        facts["bytes"] = status.st_size
        with path.open("rb") as file:
            head = file.read(_HEAD_BYTES)
            container = container_of(head)
            if container is None:
                raise MediaError(NOT_VIDEO, f"{name} is {kind_of(head)}")
            _refuse_cut(file, container, status.st_size, name)
    except OSError as error:
        raise MediaError(MISSING, f"{name} cannot be read: {error.strerror}") from None
    probe(path)  # the first frame can be decoded
    _walk(path, name, container, facts, deep)


def kind_of(head: bytes) -> str:
    """In words, what a file is that begins so and is no video."""
    if not head:
        return "an empty file"
    if not head.strip(b"\0"):
        return "filled with zeros, as a download leaves it that reserved its place"
    for beginning, words in _BEGINNINGS:
        if head.startswith(beginning):
            return words
    try:
        text = head.decode("utf-8-sig", "strict" if len(head) < _HEAD_BYTES else "ignore")
    except UnicodeDecodeError:
        text = head.decode("latin-1") if b"\0" not in head else "\0"
    start = text.lstrip().lower()
    if start.startswith(("<!doctype html", "<html", "<head", "<body")) or "<html" in start[:1000]:
        return "an HTML page"
    if start.startswith("<?xml") or (start.startswith("<") and "</" in start):
        return "an XML document, as a storage answers that refuses a file"
    if start.startswith(("{", "[")):
        return "JSON text"
    if all(character.isprintable() or character.isspace() for character in text):
        return f"text: {' '.join(text.split())[:60]!r}"
    return f"no container that is known; it begins with {head[:16]!r}"


def _refuse_cut(file: BinaryIO, container: str, size: int, name: str) -> None:
    """Compare the length that the container writes down with the file's."""
    if container == "mp4":
        _refuse_cut_mp4(file, size, name)
        return
    if container == "avi":
        file.seek(4)
        end = 8 + int.from_bytes(file.read(4), "little")
        part = "list of frames (RIFF)"
        known = end not in (8, 8 + 2**32 - 1)  # a writer that was stopped filled in nothing
    elif container == "matroska":
        end, known = _segment_end(file)
        part = "segment"
    else:
        return
    if known and end > size + 1:  # the last chunk of AVI may lack its padding
        raise _cut(name, part, size, end)


def _refuse_cut_mp4(file: BinaryIO, size: int, name: str) -> None:
    at, seen = 0, set()
    while at + 8 <= size:
        file.seek(at)
        header = file.read(16)
        length, kind = int.from_bytes(header[:4], "big"), header[4:8]
        if length == 1:
            length = int.from_bytes(header[8:16], "big")
        elif length == 0:  # to the end of the file
            length = size - at
        if kind not in _BOXES or length < 8:  # something behind the last box
            break
        if at + length > size:
            raise _cut(name, f"{kind.decode()} box", size, at + length)
        seen.add(kind)
        at += length
    if b"moov" not in seen and b"mdat" in seen:
        raise MediaError(TRUNCATED, f"{name} ends before its index, the moov box")


def _segment_end(file: BinaryIO) -> tuple[int, bool]:
    """(end of a Matroska file's segment in bytes, whether it is stated)."""
    file.seek(4)
    length, _ = _vint(file)
    file.seek(length, os.SEEK_CUR)
    if file.read(4) != b"\x18\x53\x80\x67":
        return 0, False
    length, known = _vint(file)
    return file.tell() + length, known


def _vint(file: BinaryIO) -> tuple[int, bool]:
    """A number of EBML, and whether it is one: all bits set mean unknown."""
    first = file.read(1)
    if not first or not first[0]:
        return 0, False
    extra = 8 - first[0].bit_length()
    bits = 7 * (extra + 1)
    value = int.from_bytes(first + file.read(extra), "big") & ((1 << bits) - 1)
    return value, value != (1 << bits) - 1


def _cut(name: str, part: str, size: int, end: int) -> MediaError:
    return MediaError(
        TRUNCATED, f"{name} ends within its {part}: {size} bytes of at least {end} are there"
    )


def _walk(path: Path, name: str, container: str, facts: Row, deep: bool) -> None:
    """Walk all packets: how far they reach, and with `deep` whether they can be decoded."""
    with open_video(path) as (opened, stream):
        if deep:
            strict = {"err_detect": "crccheck+bitstream+buffer+explode"}
            stream.codec_context.options = {**stream.codec_context.options, **strict}
        first, last, last_of_all = None, 0.0, 0.0
        frames = damaged = 0
        first_damaged_s = 0.0
        for packet in _packets(opened):
            begin_s, end_s = _times(packet)
            if begin_s is not None:
                last_of_all = max(last_of_all, end_s)
            if packet.stream.index != stream.index:
                continue
            if begin_s is not None:
                first = begin_s if first is None else min(first, begin_s)
                last = max(last, end_s)
            if deep:
                good, bad = _decode(packet)
                if bad and not damaged:
                    first_damaged_s = last if begin_s is None else begin_s
                frames, damaged = frames + good + bad, damaged + bad
        if first is None:
            raise MediaError(UNREADABLE, f"{name} holds no packet with a time")
        facts["duration_s"] = last - first
        if container in _STATES_ITS_LENGTH:
            _refuse_short(opened, stream, (last - first, last_of_all), name)
    if damaged:
        raise MediaError(
            UNREADABLE,
            f"{damaged} of {frames} frames of {name} cannot be decoded, the first at "
            f"{first_damaged_s:.2f} s",
        )


def _packets(opened: "av.container.InputContainer") -> "Iterator[av.Packet]":
    try:
        yield from opened.demux()
    except IndexError:  # PyAV, after the last one: a stream has begun in the middle of the file
        return


def _times(packet: "av.Packet") -> tuple[float | None, float]:
    time = packet.dts if packet.pts is None else packet.pts
    if time is None or not packet.time_base:  # the mark of the end
        return None, 0.0
    begin_s = float(time * packet.time_base)
    return begin_s, begin_s + float((packet.duration or 0) * packet.time_base)


def _decode(packet: "av.Packet") -> tuple[int, int]:
    """How many frames came out well, and how many did not."""
    import av

    try:
        frames = packet.decode()
    except av.error.FFmpegError:
        return 0, 1
    bad = sum(bool(frame.is_corrupt) for frame in frames)
    return len(frames) - bad, bad


def _refuse_short(
    opened: "av.container.InputContainer",
    stream: "av.VideoStream",
    reached: tuple[float, float],
    name: str,
) -> None:
    """Compare how far the packets of the video, and of all streams, reach with what is stated."""
    if stream.duration:
        states_s, reaches_s = float(stream.duration * stream.time_base), reached[0]
    elif opened.duration:
        states_s, reaches_s = opened.duration / 1_000_000, reached[1]  # microseconds
    else:
        return
    rate = float(stream.average_rate or 25)
    if reaches_s < states_s - max(SLACK_S, 2 / rate):
        raise MediaError(
            TRUNCATED,
            f"the packets of {name} end after {reaches_s:.2f} s, it states {states_s:.2f} s",
        )
