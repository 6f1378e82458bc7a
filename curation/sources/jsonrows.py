"""Objects of JSON as rows: one a line, or the elements of an array, which is read piecewise."""

import codecs
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from curation.sources.lines import LIMIT, Line, Trouble
from dynamicrafter.errors import InputError

BOM = "\ufeff"
MAX_BROKEN = 100  # elements of an array that may be broken; the form has no place to begin anew
_BLOCK = 1 << 20
_HALF_PAIR = re.compile(r"\\u[dD][89a-fA-F]")
_BETWEEN = re.compile(r"[\s,]*")
_NEXT = re.compile(r"\}\s*,\s*(?=\{)")

JsonRow = tuple[int, dict[str, Any] | Trouble]


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a field is there twice")
    return found


_DECODER = json.JSONDecoder(object_pairs_hook=_object, parse_constant=lambda _: None)


def parse_object(text: str) -> dict[str, Any] | Trouble:
    """The object that a text holds, NaN and infinity being null, or why it is none."""
    try:
        value, end = _DECODER.raw_decode(text)
    except (ValueError, RecursionError) as error:
        return _why(error)
    if text[end:].strip():
        return Trouble("bad_row", "more than one value of JSON")
    return _checked(value, text)


def _why(error: Exception) -> Trouble:
    if isinstance(error, RecursionError):
        return Trouble("bad_row", "JSON that is nested too deeply")
    return Trouble("bad_row", " ".join(f"no JSON: {error}"[:200].split()))


def _checked(value: Any, text: str) -> dict[str, Any] | Trouble:
    if not isinstance(value, dict):
        return Trouble("bad_row", f"JSON, but no object: {text[:20]!r}")
    if _HALF_PAIR.search(text):
        try:
            json.dumps(value, ensure_ascii=False).encode()
        except (UnicodeEncodeError, RecursionError):
            return Trouble("bad_text", "half of a surrogate pair")
    return value


def json_lines(lines: Iterator[Line]) -> Iterator[JsonRow]:
    """The objects of JSON lines."""
    for number, raw in lines:
        if raw is None:
            yield number, Trouble("cell_too_long", f"a line of more than {LIMIT} bytes")
            continue
        try:
            text = raw.decode("utf-8-sig" if number == 1 else "utf-8").strip()
        except UnicodeDecodeError as error:
            yield number, Trouble("bad_text", f"byte {error.start} is not UTF-8")
            continue
        if text:
            yield number, parse_object(text)


class _Buffer:
    """The text of a file from `position` on, at least LIMIT characters of it or all."""

    def __init__(self, file: BinaryIO):
        self._file, self._decode = file, codecs.getincrementaldecoder("utf-8")("surrogateescape")
        self.text, self.position, self.ended = "", 0, False
        self.tainted = False  # there were bytes that are not UTF-8

    def fill(self) -> None:
        while not self.ended and len(self.text) - self.position <= LIMIT + 1:
            block = self._file.read(_BLOCK)
            self.ended = not block
            more = self._decode.decode(block, final=self.ended)
            if not more.isascii():
                try:
                    more.encode()
                except UnicodeEncodeError:
                    self.tainted = True
            self.text = self.text[self.position :] + more
            self.position = 0

    def skip_to_next(self) -> bool:
        """Go behind the next `},` that an object follows; False: there is none."""
        while True:
            if found := _NEXT.search(self.text, self.position):
                self.position = found.end()
                return True
            if self.ended:
                self.position = len(self.text)
                return False
            self.position = max(self.position, len(self.text) - 64)  # it may lie across the border
            self.fill()


def json_array(file: BinaryIO, path: Path) -> Iterator[JsonRow]:
    """The elements of a JSON array.

    Raises:
        InputError: more broken elements than a JSON array can have and still be one.
    """
    buffer = _Buffer(file)
    buffer.fill()
    buffer.position = buffer.text.index("[") + 1
    number = broken = 0
    while True:
        buffer.fill()
        buffer.position = _BETWEEN.match(buffer.text, buffer.position).end()
        if buffer.position == len(buffer.text):
            if buffer.ended:
                yield number + 1, Trouble("bad_row", "the array does not end: the file is cut off")
                return
            continue
        if buffer.text[buffer.position] == "]":
            return
        number += 1
        row = _element(buffer)
        if isinstance(row, Trouble) and row.reason != "bad_text":
            broken += 1
            if broken > MAX_BROKEN:
                raise InputError(
                    f"{path} has more than {MAX_BROKEN} broken elements: it is no JSON array; "
                    "write one object a line instead"
                )
        yield number, row


def _element(buffer: _Buffer) -> dict[str, Any] | Trouble:
    """The element at the position of the buffer, which moves behind it."""
    start = buffer.position
    try:
        value, end = _DECODER.raw_decode(buffer.text, start)
    except (ValueError, RecursionError) as error:
        following = _NEXT.search(buffer.text, start)
        too_long = not buffer.ended and (following is None or following.end() - start > LIMIT)
        trouble = _why(error)
        buffer.skip_to_next()
    else:
        buffer.position = end
        too_long = end - start > LIMIT
        text = buffer.text[start:end]
        trouble = None
        if not too_long and buffer.tainted and not _is_utf8(text):
            trouble = Trouble("bad_text", "bytes that are not UTF-8")
        elif not too_long:
            return _checked(value, text)
    if too_long:
        return Trouble("cell_too_long", f"an element of more than {LIMIT} characters")
    return trouble


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
