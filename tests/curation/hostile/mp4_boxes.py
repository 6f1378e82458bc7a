"""The boxes of an mp4, taken apart, changed and put together again."""

import struct
from collections.abc import Callable, Iterator

# Boxes of an mp4: [name, content], where the content of a container is a list of boxes.

HOLDERS = {b"moov", b"trak", b"mdia", b"minf", b"stbl", b"dinf", b"edts"}


def parse(data: bytes) -> list[list]:
    """The boxes of an mp4."""
    found, at = [], 0
    while at < len(data):
        size, name = struct.unpack(">I4s", data[at : at + 8])
        content = data[at + 8 : at + size]
        found.append([name, parse(content) if name in HOLDERS else content])
        at += size
    return found


def joined(boxes: list[list]) -> bytes:
    """The bytes of boxes, with their sizes as they are now."""
    return b"".join(box(name, joined(c) if isinstance(c, list) else c) for name, c in boxes)


def box(name: bytes, content: bytes = b"") -> bytes:
    return struct.pack(">I4s", len(content) + 8, name) + content


def walk(boxes: list[list]) -> Iterator[tuple[list[list], int]]:
    """(list that holds it, place in it) of every box."""
    for place, (_, content) in enumerate(boxes):
        yield boxes, place
        if isinstance(content, list):
            yield from walk(content)


def edited(data: bytes, name: bytes, edit: Callable[[bytes], bytes | None]) -> bytes:
    """An mp4 whose moov comes last, with the content of a box changed; None takes the box out."""
    boxes = parse(data)
    for holder, place in walk(boxes):
        if holder[place][0] == name:
            content = holder[place][1]
            content = edit(joined(content) if isinstance(content, list) else content)
            if content is None:
                del holder[place]
            else:
                holder[place][1] = content
            return joined(boxes)
    raise KeyError(name)


def patched(data: bytes, name: bytes, *changes: tuple[int, bytes]) -> bytes:
    """As `edited`: bytes at places in the box replaced."""

    def edit(content: bytes) -> bytes:
        for place, new in changes:
            content = content[:place] + new + content[place + len(new) :]
        return content

    return edited(data, name, edit)


def u32(*numbers: int) -> bytes:
    return struct.pack(f">{len(numbers)}I", *(number % 2**32 for number in numbers))


def u64(number: int) -> bytes:
    return struct.pack(">Q", number % 2**64)
