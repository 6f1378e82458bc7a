"""What the cells of a table say: captions, lists and paths, each checked before it is used.

Everything here works on text from strangers: no function takes longer, or more memory, than the
length of its text accounts for.
"""

import ast
import json
import math
import re
from typing import Any

MAX_TEXT = 5000
"""Characters that are kept of a caption or of any other cell."""

MAX_LITERAL = 1 << 20  # characters of a cell that holds a list
MAX_DEPTH = 8  # brackets within brackets
MAX_TOKENS = 50_000  # the syntax tree of a Python literal takes about 400 bytes for each
MAX_COMPONENT, MAX_PATH = 255, 2000  # bytes; what file systems take, with room for the folder


class BadRow(Exception):
    """A row, or an item of it, that is no clip: a short word and a line about it."""

    def __init__(self, reason: str, message: str):
        super().__init__(message)
        self.reason = reason


def shown(text: str, length: int = 60) -> str:
    """A cell as it can stand in a message: quoted, on one line, not long."""
    return repr(text) if len(text) <= length else repr(text[:length])[:-1] + "…'"


# Control characters, marks that turn the direction of writing, halves of surrogate pairs. Those
# that count as white space are left to `str.split`.
_UNWANTED = re.compile(
    "[\x00-\x08\x0e-\x1b\x7f-\x84\x86-\x9f\u200b\u200e\u200f\u202a-\u202e\u2066-\u2069\ufeff"
    "\ud800-\udfff]"
)


def clean(text: str) -> str:
    """Text without control characters and with single spaces."""
    if not text.isprintable():
        text = _UNWANTED.sub("", text)
    return " ".join(text.split())


def as_text(value: Any) -> str:
    """A value of JSON or Parquet as the cell of a CSV would hold it; NaN is an empty cell.

    Raises:
        BadRow: bytes that are no UTF-8, a number of thousands of digits.
    """
    if isinstance(value, str):
        return value
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        if not math.isfinite(value):
            return ""
        # pandas makes floats of ids as soon as one is missing
        return str(int(value)) if value.is_integer() and abs(value) < 2**53 else repr(value)
    try:
        if isinstance(value, bytes):
            return value.decode()
        if isinstance(value, list | tuple | dict):
            return json.dumps(value, ensure_ascii=False, default=str)
        return str(value)
    except UnicodeDecodeError:
        raise BadRow("bad_text", "a cell holds bytes that are not UTF-8") from None
    except (ValueError, TypeError, RecursionError):
        raise BadRow("bad_row", "a cell holds a value that cannot be written as text") from None


def confidence(text: str) -> str:
    """`dynamic_confidence` as a whole number of 0 to 100; empty where it is none."""
    try:
        value = float(text)
    except ValueError:
        return ""
    return str(round(value)) if 0 <= value <= 100 else ""


_TOKEN = re.compile(
    r"""\s*(?:
        (?P<open>[\[({]) | (?P<close>[\])}]) | [,:]
      | '[^'\\\n]*(?:\\.[^'\\\n]*)*' | "[^"\\\n]*(?:\\.[^"\\\n]*)*"
      | (?P<word>[-+]?[A-Za-z0-9_.]+(?:(?<=[eE])[-+]\d+)?)
    )\s*""",
    re.VERBOSE,
)
_WORDS = {"nan": "None", "inf": "None", "-inf": "None", "null": "None", "true": "True"}
_WORDS["false"] = "False"


def literal(text: str) -> Any:
    """The list or object that a cell holds, as JSON or as Python writes it.

    Raises:
        BadRow: the text is neither, too long, or nested too deeply.
    """
    if len(text) > MAX_LITERAL:
        raise BadRow("cell_too_long", f"a list of more than {MAX_LITERAL} characters")
    try:
        return json.loads(text, parse_constant=lambda _: None)
    except (ValueError, RecursionError):
        pass
    # What the parser of Python is given has been looked through: it has no limits of its own.
    pieces, position, depth = [], 0, 0
    while position < len(text):
        match = _TOKEN.match(text, position)
        if match is None or len(pieces) == MAX_TOKENS:
            raise BadRow("bad_row", f"{shown(text)} is no list")
        depth += (match["open"] is not None) - (match["close"] is not None)
        if not 0 <= depth <= MAX_DEPTH:
            raise BadRow("bad_row", f"{shown(text)} is nested too deeply or not closed")
        word = match["word"]
        pieces.append(_WORDS.get(word.lower(), word) if word else match[0])
        position = match.end()
    try:
        return ast.literal_eval("".join(pieces).strip())
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        raise BadRow("bad_row", f"{shown(text)} is no list") from None


_PLAIN_PATH = re.compile(
    r"[A-Za-z0-9_-][A-Za-z0-9_. -]{0,254}(?:/[A-Za-z0-9_-][A-Za-z0-9_. -]{0,254})*"
)
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff]")


def check_path(path: str) -> None:
    """Make sure, by its letters alone, that a relative path stays in its folder.

    Links are another matter: they are resolved when the file is opened.

    Raises:
        BadRow: it does not, or no file can have such a name.
    """
    if len(path) <= MAX_PATH and _PLAIN_PATH.fullmatch(path):  # nearly all; the rest is dearer
        return
    parts = path.split("/")
    if path.startswith("/"):
        why = "is absolute; write it relative to the folder of the videos"
    elif _CONTROL.search(path) or "\\" in path:
        why = "holds a control character or a backslash"
    elif ".." in parts:
        why = "leaves the folder"
    elif not path or "" in parts:
        why = "has an empty part"
    elif any(len(part.encode()) > MAX_COMPONENT for part in parts) or len(path) > MAX_PATH:
        why = "is too long for a file name"
    else:
        return
    raise BadRow("bad_path", f"the path {shown(path)} {why}")
